"""Spatial misalignment, size of explanations and relevance in the object, by hand."""

import pytest
import torch

from zoo.metrics import ExplanationSize, RelevanceInObject, SpatialMisalignment
from zoo.metrics.prototypes.misalignment import attack_outside, noise_outside, outside_of_box


def test_nothing_changes_nothing() -> None:
    metric, support = SpatialMisalignment(), torch.rand(3, 4, 6, 6)
    activation = support.flatten(2).amax(2)
    metric.update(activation.argmax(1), activation, support, activation, support)
    assert {name: float(value) for name, value in metric.compute().items()} == {"PLC": 0, "PAC": 0, "PRC": 0}


def test_by_hand() -> None:
    support, moved = torch.zeros(2, 3, 6, 6), torch.zeros(2, 3, 6, 6)
    support[:, :, 0, 0], moved[:, :, 5, 5] = 1, 1  # all of the peak moves away
    before = torch.tensor([[0.8, 0.5, 0.1], [0.0, 0.5, 0.1]])
    after = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
    metric = SpatialMisalignment()
    metric.update(torch.tensor([0, 0]), before, support, after, moved)
    found = metric.compute()
    assert metric.undefined == 1  # of the second image the prototype did not fire
    assert found["PLC"] == pytest.approx(100) and found["PAC"] == pytest.approx(75) and found["PRC"] == 2


def test_outside_of_box() -> None:
    support = torch.zeros(1, 8, 8)
    support[0, 2, 5] = 1
    outside = outside_of_box(support, (64, 64), margin=4)[0, 0]
    assert not outside[20, 44] and outside[0, 0] and outside[60, 44]
    inside = (~outside).nonzero()
    height, width = (inside.amax(0) - inside.amin(0) + 1).tolist()
    assert height * width == len(inside)  # a rectangle


def test_the_attack_reaches_the_minimum_of_a_linear_activation() -> None:
    """Its worst case is -radius · sign(weight) wherever the image may change."""
    weight = torch.randn(1, 2, 4, 4)
    x, outside = torch.rand(3, 2, 4, 4), torch.rand(3, 1, 4, 4) < 0.5
    found = attack_outside(x, outside, lambda image: (image * weight).sum((1, 2, 3)), radius=0.1, step=0.02)
    torch.testing.assert_close(found, x - 0.1 * weight.sign() * outside)
    assert not found.requires_grad


def test_noise_is_outside_only_and_the_same_again() -> None:
    x, outside = torch.rand(3, 2, 4, 4), torch.rand(3, 1, 4, 4) < 0.5
    noisy = noise_outside(x, outside)
    assert torch.equal(noisy, noise_outside(x, outside))
    assert torch.equal((noisy != x).any(1, keepdim=True), outside)


def test_size_of_explanations() -> None:
    metric = ExplanationSize(4, cover=0.9)
    metric.update(torch.tensor([[6.0, -3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]]))
    assert {name: float(value) for name, value in metric.compute().items()} == {
        "local": 1.0,
        "nonzero": pytest.approx(4 / 3),
        "global": 3.0,
    }
    with pytest.raises(ValueError, match=r"cover must be in \(0, 1\]; got 0"):
        ExplanationSize(4, cover=0)


def test_relevance_in_the_object() -> None:
    support, inside = torch.zeros(2, 2, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]] * 2)
    support[0, 0, 0, 0], support[0, 1, 1, 1] = 1, 1
    metric = RelevanceInObject()
    metric.update(support, torch.tensor([[3.0, -1.0], [1.0, 1.0]]), inside)
    found = metric.compute()
    assert found["relevance"] == 0.75 and found["chance relevance"] == 0.25 and metric.undefined == 1
    with pytest.raises(ValueError, match=r"and an object \(B, h, w\); got"):
        metric.update(support, torch.ones(2, 3), inside)
