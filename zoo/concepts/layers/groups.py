"""Exclusive concept groups, of which exactly one concept is present: the consequences of setting one concept.

If the concept is present, the other concepts of its group are absent. If it is absent, one of the others is present;
their probabilities are the predicted ones, normalised (uniform if all of them are 0).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 1e-6  # lower bound of the probabilities that are normalised


def exclusive_pairs(exclusive: Sequence[Sequence[int]], like: Tensor) -> Tensor | None:
    """Pairs of different concepts that exclude each other.

    Args:
        exclusive: columns of each exclusive group.
        like: (B, k, ...) of k concepts, whose type and device the result has.

    Returns:
        (k, k) in {0, 1}, or None if there is no exclusive group.
    """
    if not exclusive:
        return None
    pairs = like.new_zeros(like.shape[1], like.shape[1])
    for columns in exclusive:
        members = torch.tensor(columns, device=like.device)
        pairs[members[:, None], members] = 1.0
    return pairs.fill_diagonal_(0)


def complete_labels(labels: Tensor, exclusive: Sequence[Sequence[int]]) -> Tensor:
    """Which labels (B, k) in {0, 1, NaN} a concept can be set to.

    Returns:
        (B, k) bool: the label is known, and so are the labels of all concepts of its exclusive group.
    """
    known = labels.isfinite()
    pairs = exclusive_pairs(exclusive, labels)
    return known if pairs is None else known & ((~known).to(pairs) @ pairs == 0)


def set_each(probability: Tensor, exclusive: Sequence[Sequence[int]], value: float) -> tuple[Tensor, Tensor]:
    """The interventions that set one concept, and with it its exclusive group.

    Args:
        probability: (B, k) of the concepts.
        exclusive: columns of each exclusive group.
        value: 0 (absent) or 1 (present).

    Returns:
        (k, k) bool, row j: the concepts that are set when concept j is set; and (B, k, k), row j: their values.
    """
    count = probability.shape[1]
    own = torch.eye(count, dtype=probability.dtype, device=probability.device)
    pairs = exclusive_pairs(exclusive, probability)
    if pairs is None:
        return own.bool(), (value * own).expand(probability.shape[0], -1, -1)
    weight = probability.clamp_min(SMALLEST)
    others = pairs * weight[:, None] / (weight @ pairs).clamp_min(SMALLEST)[..., None]  # (B, k, k)
    return (own + pairs).bool(), value * own + (1 - value) * others


def score_changes(probability: Tensor, exclusive: Sequence[Sequence[int]], down: Tensor, up: Tensor) -> Tensor:
    """Changes of affine scores when one concept, and with it its exclusive group, is set.

    Equals a readout of each intervention of `set_each`, without forming them.

    Args:
        probability: (B, k) of the concepts.
        exclusive: columns of each exclusive group.
        down: (B, k, C) changes of the scores when the activation of a single concept is set to that of "absent".
        up: (B, k, C) likewise, to that of "present".

    Returns:
        (B, 2, k, C) for absent and present.
    """
    pairs = exclusive_pairs(exclusive, down)
    if pairs is None:
        return torch.stack([down, up], 1)
    weight = probability.clamp_min(SMALLEST)
    all_down = pairs @ down
    raised = pairs @ (weight[..., None] * (up - down)) / (weight @ pairs).clamp_min(SMALLEST)[..., None]
    return torch.stack([down + all_down + raised, up + all_down], 1)
