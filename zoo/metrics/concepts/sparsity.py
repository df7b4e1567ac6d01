"""How few concepts explain the classes: NEC, ANEC and NCC, and what random concepts would reach.

Srivastava, Yan, Weng: "VLG-CBM: Training Concept Bottleneck Models with Vision-Language Guidance", NeurIPS 2024,
arXiv 2408.01432, section 4. Accuracy at a number of effective concepts (NEC) limits how much information leaks past the
names; without that limit a random bottleneck does well, so its numbers always stand beside those of the concepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.networks.sparse_linear import LENGTH, Solution, path, truncate

LEVELS = (5, 10, 15, 20, 25, 30)


def effective_concepts(weight: Tensor) -> float:
    """NEC: how many concepts count for a class, the mean over the classes of weights (C, k) that are not 0."""
    return (weight != 0).sum(1).float().mean().item()


def covering_concepts(activation: Tensor, weight: Tensor, share: float = 0.95, chunk: int = 256) -> float:
    """NCC: the fewest concepts whose |contributions| make up `share` of their sum, mean over rows and classes.

    At a share of 1 this is NEC, where no activation is 0.

    Args:
        activation: (N, k).
        weight: (C, k).
        share: in (0, 1].
        chunk: rows at a time, so that memory is bounded.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1]; got {share}.")
    total = 0.0
    for rows in activation.split(chunk):
        parts = (rows[:, None] * weight).abs().sort(2, descending=True).values.double()  # (n, C, k)
        filled = parts.cumsum(2)
        goal = share * filled[..., -1:]
        needed = (filled < goal * (1 - 1e-12)).sum(2) + 1
        total += torch.where(goal[..., 0] > 0, needed, 0).double().mean(1).sum().item()
    return total / len(activation)


@dataclass(frozen=True)
class Level:
    """Accuracy with exactly `concepts` effective concepts a class, of the concepts and of the random control."""

    concepts: int
    accuracy: float | None
    random: float | None


def accuracy_at_levels(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    levels: Sequence[int] = LEVELS,
    *,
    length: int = LENGTH,
    title: str = "",
) -> list[float | None]:
    """ANEC: test accuracy with exactly n effective concepts a class, for each n of `levels`.

    A path of sparse heads is fitted; the first of density n / k or more is cut to its n·C largest weights.

    Args:
        train: scores (N, k) and classes (N,) to fit on; scores are standardised by them.
        test: likewise, to measure on.
        classes: C.
        levels: n, in any order.
        length: of the path.
        title: of a progress bar; none without.

    Returns:
        In the order of `levels`; None where the path never becomes so dense, or n is above k.
    """
    mean, std = train[0].mean(0), train[0].std(0).clamp_min(1e-6)
    z, z_test = ((part[0] - mean) / std for part in (train, test))
    width = z.shape[1]
    left = sorted({n for n in levels if n <= width})
    found: dict[int, float] = {}
    for solution in path(z, train[1], classes, length=length, title=title):
        while left and int((solution.weight != 0).sum()) >= left[0] * classes:
            level = left.pop(0)
            found[level] = _accuracy(solution, level, z_test, test[1])
        if not left:
            break
    return [found.get(n) for n in levels]


def sparsity_report(
    concepts: tuple[Tensor, Tensor],
    features: tuple[Tensor, Tensor],
    targets: tuple[Tensor, Tensor],
    classes: int,
    levels: Sequence[int] = LEVELS,
    *,
    length: int = LENGTH,
    seed: int = 0,
    progress: bool = False,
) -> list[Level]:
    """ANEC of concept scores, and of as many random directions in the same features.

    Args:
        concepts: scores (N, k) of the training and of the test items.
        features: (N, d) of the same items, which the concepts are read from.
        targets: (N,) classes of the same.
        classes: C.
        levels: effective concepts a class.
        length: of the path.
        seed: of the random directions.
        progress: show a bar.
    """
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(features[0].shape[1], concepts[0].shape[1], generator=draw).to(features[0])
    rows: list[list[float | None]] = []
    for title, (train, test) in (("concepts", concepts), ("random", tuple(f @ directions for f in features))):
        name = f"path ({title})" if progress else ""
        pairs = (train, targets[0]), (test, targets[1])
        rows.append(accuracy_at_levels(*pairs, classes, levels, length=length, title=name))
    return [Level(n, ours, control) for n, ours, control in zip(levels, *rows, strict=True)]


def _accuracy(solution: Solution, level: int, z: Tensor, target: Tensor) -> float:
    scores = z @ truncate(solution.weight, level).T + solution.bias
    return (scores.argmax(1) == target).float().mean().item()
