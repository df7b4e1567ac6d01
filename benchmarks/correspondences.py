"""Speed of matching patches against plain loops: `python -m benchmarks.correspondences`.

Both sides compute the same; a section refuses to compare what differs.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.prototypes.correspondence import AT_ONCE
from zoo.prototypes.matching import mutual_nearest
from zoo.prototypes.pairwise import match_by_mutual_patches, match_by_transport

QUERIES, CANDIDATES, GRID, DIM, PAIRS, EPSILON, STEPS = 8, 50, 7, 64, 5, 0.05, 20


def correspondences(repeats: int) -> None:
    """Patches of a batch of images against those of 50 candidates each, and against a whole bank of exemplars."""
    draw = torch.Generator().manual_seed(0)
    cells = GRID * GRID
    queries = torch.rand(QUERIES, cells, DIM, generator=draw)
    others = queries[:, None] + torch.rand(QUERIES, CANDIDATES, cells, DIM, generator=draw)  # some do match
    exemplars = torch.randn(250 * cells, DIM, generator=draw)
    points = torch.randn(QUERIES, cells, DIM, generator=draw)

    print(f"{QUERIES} images x {CANDIDATES} candidates x {cells} x {cells} patches, d = {DIM}")
    sides = {
        "zoo": lambda: _at_once(others, lambda part: match_by_mutual_patches(queries, part, PAIRS).value),
        "loop over candidates": lambda: _each(queries, others, _mutual_of_pair),
        "loop over patches": lambda: _each(queries[:1], others[:1], _mutual_by_patches),
    }
    compare("mutual nearest patches", sides, repeats, {"loop over patches": QUERIES})
    sides = {
        "zoo": lambda: _at_once(others, lambda part: match_by_transport(queries, part, PAIRS, EPSILON, STEPS).value),
        "loop over candidates": lambda: _each(queries, others, _transport_of_pair),
        "the same, logarithms": lambda: _each(queries, others, _transport_by_logarithms),
    }
    compare(f"earth mover's distance, {STEPS} steps of Sinkhorn", sides, repeats, {})
    sides = {
        "zoo": lambda: mutual_nearest(points, exemplars)[2].sum(1).float(),
        "loop over exemplars": lambda: _count_by_exemplar(points, exemplars, cells),
    }
    compare(f"keypoints, {len(exemplars) // cells} exemplars", sides, repeats, {})


def _at_once(others: Tensor, match: Callable[[Tensor], Tensor]) -> Tensor:
    """In the chunks that the model works in."""
    return torch.cat([match(part) for part in others.split(AT_ONCE, 1)], 1)


def _each(queries: Tensor, others: Tensor, match: Callable[[Tensor, Tensor], float]) -> Tensor:
    return torch.tensor([[match(q, c) for c in candidates] for q, candidates in zip(queries, others, strict=True)])


def _weights(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-correlation of two images' patches, row by row as in the official code, with the zoo's floor."""
    a, b = np.zeros(len(one), np.float32), np.zeros(len(two), np.float32)
    for side, (x, other) in zip((a, b), ((one.numpy(), two.numpy()), (two.numpy(), one.numpy())), strict=True):
        mean = other.mean(0)
        for i in range(len(x)):
            side[i] = max(float(np.multiply(x[i], mean).sum()), 0.0)
        side += 1e-3 * side.mean()
        side /= side.sum()
    return torch.from_numpy(a), torch.from_numpy(b)


def _mutual_of_pair(one: Tensor, two: Tensor) -> float:
    a, b = _weights(one, two)
    cosine = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T
    best, column = cosine.max(1)
    mutual = cosine.argmax(0)[column] == torch.arange(len(one))
    part = torch.where(mutual, (a * b[column]).sqrt() * best, torch.tensor(0.0))
    return float(part.topk(PAIRS).values.sum())


def _mutual_by_patches(one: Tensor, two: Tensor) -> float:
    a, b = _weights(one, two)
    x, y = F.normalize(one, dim=1).numpy(), F.normalize(two, dim=1).numpy()
    cosine = [[float(np.dot(x[i], y[j])) for j in range(len(y))] for i in range(len(x))]
    parts = []
    for i, row in enumerate(cosine):
        j = max(range(len(row)), key=row.__getitem__)
        if max(range(len(x)), key=lambda k, j=j: cosine[k][j]) == i:
            parts.append(float((a[i] * b[j]).sqrt()) * row[j])
    return sum(sorted(parts, reverse=True)[:PAIRS])


def _transport_of_pair(one: Tensor, two: Tensor) -> float:
    a, b = _weights(one, two)
    cosine = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T
    kernel = torch.exp((cosine - 1) / EPSILON)
    u, v = torch.ones(len(one)), torch.ones(len(two))
    for _ in range(STEPS):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return float((u[:, None] * kernel * v * cosine).sum())


def _transport_by_logarithms(one: Tensor, two: Tensor) -> float:
    """The form that holds for any ε, which is how libraries of optimal transport have it."""
    a, b = _weights(one, two)
    cosine = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T
    kernel, u, v = (cosine - 1) / EPSILON, torch.zeros(len(one)), torch.zeros(len(two))
    for _ in range(STEPS):
        u = a.log() - torch.logsumexp(kernel + v, 1)
        v = b.log() - torch.logsumexp(kernel + u[:, None], 0)
    return float(((kernel + u[:, None] + v).exp() * cosine).sum())


def _count_by_exemplar(points: Tensor, exemplars: Tensor, cells: int) -> Tensor:
    """For each image the exemplars one after the other, with the best of each patch so far."""
    counts = []
    for one in points:
        best, ours = torch.full((len(one),), torch.inf), torch.zeros(len(one), dtype=torch.bool)
        for exemplar in exemplars.split(cells):
            distance = torch.cdist(one, exemplar)
            nearest, column = distance.min(1)
            mutual = distance.argmin(0)[column] == torch.arange(len(one))
            ours, best = torch.where(nearest < best, mutual, ours), torch.minimum(nearest, best)
        counts.append(ours.sum().float())
    return torch.stack(counts)


def compare(
    title: str, sides: Mapping[str, Callable[[], Tensor]], repeats: int, shares: Mapping[str, int]
) -> dict[str, float]:
    """Prints the median seconds of each side, of which the first is the zoo's, and returns how many times it is faster.

    Args:
        title: of the work.
        sides: each returns what it found, one row an image.
        repeats: runs of each, in turn.
        shares: sides that do one of so many equal parts of the work; their time is multiplied.

    Raises:
        ArithmeticError: two sides found different things.
    """
    found = {name: side() for name, side in sides.items()}  # also warms up
    ours = next(iter(found.values()))
    for name, theirs in found.items():
        apart = float((ours[: len(theirs)] - theirs).abs().max())
        if not apart < 1e-3:
            raise ArithmeticError(f"'{name}' differs from the zoo's by {apart:.3g} in {title}.")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.process_time()  # of this process, whatever else the machine does
            side()
            times[name].append((time.process_time() - start) * shares.get(name, 1))
    middle = {name: statistics.median(spent) for name, spent in times.items()}
    first = next(iter(middle))
    print(f"  {title}")
    for name, seconds in middle.items():
        print(f"    {name:<22}{1e3 * seconds / len(ours):>10.2f} ms an image{seconds / middle[first]:>10.1f} x")
    return {name: seconds / middle[first] for name, seconds in middle.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.correspondences",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turn")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1; got {options.repeats}")
    torch.set_num_threads(1)  # processor time is then that of one core
    correspondences(options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
