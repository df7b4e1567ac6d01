"""Number of concepts per class (NEC, NCC), and accuracy at a fixed number (ANEC), with a random bottleneck as control.

Srivastava, Yan, Weng: "VLG-CBM: Training Concept Bottleneck Models with Vision-Language Guidance", NeurIPS 2024,
arXiv 2408.01432, section 4. A fixed number of effective concepts (NEC) limits leakage; without this limit a bottleneck
of random directions is accurate too, so its results are reported beside those of the concepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.metrics.cover import smallest_cover
from zoo.networks.sparse_levels import first_with
from zoo.networks.sparse_linear import LENGTH, Solution, truncate

LEVELS = (5, 10, 15, 20, 25, 30)


def effective_concepts(weight: Tensor) -> float:
    """NEC: the number of non-zero weights per class, averaged over the classes of weights (C, k)."""
    return (weight != 0).sum(1).float().mean().item()


def covering_concepts(activation: Tensor, weight: Tensor, share: float = 0.95, chunk: int = 256) -> float:
    """NCC: the fewest concepts that hold a share of the sum of |contributions|, averaged over rows and classes.

    At a share of 1 this equals NEC if no activation is 0.

    Args:
        activation: (N, k).
        weight: (C, k).
        share: in (0, 1].
        chunk: rows computed at a time, which limits memory.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1]; got {share}.")
    total = 0.0
    for rows in activation.split(chunk):
        needed = smallest_cover((rows[:, None] * weight).abs(), share).sum(2)  # (n, C)
        total += needed.double().mean(1).sum().item()
    return total / len(activation)


@dataclass(frozen=True)
class Level:
    """Accuracy of the concepts and of the random control with exactly `concepts` effective concepts per class."""

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
    """ANEC: test accuracy with exactly n effective concepts per class, for each n in `levels`.

    The first head of density at least n / k on a path of 150 λ is solved to convergence and truncated to its n·C
    largest weights. `python -m benchmarks.sparse_heads` compares with the exact path. Differs from the published code:
    there, heads stop before they converge, and have more weights than the optimum.

    Args:
        train: scores (N, k) and classes (N,) to fit on; both sets are standardised by these scores.
        test: scores and classes to evaluate on.
        classes: C.
        levels: n, in any order.
        length: of the path.
        title: of a progress bar; none if empty.

    Returns:
        In the order of `levels`; None if no head of the path has this density, or n > k.
    """
    mean, std = train[0].mean(0), train[0].std(0).clamp_min(1e-6)
    z, z_test = ((part[0] - mean) / std for part in (train, test))
    counts = [n * classes for n in levels if n <= z.shape[1]]
    heads = first_with(z, train[1], classes, counts, length=length, title=title)
    found = {n: _accuracy(heads[n * classes], n, z_test, test[1]) for n in levels if n * classes in heads}
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
    """ANEC of concept scores, and of the same number of random directions in the features.

    Args:
        concepts: scores (N, k) of the training items and of the test items.
        features: (N, d) of the same items, from which the concepts are computed.
        targets: (N,) classes of the same items.
        classes: C.
        levels: effective concepts per class.
        length: of the path.
        seed: of the random directions.
        progress: show a progress bar.
    """
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(features[0].shape[1], concepts[0].shape[1], generator=draw).to(features[0])
    rows: list[list[float | None]] = []
    control = (features[0] @ directions, features[1] @ directions)
    for title, (train, test) in (("concepts", concepts), ("random", control)):
        name = f"path ({title})" if progress else ""
        pairs = (train, targets[0]), (test, targets[1])
        rows.append(accuracy_at_levels(*pairs, classes, levels, length=length, title=name))
    return [Level(n, ours, control) for n, ours, control in zip(levels, *rows, strict=True)]


def _accuracy(solution: Solution, level: int, z: Tensor, target: Tensor) -> float:
    scores = z @ truncate(solution.weight, level).T + solution.bias
    return (scores.argmax(1) == target).float().mean().item()
