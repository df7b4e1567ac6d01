"""Readout of models whose units each have their own logits: score = bias + sum over units of activation x logit.

    score_c = bias_c + Σ_i a_i v_ic        a: activation (B, K), v: state "unit_logits" (B, K, C)

The evidence of such a model has the state "unit_logits" and, if there is a bias, the state "bias" (B, C).
"""

import torch
from torch import Tensor

from zoo.core.evidence import Evidence


def sum_logits(evidence: Evidence) -> Tensor:
    """Scores (B, C): the `readout` of such a model."""
    scores = torch.einsum("bk,bkc->bc", evidence.activation, evidence.state["unit_logits"])
    return scores + evidence.state["bias"] if "bias" in evidence.state else scores


def attribute_logits(evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
    """Contributions (B, K) and bias (B,) of the score of `target` (B,): the `attribute` of such a model."""
    contributions = evidence.activation * of_target(evidence.state["unit_logits"], target)
    if "bias" not in evidence.state:
        return contributions, contributions.new_zeros(target.shape)
    return contributions, evidence.state["bias"].gather(1, target[:, None])[:, 0]


def of_target(values: Tensor, target: Tensor) -> Tensor:
    """Values (B, K, C) of all classes as values (B, K) of the class `target` (B,)."""
    return values.gather(2, target[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
