"""Clusters of a matrix, and how well it falls apart into them."""

import pytest
import torch

from zoo.metrics import spectral_clusterability, spectral_clusters
from zoo.utils.functional import clusterability


def test_spectral_clusters_find_shuffled_blocks() -> None:
    torch.manual_seed(0)
    blocks = torch.block_diag(*[torch.randn(6, 5) for _ in range(3)])
    shuffled = blocks[torch.randperm(18)][:, torch.randperm(15)]
    rows, columns = spectral_clusters(shuffled, 3)
    assert clusterability(shuffled, rows, columns) == 1
    assert spectral_clusterability(shuffled, 3) == pytest.approx(1.0)
    assert spectral_clusterability(torch.randn(18, 15), 3) < 0.7


def test_a_matrix_with_empty_rows_and_columns_has_clusters() -> None:
    weight = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3), torch.zeros(2, 2))
    assert spectral_clusterability(weight, 2) == pytest.approx(1.0)


def test_bad_input() -> None:
    for weight, count in ((torch.randn(3, 3), 4), (torch.randn(3, 3), 1), (torch.randn(3), 2)):
        with pytest.raises(ValueError, match=r"expected a matrix and 2 to min\(rows, columns\) clusters; got"):
            spectral_clusters(weight, count)
