"""Heads with few weights for each class: the solver, the action in recipes of several families, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything

import zoo
from tests import toy
from tests.small_models import build
from zoo.networks.sparse_support import sparsest
from zoo.prototypes import ProtoPNet
from zoo.training.sparse_head import check_head
from zoo.training.stages import parse_stages

BACKBONE = {"name": "convnet", "widths": [8], "pool": [0]}


class Data(toy.ToyData):
    def val_dataset(self) -> toy.ColouredSquares:
        return self.val


def test_the_support_of_planted_weights_is_found() -> None:
    torch.manual_seed(0)
    planted = torch.zeros(3, 12)
    for c in range(3):
        planted[c, 2 * c : 2 * c + 2] = 3.0
    z = torch.randn(1500, 12) * torch.arange(1, 13) + 5  # scales and means that differ
    target = (z / torch.arange(1, 13) @ planted.T + torch.rand(1500, 3).log().neg().log().neg()).argmax(1)
    found = sparsest(z, target, 3, (1, 2, 4))
    assert [int((found[k].weight != 0).sum(1).max()) for k in (1, 2, 4)] == [1, 2, 4]
    assert torch.equal(found[2].weight != 0, planted != 0)
    rates = [((z @ s.weight.T + s.bias).argmax(1) == target).float().mean().item() for s in found.values()]
    assert rates[0] < rates[1] and rates[1] > 0.85
    positive = sparsest(z, target, 3, (4,), non_negative=True)[4]
    assert (positive.weight >= 0).all() and (positive.weight > 0).any(1).all()
    without = sparsest(z, target, 3, (2,), bias=False)[2]
    assert (without.bias == 0).all() and int((without.weight != 0).sum(1).max()) == 2


def test_a_prototype_model_explains_with_few_prototypes(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    stages: list[dict[str, Any]] = [
        {"name": "joint", "epochs": 2, "train": ["backbone", "addon", "prototypes", "head"]},
        {"name": "push"},
        {"name": "sparsify", "per_class": 2, "non_negative": True},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    model = ProtoPNet(toy.COLOURS, BACKBONE, prototypes_per_class=2, dim=4, recipe={"stages": stages})
    zoo.fit(model, Data(48), folder=tmp_path, progress=False, accelerator="cpu")  # pyright: ignore
    assert int((model.head.weight != 0).sum(1).max()) <= 2 and (model.head.weight >= 0).all()
    report = json.loads((tmp_path / "sparsity.json").read_text())
    assert {"1", "2", "3"} <= set(report) and 0 <= report["2"]["validation accuracy"] <= 1


@pytest.mark.parametrize("name", ["pipnet", "cbm", "protopnet"])
def test_heads_over_units_are_accepted(name: str) -> None:
    with torch.no_grad():
        check_head(build(name).model)


@pytest.mark.parametrize("name", ["bagnet", "sop"])
def test_models_without_such_a_head_are_refused(name: str) -> None:
    with torch.no_grad(), pytest.raises(ValueError, match="sparsify with per_class needs"):
        check_head(build(name).model)


def test_wrong_stages_are_refused() -> None:
    train = {"name": "train", "epochs": 1, "train": ["head"]}
    with pytest.raises(ValueError, match="per_class is a number of weights"):
        parse_stages([{**train, "per_class": 3}])
    seed_everything(0, verbose=False)
    recipe = {"stages": [train, {"name": "push"}, {"name": "sparsify", "per_class": 3}, train]}
    model = ProtoPNet(toy.COLOURS, BACKBONE, prototypes_per_class=2, dim=4, recipe=recipe)
    with pytest.raises(ValueError, match="'train' trains the head after 'sparsify' made it sparse"):
        toy.fit(model, toy.ToyData(16))
