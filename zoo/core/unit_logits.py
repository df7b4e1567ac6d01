"""Models whose units each have their own logits: score = bias + sum over units of activation x logit.

    score_c = bias_c + Σ_i a_i v_ic        a: activation (B, K), v: state "unit_logits" (B, K, C)

The evidence of such a model has the state "unit_logits" and, if there is a bias, the state "bias" (B, C).
"""

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable


class UnitLogits(SelfInterpretable):
    """A model whose evidence has the logits of each unit, see above."""

    def readout(self, evidence: Evidence) -> Tensor:
        scores = torch.einsum("bk,bkc->bc", evidence.activation, evidence.state["unit_logits"])
        return scores + evidence.state["bias"] if "bias" in evidence.state else scores

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions = evidence.activation * of_target(evidence.state["unit_logits"], target)
        if "bias" not in evidence.state:
            return contributions, contributions.new_zeros(target.shape)
        return contributions, evidence.state["bias"].gather(1, target[:, None])[:, 0]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        contributions = evidence.activation * evidence.state["unit_logits"].mean(2)
        if "bias" not in evidence.state:
            return contributions, torch.zeros_like(contributions[:, 0])
        return contributions, evidence.state["bias"].mean(1)

    def slopes(self, evidence: Evidence) -> Tensor:
        return evidence.state["unit_logits"]


def of_target(values: Tensor, target: Tensor) -> Tensor:
    """Values (B, K, C) of all classes as values (B, K) of the class `target` (B,)."""
    return values.gather(2, target[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
