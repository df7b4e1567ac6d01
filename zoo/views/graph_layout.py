"""Places of the nodes of a graph in a drawing.

Gansner, Koren, North: "Graph Drawing by Stress Majorization", Graph Drawing 2004.
"""

from collections.abc import Sequence

import numpy as np

ROUNDS = 60  # of the majorisation
STILL = 1e-3  # largest movement, in edges, at which it ends


def layout(nodes: int, ends: Sequence[tuple[int, int]]) -> np.ndarray:
    """Places (n, 2) in [0, 1], such that distances in the drawing are about as numbers of edges between nodes.

    The same graph always has the same places. Parts that are not connected are drawn beside each other.

    Args:
        nodes: n.
        ends: the two nodes of each edge.
    """
    if nodes == 1:
        return np.full((1, 2), 0.5)
    apart = distances(nodes, ends)
    weight = 1 / np.maximum(apart, 1e-9) ** 2
    np.fill_diagonal(weight, 0)
    laplacian = np.diag(weight.sum(1)) - weight
    inverse = np.linalg.pinv(laplacian)
    angle = 2 * np.pi * np.arange(nodes) / nodes
    radius = 1 + np.arange(nodes) % 3  # not symmetric, so that nothing stays on one line
    places = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    for _ in range(ROUNDS):
        shift = places[:, None] - places[None]
        length = np.maximum(np.sqrt((shift**2).sum(2)), 1e-9)
        ratio = weight * apart / length
        moved = inverse @ (ratio.sum(1)[:, None] * places - ratio @ places)
        still = np.abs(moved - places).max() < STILL
        places = moved
        if still:
            break
    _, _, axes = np.linalg.svd(places - places.mean(0), full_matrices=False)
    places = (places - places.mean(0)) @ axes.T  # the longer side lies flat
    low, span = places.min(0), np.ptp(places, 0)
    return (places - low - span / 2) / max(float(span.max()), 1e-9) + 0.5


def distances(nodes: int, ends: Sequence[tuple[int, int]]) -> np.ndarray:
    """(n, n) number of edges between nodes; of nodes that are not connected, one more than the largest."""
    apart = np.full((nodes, nodes), np.inf)
    np.fill_diagonal(apart, 0)
    for a, b in ends:
        apart[a, b] = apart[b, a] = 1
    for k in range(nodes):
        apart = np.minimum(apart, apart[:, k, None] + apart[None, k])
    known = np.isfinite(apart)
    return np.where(known, apart, apart[known].max() + 1)
