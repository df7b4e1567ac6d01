"""What an answer about one concept says of the others in its exclusive group: a group has one concept present.

Present means that the others are absent. Absent means that one of the others is present, each as probable as before
among them (equally, where all of them were impossible).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Evidence

IMPOSSIBLE = 1e-6  # the least probability that a concept has among the others of its group


def siblings(exclusive: Sequence[Sequence[int]], count: int, device: torch.device) -> Tensor | None:
    """(k, k) in {0, 1}, which pairs of different concepts exclude each other; None if none do."""
    if not exclusive:
        return None
    pairs = torch.zeros(count, count, device=device)
    for columns in exclusive:
        of = torch.tensor(columns, device=device)
        pairs[of[:, None], of] = 1.0
    return pairs.fill_diagonal_(0)


def labelled(labels: Tensor, exclusive: Sequence[Sequence[int]]) -> Tensor:
    """(B, k) which labels (B, k) in {0, 1, NaN} can be put in: of an exclusive group all members or none."""
    known = labels.isfinite()
    pairs = siblings(exclusive, labels.shape[1], labels.device)
    return known if pairs is None else known & ((~known).float() @ pairs == 0)


def answered(model: Any, evidence: Evidence, truth: float) -> tuple[Tensor, Tensor]:
    """For each concept alone at `truth` in {0, 1}: which concepts are then set (k, k), and to what (B, k, k)."""
    probability = model.concept_probability(evidence)
    count = probability.shape[1]
    own = torch.eye(count, device=probability.device)
    pairs = siblings(model.exclusive, count, probability.device)
    if pairs is None:
        return own.bool(), (truth * own).expand(probability.shape[0], -1, -1)
    share = probability.clamp_min(IMPOSSIBLE)
    others = pairs * share[:, None] / (share @ pairs).clamp_min(IMPOSSIBLE)[..., None]  # (B, k, k)
    return (own + pairs).bool(), truth * own + (1 - truth) * others


def effects(model: Any, evidence: Evidence, slopes: Tensor) -> Tensor:
    """(B, 2, k, C): what each concept alone at absent and at present adds to scores that are affine in activations.

    The same as a readout of `answered`: activations are affine in the labels that they stand for.
    """
    absent, present = (model.concept_values(torch.full_like(evidence.activation, t)) for t in (0.0, 1.0))
    down, up = ((value - evidence.activation)[..., None] * slopes for value in (absent, present))  # (B, k, C)
    pairs = siblings(model.exclusive, down.shape[1], down.device)
    if pairs is None:
        return torch.stack([down, up], 1)
    share = model.concept_probability(evidence).clamp_min(IMPOSSIBLE)
    all_down = pairs @ down
    raised = pairs @ (share[..., None] * (up - down)) / (share @ pairs).clamp_min(IMPOSSIBLE)[..., None]
    return torch.stack([down + all_down + raised, up + all_down], 1)
