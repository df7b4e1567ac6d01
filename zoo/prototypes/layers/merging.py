"""Merging of prototypes that fire alike, so that classes share them (ProtoPShare).

Rymarczyk, Struski, Tabor, Zieliński: "ProtoPShare: Prototypical Parts Sharing for Similarity Discovery in Interpretable
Image Classification", KDD 2021, arXiv 2011.14340, section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.training.projection_set import ProjectionSet

CHUNK = 1 << 16  # pairs that become Python numbers at once


def squared_differences(projection_set: ProjectionSet, activations: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """(P, P) float64, Σ_x (g_p(x) - g_q(x))² over the images x: the inverse of the data-dependent similarity.

    Args:
        projection_set: the training set, this rank's share.
        activations: from images (B, C, H, W) to activations g (B, P).
        count: P.
    """
    products = torch.zeros(count, count, dtype=torch.float64, device=projection_set.device)
    for batch in projection_set:
        g = activations(batch["input"]).double()
        products += g.T @ g
    products = projection_set.total(products)
    square = products.diagonal()
    return (square[:, None] + square - 2 * products).clamp_min(0)


def merge_most_similar(differences: Tensor, size: Tensor, alive: Tensor, count: int) -> Tensor:
    """(P,) the prototype that each prototype is merged into, itself for those that stay.

    The two of the remaining prototypes with the smallest difference are merged, again and again, until `count` remain:
    the one of smaller size into the other, of equal ones the one with the higher number. The activation of the one that
    stays does not change, so that no difference has to be computed again.

    Args:
        differences: (P, P), see `squared_differences`.
        size: (P,) of the weights.
        alive: (P,) bool, the prototypes that can be merged.
        count: at least 1.
    """
    into = torch.arange(len(alive))
    left, remaining = alive.tolist(), int(alive.sum())
    rows, columns = torch.triu_indices(len(alive), len(alive), 1).unbind(0)
    usable = (alive.cpu()[rows] & alive.cpu()[columns]).nonzero()[:, 0]
    rows, columns = rows[usable], columns[usable]
    order = differences.cpu()[rows, columns].sort(stable=True).indices
    sizes = size.tolist()
    ranked = torch.stack([rows[order], columns[order]], 1)
    for p, q in (pair for some in ranked.split(CHUNK) for pair in some.tolist()):
        if remaining <= count:
            break
        if left[p] and left[q]:
            stays, goes = (p, q) if sizes[p] >= sizes[q] else (q, p)
            left[goes], remaining = False, remaining - 1
            into[into == goes] = stays
    return into


def parse_merged(merged: Sequence[int] | None, count: int) -> Tensor:
    """(P,) int64, the prototype that each was merged into, from plain data; itself by default.

    Raises:
        ValueError: not one number of a prototype for each, or one that was itself merged into another.
    """
    into = list(range(count)) if merged is None else list(merged)
    if len(into) != count or not all(0 <= j < count and into[j] == j for j in into):
        raise ValueError(
            f"merged must give for each of the {count} prototypes the number of the one that it was merged into, or "
            f"its own; got {len(into)} numbers, such as {into[:5]}. `merge` sets it; leave it out."
        )
    return torch.tensor(into)


def first_copies(source: Tensor, alive: Tensor, per_class: int) -> Tensor:
    """(P,) the first prototype of each one's class that has the same source, itself for those that are not alive.

    Args:
        source: (P, 2), equal for copies.
        alive: (P,) bool.
        per_class: prototypes of a class, one class after another.
    """
    key = source.unflatten(0, (-1, per_class))
    same = (key[:, :, None] == key[:, None]).all(3)  # (C, Q, Q)
    same &= alive.unflatten(0, (-1, per_class))[:, None]  # a pruned prototype gets no weights
    number = torch.arange(len(alive), device=same.device)
    lowest = (same.to(torch.uint8).argmax(2) + number[::per_class, None]).flatten()  # of each set of copies
    return torch.where(alive, lowest, number)


def joined(columns: Tensor, into: Tensor) -> Tensor:
    """(R, P) columns added up at the prototypes that they were merged into, 0 at those that were merged."""
    return torch.zeros_like(columns).index_add(1, into.to(columns.device), columns)


def with_merged(units: tuple[Unit, ...], into: Tensor, own: Tensor) -> tuple[Unit, ...]:
    """The units; their sources name the prototypes merged into them, or the one that stands for them.

    Args:
        units: of P prototypes.
        into: (P,) see `merge_most_similar`.
        own: (C, P) bool, the classes of each prototype; one of several classes has no target.
    """
    members: dict[int, list[str]] = {}
    for j, stays in enumerate(into.tolist()):
        if stays != j:
            members.setdefault(stays, []).append(units[j].name)
    single = (own.sum(0) <= 1).tolist()

    def describe(j: int, unit: Unit, stays: int) -> Unit:
        known: dict[str, Any] = {"merged": members[j]} if j in members else {}
        if stays != j:
            known = {"merged_into": units[stays].name}
        elif not single[j]:
            known["group"] = "shared by classes"
        return replace(unit, target=unit.target if single[j] else None, source={**unit.source, **known})

    if not members:
        return units
    return tuple(describe(j, unit, stays) for j, (unit, stays) in enumerate(zip(units, into.tolist(), strict=True)))
