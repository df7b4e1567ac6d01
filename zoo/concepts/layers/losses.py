"""The concept loss of the family: binary and categorical concepts, missing labels, two ways to weight."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_choice

WEIGHTINGS = ("none", "weight", "pos_weight")


def concept_loss(
    logits: Tensor,
    concepts: Tensor,
    exclusive: Sequence[Sequence[int]] = (),
    weighting: str = "none",
    weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy over rows and concepts; missing labels (NaN) are left out.

        binary:    -ω⁺ c log p - ω⁻ (1 - c) log(1 - p)
        exclusive: -log softmax(logits of the group)[present], divided equally among the concepts of the group

    Args:
        logits: (B, k).
        concepts: (B, k) labels in [0, 1] or NaN.
        exclusive: columns of each group of which exactly one concept is present; a group is left out where one of its
            labels is missing.
        weighting: "none"; "weight" multiplies both terms of a binary concept by its weight (Koh et al. 2020, CEM; this
            rescales rare concepts, it does not balance present and absent); "pos_weight" multiplies only the term of a
            present concept (VLG-CBM 2024).
        weights: (k,), such as `imbalance`.

    Returns:
        A scalar; 0 if no label is known.
    """
    known = concepts.isfinite()
    labels = concepts.nan_to_num(0.0).to(logits.dtype)
    weight, positive = (weights if weighting == kind else None for kind in ("weight", "pos_weight"))
    terms = F.binary_cross_entropy_with_logits(logits, labels, weight, pos_weight=positive, reduction="none")
    for columns in exclusive:
        complete = known[:, columns].all(1, keepdim=True)
        share = -(labels[:, columns] * logits[:, columns].log_softmax(1)).sum(1, keepdim=True) / len(columns)
        terms[:, columns], known[:, columns] = share.expand(-1, len(columns)), complete.expand(-1, len(columns))
    return (terms * known).sum() / known.sum().clamp_min(1)


class ConceptLoss(nn.Module):
    """`concept_loss` with the weights absent / present of the training labels, in the buffer `weights` (k,).

    Args:
        concepts: k.
        exclusive: columns of each exclusive group.
        weighting: "none", "weight" or "pos_weight", see `concept_loss`.

    Raises:
        ValueError: an unknown weighting.
    """

    weights: Tensor

    def __init__(self, concepts: int, exclusive: Sequence[Sequence[int]], weighting: str) -> None:
        super().__init__()
        check_choice(WEIGHTINGS, weighting=weighting)
        self.exclusive, self.weighting = exclusive, weighting
        self.register_buffer("weights", torch.ones(concepts))

    def forward(self, logits: Tensor, concepts: Tensor) -> Tensor:
        return concept_loss(logits, concepts, self.exclusive, self.weighting, self.weights)

    def measure_weights(self, data: object) -> None:
        """Computes the weights from the labels `data.concept_labels()` of a data module, unless weighting is "none".

        Raises:
            ValueError: the data module has no such method.
        """
        if self.weighting == "none":
            return
        labels = getattr(data, "concept_labels", None)
        if labels is None:
            raise ValueError(
                f"weighting '{self.weighting}' needs the training labels; give the Trainer a data module with "
                "concept_labels(), or use weighting 'none'."
            )
        self.weights.copy_(imbalance(labels()))


def imbalance(concepts: Tensor) -> Tensor:
    """Ratio absent / present (k,) of labels (N, k) in {0, 1, NaN}; 1 where all known labels are equal."""
    present, absent = (concepts == 1).sum(0).float(), (concepts == 0).sum(0).float()
    return torch.where((present > 0) & (absent > 0), absent / present.clamp_min(1), torch.ones_like(present))


def probabilities(logits: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
    """Probabilities (B, k) of concept logits (B, k): a sigmoid, and a softmax over each exclusive group."""
    found = logits.sigmoid()
    for columns in exclusive:
        found = found.index_copy(1, torch.tensor(columns, device=logits.device), logits[:, columns].softmax(1))
    return found
