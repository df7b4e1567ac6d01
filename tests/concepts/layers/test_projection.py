"""Projections of concepts into features: similarity by hand, directions that are found, early stopping."""

import pytest
import torch

from zoo.concepts.layers.projection import cubed_cosine, fit_projection


def test_cubed_cosine_by_hand() -> None:
    q, p = torch.randn(7, 3), torch.randn(7, 3)
    for j in range(3):
        a, b = ((t[:, j] - t[:, j].mean()) ** 3 for t in (q, p))
        assert cubed_cosine(q, p)[j].item() == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-5)


def test_projection_finds_directions_that_are_there() -> None:
    features = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(2))
    weight, similarity = fit_projection(features, torch.cat([features @ truth.T, noise], 1), lr=0.01)
    assert (torch.cosine_similarity(weight[:3], truth) > 0.97).all()
    assert (similarity[:3] > 0.9).all() and similarity[3] < 0.45


def test_projection_stops_when_held_out_items_follow_less() -> None:
    seen: list[tuple[int, float]] = []
    draw = torch.Generator().manual_seed(0)
    features, scores = torch.randn(40, 30, generator=draw), torch.randn(40, 4, generator=draw)  # nothing to learn
    fit_projection(features, scores, lr=0.05, every=5, report=lambda step, value: seen.append((step, value)))
    values = [value for _, value in seen]
    assert len(seen) < 200 and values[-1] < max(values) and values[:-1] == sorted(values[:-1])
