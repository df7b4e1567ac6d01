"""The concept loss of the whole family: binary and categorical concepts, missing labels, two kinds of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

WEIGHTINGS = ("none", "weight", "pos_weight")


def concept_loss(
    logits: Tensor,
    concepts: Tensor,
    exclusive: Sequence[Sequence[int]] = (),
    weighting: str = "none",
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over rows and concepts of each concept's cross-entropy; a label of NaN counts for nothing.

        binary:    -ω⁺ c log p - ω⁻ (1 - c) log(1 - p)
        exclusive: -log softmax(logits of the group)[present], shared equally by the concepts of the group

    Args:
        logits: (B, k).
        concepts: (B, k) in [0, 1] or NaN.
        exclusive: columns of each group of which exactly one concept is present; counts if all of them are labelled.
        weighting: "none"; "weight" multiplies both terms of a binary concept with `weights` (Koh et al. 2020, CEM:
            this rescales rare concepts, it does not balance present and absent); "pos_weight" multiplies only the
            term of a present concept (VLG-CBM 2024).
        weights: (k,), such as `imbalance`.

    Returns:
        A scalar; 0 where nothing is labelled.
    """
    known = concepts.isfinite()
    labels = concepts.nan_to_num(0.0).to(logits.dtype)
    weight, positive = (weights if weighting == kind else None for kind in ("weight", "pos_weight"))
    terms = F.binary_cross_entropy_with_logits(logits, labels, weight, pos_weight=positive, reduction="none")
    for columns in exclusive:
        whole = known[:, columns].all(1, keepdim=True)
        share = -(labels[:, columns] * logits[:, columns].log_softmax(1)).sum(1, keepdim=True) / len(columns)
        terms[:, columns], known[:, columns] = share.expand(-1, len(columns)), whole.expand(-1, len(columns))
    return (terms * known).sum() / known.sum().clamp_min(1)


def check_weighting(weighting: str) -> str:
    """The name of a weighting, if there is one of that name.

    Raises:
        ValueError: there is none.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}; got '{weighting}'.")
    return weighting


def imbalance(concepts: Tensor) -> Tensor:
    """(k,) absent / present of each concept among its labels (N, k), n / n⁺ - 1; 1 where one of the two is missing."""
    present, absent = (concepts == 1).sum(0).float(), (concepts == 0).sum(0).float()
    return torch.where((present > 0) & (absent > 0), absent / present.clamp_min(1), torch.ones_like(present))


def probabilities(logits: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
    """(B, k) probability of each concept: a sigmoid, and a softmax over each exclusive group."""
    shares = logits.sigmoid()
    for columns in exclusive:
        shares = shares.index_copy(1, torch.tensor(columns, device=logits.device), logits[:, columns].softmax(1))
    return shares
