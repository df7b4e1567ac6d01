"""Hyperplanes of concepts that are linearly separable."""

import pytest
import torch

from zoo.concepts.layers.hyperplane import fit_hyperplane


def test_hyperplane_separates_and_is_of_unit_length() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(80, 5, generator=draw)
    normal = torch.tensor([1.0, -1, 0, 0, 0])
    labels = ((x @ normal) > 0.3).float()
    vector, offset, accuracy = fit_hyperplane(x, labels)
    assert vector.norm().item() == pytest.approx(1, abs=1e-5) and accuracy > 0.8
    assert (((x @ vector + offset) > 0) == labels.bool()).float().mean() > 0.9
    assert torch.cosine_similarity(vector, normal, 0) > 0.9
