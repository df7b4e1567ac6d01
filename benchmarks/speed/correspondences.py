"""Matching the patches of a batch of images with those of 50 candidates each, and with a bank of exemplars."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case, Goal
from zoo.prototypes.layers.matcher import AT_ONCE
from zoo.prototypes.layers.matching import mutual_nearest
from zoo.prototypes.layers.pairwise import match_by_mutual_patches, match_by_transport

QUERIES, CANDIDATES, GRID, DIM, PAIRS, EPSILON, STEPS = 8, 50, 7, 64, 5, 0.05, 20


def cases(device: torch.device) -> Iterator[Case]:
    draw = torch.Generator().manual_seed(0)
    cells = GRID * GRID
    queries = torch.rand(QUERIES, cells, DIM, generator=draw)
    others = queries[:, None] + torch.rand(QUERIES, CANDIDATES, cells, DIM, generator=draw)  # some do match
    exemplars = torch.randn(250 * cells, DIM, generator=draw)
    points = torch.randn(QUERIES, cells, DIM, generator=draw)
    size = f"{QUERIES} images x {CANDIDATES} candidates x {cells} x {cells} patches"
    yield Case(
        f"mutual nearest patches, {size}",
        {
            "zoo": lambda: _at_once(others, lambda part: match_by_mutual_patches(queries, part, PAIRS).value),
            "loop over candidates": lambda: _each(queries, others, _mutual_of_pair),
            "loop over patches": lambda: _each(queries[:1], others[:1], _mutual_by_patches),
        },
        goal=Goal(at_least=5),
        apart=1e-3,
        shares={"loop over patches": QUERIES},
        memory=False,
    )
    yield Case(
        f"earth mover's distance, {STEPS} steps of Sinkhorn, {size}",
        {
            "zoo": lambda: _at_once(
                others, lambda part: match_by_transport(queries, part, PAIRS, EPSILON, STEPS).value
            ),
            "loop over candidates": lambda: _each(queries, others, _transport_of_pair),
            "in the log domain": lambda: _each(queries, others, _transport_by_logarithms),
        },
        goal=Goal(at_least=5),
        apart=1e-3,
        memory=False,
    )
    yield Case(
        f"keypoints, {QUERIES} images, {len(exemplars) // cells} exemplars",
        {
            "zoo": lambda: mutual_nearest(points, exemplars)[2].sum(1),
            "loop over exemplars": lambda: _count_by_exemplar(points, exemplars, cells),
        },
        apart=0.0,
        memory=False,
    )


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
