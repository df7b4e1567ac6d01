"""The sum along the path of a binary tree: each split that is reached adds the difference between child and parent.

    score = value of the root + Σ over reached splits i of (value of the child that is taken - value of i)

The sum telescopes to the value of the leaf, so that the contributions of the splits are exact (Saabas, 2014).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.domain import TableDomain


class PathTree(NamedTuple):
    """A tree of I splits, whose values are known at every split and on both sides of it.

    Attributes:
        feature: (I,) number of the input that each split reads; -1 of a split that is not used.
        threshold: (I,) the right side is taken above it.
        below_left: (I, I) 1 where split i lies below the left side of split j; row i, column j.
        below_right: the same for the right side.
        value: (I, C) of the splits.
        left: (I, C) of the left child of each.
        right: (I, C) of the right child of each.
    """

    feature: Tensor
    threshold: Tensor
    below_left: Tensor
    below_right: Tensor
    value: Tensor
    left: Tensor
    right: Tensor

    def evidence(self, sides: Tensor, support: Tensor | None) -> Evidence:
        """The evidence of rows that take the given sides (B, I) in {0, 1} of the splits, 1 being right."""
        missed = sides @ self.below_left.T + (1 - sides) @ self.below_right.T  # (B, I) splits above that lead elsewhere
        reached = (missed < 0.5).to(self.value) * (self.feature >= 0)
        taken = sides[:, :, None]
        steps = taken * (self.right - self.value) + (1 - taken) * (self.left - self.value)  # (B, I, C)
        bias = self.value[0].expand(sides.shape[0], -1)
        return Evidence(reached, support, {"unit_logits": steps, "bias": bias, "side": sides})


def empty_tree(splits: int, classes: int) -> PathTree:
    """A tree of unused splits and values of 0."""
    below, values = torch.zeros(splits, splits), torch.zeros(splits, classes)
    return PathTree(
        torch.full((splits,), -1), torch.zeros(splits), below, below.clone(), values, values.clone(), values.clone()
    )


def complete_tree(depth: int) -> tuple[Tensor, Tensor]:
    """`below_left` and `below_right` of a complete tree; the children of split i are 2 i + 1 and 2 i + 2."""
    count = 2**depth - 1
    left, right = torch.zeros(count, count), torch.zeros(count, count)
    for i in range(1, count):
        child = i
        while child:
            parent = (child - 1) // 2
            (left if child == 2 * parent + 1 else right)[i, parent] = 1.0
            child = parent
    return left, right


def feature_support(feature: Tensor, features: int) -> Tensor:
    """(I, F) in {0, 1}: the input that each split reads."""
    return (feature[:, None] == torch.arange(features, device=feature.device)).float()


def split_names(feature: Sequence[int], threshold: Sequence[float], domain: TableDomain) -> list[str]:
    """A name for each split, such as "pole angle [rad] > 0.021"; equal ones are numbered."""
    names: list[str] = []
    for i, (f, t) in enumerate(zip(feature, threshold, strict=True)):
        name = condition(f, t, True, domain) if f >= 0 else f"(unused split {i + 1})"
        names.append(name if name not in names else f"{name} (split {i + 1})")
    return names


def condition(feature: int, threshold: float, above: bool, domain: TableDomain) -> str:
    """A condition in raw values."""
    raw = threshold * domain.std[feature] + domain.mean[feature]
    return f"{domain.features[feature]} {'>' if above else '≤'} {raw:.4g}"


def rule(
    reached: Sequence[float], sides: Sequence[float], feature: Sequence[int], threshold: Sequence[float],
    domain: TableDomain,
) -> str:  # fmt: skip
    """The conditions along a path, those on the same number joined: "0.1 < pole angle [rad] ≤ 0.2 and ..."."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    order: list[int] = []
    for on, side, f, t in zip(reached, sides, feature, threshold, strict=True):
        if on > 0.5:
            order += [f] if f not in order else []
            if side > 0.5:
                low[f] = max(t, low.get(f, t))
            else:
                high[f] = min(t, high.get(f, t))
    parts = []
    for f in order:
        name, (mean, std) = domain.features[f], (domain.mean[f], domain.std[f])
        below = f"{low[f] * std + mean:.4g} < " if f in low and f in high else ""
        if below:
            parts.append(f"{below}{name} ≤ {high[f] * std + mean:.4g}")
        else:
            parts.append(condition(f, low[f] if f in low else high[f], f in low, domain))
    return " and ".join(parts) or "always"
