"""Rare classes: balanced sampling, and weights of the classes in the loss."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import getsource

import pytest
import torch
from lightning import Trainer
from torch.nn import functional as F

from tests.toy import COLOURS, ToyData, fit
from zoo.core import registry
from zoo.data import CodeData, ConceptToy, DataModule, DensityFields, Digits, PartBirds, StrokeDigits, SwitchingSeries
from zoo.data.base.sampling import BalancedSampler, class_weights
from zoo.data.registry import MODULES, find
from zoo.training.black_box import BlackBox
from zoo.training.tasks import class_weights_of
from zoo.utils.signatures import init_parameters

RARE = torch.tensor([0] * 90 + [2] * 9 + [1])


def test_balanced_sampling_draws_every_class_equally_often() -> None:
    sampler = BalancedSampler(torch.utils.data.TensorDataset(RARE), torch.Generator(), 0, RARE)
    drawn = []
    for epoch in range(30):
        sampler.set_epoch(epoch)
        drawn += list(sampler)
    assert len(drawn) == 3000 and set(drawn) == set(range(100))
    assert (torch.bincount(RARE[drawn]) / 1000 - 1).abs().max() < 0.1
    sampler.set_epoch(3)
    assert list(sampler) == drawn[300:400]  # as a resumed run repeats it
    with pytest.raises(ValueError, match="sampling: balanced needs one class for each item"):
        BalancedSampler(torch.utils.data.TensorDataset(RARE), torch.Generator(), 0, RARE.float())


def test_weights() -> None:
    found = class_weights("balanced", RARE, 4)
    assert found.tolist() == pytest.approx([100 / 360, 100 / 4, 100 / 36, 0.0])
    assert class_weights([1, 2.5, 3], RARE, 3).tolist() == [1, 2.5, 3]
    for wrong in ([1.0], [1.0, 0.0, 1.0], "balance"):
        with pytest.raises(ValueError, match="must be 'balanced' or 3 numbers above 0; got"):
            class_weights(wrong, RARE, 3)
    with pytest.raises(ValueError, match="the targets are values"):
        class_weights("balanced", RARE.float(), 3)


def test_data_modules_have_both_options() -> None:
    data = Digits(sampling="balanced", class_weights="balanced")
    assert isinstance(data.train_dataloader().sampler, BalancedSampler)
    weights = data.loss_weights()
    assert weights is not None and weights.shape == (10,) and weights.mean() == pytest.approx(1, abs=0.01)
    assert Digits().loss_weights() is None
    with pytest.raises(ValueError, match="sampling must be 'uniform' or 'balanced'; got 'even'"):
        Digits(sampling="even")


@pytest.mark.parametrize("name", MODULES)
def test_every_data_module_has_all_options_of_loading(name: str) -> None:
    """Regression: half of them had neither of the two, and some no val_fraction."""
    assert set(init_parameters(DataModule)) <= set(init_parameters(find(name)))


@pytest.mark.parametrize(
    "make", [ConceptToy, SwitchingSeries, partial(StrokeDigits, count=200), partial(PartBirds, classes=3, count=60)]
)
def test_the_options_reach_the_loaders(make: Callable[..., DataModule]) -> None:
    data = make(sampling="balanced", class_weights="balanced", batch_size=7, seed=3)
    loader, targets = data.train_dataloader(), data.train_dataset().targets
    assert isinstance(loader.sampler, BalancedSampler) and (loader.batch_size, loader.sampler.seed) == (7, 3)
    counts, weights = torch.bincount(targets).float(), data.loss_weights()
    assert weights is not None and torch.allclose(weights * counts, torch.full_like(counts, len(targets) / len(counts)))


def test_data_without_classes_refuse_both_options() -> None:
    data = DensityFields(count=10, test_count=1, side=4, sampling="balanced", class_weights="balanced")
    with pytest.raises(ValueError, match="sampling: balanced needs one class for each item; use sampling: uniform"):
        data.train_dataloader()
    with pytest.raises(ValueError, match="class_weights needs classes, and the targets are values; leave it out"):
        data.loss_weights()
    with pytest.raises(ValueError, match="leave out windows, or use sampling: uniform"):
        CodeData(windows=3, sampling="balanced")


class Weighted(ToyData):
    """Toy images whose second class counts five times."""

    def loss_weights(self) -> torch.Tensor:
        return torch.tensor([1.0, 5.0, 1.0])


def test_the_loss_of_a_fit_is_weighted() -> None:
    model = BlackBox(
        COLOURS,
        {"name": "convnet", "widths": [2]},
        recipe={"stages": [{"name": "train", "epochs": 1, "train": ["head"]}]},
    )
    data = Weighted()
    trainer: Trainer = fit(model, data)
    x, target = data.val.inputs, data.val.targets
    with torch.no_grad():
        parts = [
            F.cross_entropy(model.eval()(x[i : i + 16]), target[i : i + 16], data.loss_weights()) for i in (0, 16, 32)
        ]
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(float(torch.stack(parts).mean()), abs=1e-5)
    assert "class_weights" not in model.state_dict()
    with pytest.raises(ValueError, match="the loss of Own has no class weights for a task of classification"):
        class_weights_of(trainer, model.domain, False, "Own")


@pytest.mark.parametrize("name", registry.list_models())
def test_every_model_weighs_classes_or_says_that_it_does_not(name: str) -> None:
    cls = registry.find(name).cls
    families = tuple(f"zoo.{family}." for family in registry.FAMILIES)
    sources = [getsource(import_module(c.__module__)) for c in cls.__mro__ if c.__module__.startswith(families)]
    assert any('batch.get("class_weights")' in source for source in sources) is cls.weighs_classes
