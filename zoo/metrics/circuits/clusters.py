"""Clusters of neurons in a weight matrix."""

import numpy as np
import torch
from sklearn.cluster import SpectralCoclustering
from torch import Tensor

from zoo.utils.functional import clusterability


def spectral_clusters(weight: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clusters of the rows (m,) and columns (n,) of a matrix, by bipartite spectral clustering of its magnitudes.

    Dhillon, KDD 2001, as used in arXiv 2502.02470.

    Args:
        weight: (m, n).
        count: number of clusters, from 2 to min(m, n).
        seed: of the final k-means.

    Raises:
        ValueError: too few or too many clusters, or a weight that is not a matrix.
    """
    if weight.ndim != 2 or not 2 <= count <= min(weight.shape):
        raise ValueError(
            f"expected a matrix and 2 to min(rows, columns) clusters; got {tuple(weight.shape)} and {count}."
        )
    size = weight.detach().abs().double().cpu().numpy()
    # A row or column of zeros has degree 0, by which the algorithm divides; this offset is negligible elsewhere.
    size = size + 1e-9 * max(float(size.max()), np.finfo(float).tiny)
    found = SpectralCoclustering(count, random_state=seed).fit(size)
    return torch.from_numpy(found.row_labels_).long(), torch.from_numpy(found.column_labels_).long()


def spectral_clusterability(weight: Tensor, count: int, seed: int = 0) -> float:
    """Clusterability of a weight (m, n) under its own spectral clusters; in (0, 1], higher is more modular.

    Compare with the same weight with shuffled entries, because spectral clustering finds structure in any matrix.
    """
    rows, columns = spectral_clusters(weight, count, seed)
    return clusterability(weight.detach().cpu(), rows, columns).item()
