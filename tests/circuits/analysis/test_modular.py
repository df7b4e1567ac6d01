"""Clusterability as a regulariser."""

from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from tests.circuits.tokens import transformer
from zoo.circuits import Modular
from zoo.utils.functional import clusterability, equal_clusters


def fit(linear: nn.Linear, callback: Modular, gradient: torch.Tensor) -> list[float]:
    """One backward pass of a module that is nothing but this layer; returns what was logged."""
    logged: list[float] = []
    module = nn.Module()
    module.layer = linear
    module.log = lambda name, value, **_: logged.append(float(value))
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(), accumulate_grad_batches=1)
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


@pytest.mark.parametrize("batches", [1, 2])
def test_a_trainer_adds_it_once_a_step(batches: int) -> None:
    """However many batches a step gathers: where the loss is flat, the first step of SGD is the term's gradient."""
    torch.manual_seed(0)
    module, callback = Flat(), Modular(strength=2.0, clusters=2, layers=["layer"])
    before = module.layer.weight.detach().clone().requires_grad_()
    score = clusterability(before, equal_clusters(4, 2), equal_clusters(6, 2))
    (expected,) = torch.autograd.grad(-2.0 * score, before)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        accumulate_grad_batches=batches,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.randn(2 * batches, 6), 2))
    torch.testing.assert_close(before - module.layer.weight, expected)
    assert trainer.callback_metrics["train/clusterability"] == pytest.approx(score.item())


class Flat(LightningModule):
    """A layer whose loss does not depend on its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return 0.0 * self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="expected strength > 0 and clusters >= 2"):
        Modular(clusters=1)
    with pytest.raises(
        ValueError, match=r"no linear layer of SparseTransformer matches head\.\*; its layers are network"
    ):
        Modular(layers=["head.*"]).on_fit_start(None, transformer())
    with pytest.raises(ValueError, match="too small for 64 clusters"):
        Modular(clusters=64).on_fit_start(None, transformer())
