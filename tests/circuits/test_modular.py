"""Clusterability by hand, as a regulariser, and as a metric."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.circuits.tokens import transformer
from zoo.circuits import Modular
from zoo.functional import clusterability, equal_clusters
from zoo.metrics import spectral_clusterability, spectral_clusters


def test_clusterability_by_hand() -> None:
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([0, 1])
    weight = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    assert clusterability(weight, rows, columns).item() == pytest.approx((1 + 9 + 16) / 30)
    blocks = torch.block_diag(torch.ones(2, 3), torch.ones(2, 3))
    assert clusterability(blocks, equal_clusters(4, 2), equal_clusters(6, 2)) == 1
    assert clusterability(torch.ones(8, 8), equal_clusters(8, 4), equal_clusters(8, 4)) == 0.25
    assert clusterability(torch.zeros(2, 2), equal_clusters(2, 2), equal_clusters(2, 2)) == 0


def test_equal_clusters_are_as_equal_as_can_be() -> None:
    assert equal_clusters(7, 3).bincount().tolist() == [3, 2, 2]


def fit(linear: nn.Linear, callback: Modular, gradient: torch.Tensor) -> list[float]:
    """One backward pass of a module that is nothing but this layer; returns what was logged."""
    logged: list[float] = []
    module = nn.Module()
    module.layer = linear
    module.log = lambda name, value, **_: logged.append(float(value))
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace())
    callback.on_fit_start(trainer, module)
    linear.weight.grad = gradient.clone()
    callback.on_after_backward(trainer, module)
    return logged


def test_the_regulariser_adds_its_gradient() -> None:
    linear, gradient = nn.Linear(6, 4), torch.randn(4, 6)
    logged = fit(linear, Modular(strength=2.0, clusters=2), gradient)
    weight = linear.weight.detach().clone().requires_grad_()
    score = clusterability(weight, equal_clusters(4, 2), equal_clusters(6, 2))
    (expected,) = torch.autograd.grad(-2.0 * score, weight)
    torch.testing.assert_close(linear.weight.grad, gradient + expected)
    assert logged == [pytest.approx(score.item())]


def test_following_it_makes_a_matrix_modular() -> None:
    torch.manual_seed(0)
    linear, callback = nn.Linear(16, 16), Modular(strength=1.0, clusters=4)
    optimizer = torch.optim.Adam([linear.weight], 0.02)
    for _ in range(100):
        fit(linear, callback, torch.zeros(16, 16))
        optimizer.step()
    assert fit(linear, callback, torch.zeros(16, 16))[0] > 0.95


def test_spectral_clusters_find_shuffled_blocks() -> None:
    torch.manual_seed(0)
    blocks = torch.block_diag(*[torch.randn(6, 5) for _ in range(3)])
    shuffled = blocks[torch.randperm(18)][:, torch.randperm(15)]
    rows, columns = spectral_clusters(shuffled, 3)
    assert clusterability(shuffled, rows, columns) == 1
    assert spectral_clusterability(shuffled, 3) == pytest.approx(1.0)
    assert spectral_clusterability(torch.randn(18, 15), 3) < 0.7


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="expected strength above 0 and clusters >= 2"):
        Modular(clusters=1)
    with pytest.raises(
        ValueError, match=r"no linear layer of SparseTransformer is called like head\.\*; it has network"
    ):
        Modular(layers=["head.*"]).on_fit_start(None, transformer())
    with pytest.raises(ValueError, match="too small for 64 clusters"):
        Modular(clusters=64).on_fit_start(None, transformer())
    with pytest.raises(ValueError, match="2 to min"):
        spectral_clusters(torch.randn(3, 3), 4)
