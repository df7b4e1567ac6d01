"""Regression targets of any scale: what a model learns does not depend on their unit."""

from typing import Any

import polars as pl
import pytest
import torch
from torch.nn.utils import parametrize

import zoo
from zoo.data import Table
from zoo.domain import Domain
from zoo.networks.target_units import TargetUnits, assign, in_target_units, learned_weight
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import load_network, save_network
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.target_scale import measure_targets

ROWS = 96
ONE, HARD = {"groups": 2, "heads": 1, "size": 1}, "straight_through"
MODELS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "rrl": ("rrl", {"rules": 4, "thresholds": 3}, ("rules", "head")),
    "senn": ("senn", {"backbone": "mlp", "concepts": "elements"}, ("backbone", "relevance")),
    "sop": ("sop", {"backbone": "mlp", "grouping": ONE, "scale": "none", "gradient": HARD}, ("backbone", "head")),
    "lex": ("lex", {"backbone": "mlp"}, ("selector", "predictor", "head")),
    "twin": ("", {"backbone": "mlp"}, ("backbone", "head")),
}


def table(unit: float, origin: float) -> Table:
    """Rows whose target is a sum of steps and a slope, in a unit."""
    random = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 3, generator=random, dtype=torch.float64)
    y = (x[:, 0] > 0).double() * 2 + x[:, 1] + 0.1 * torch.randn(ROWS, generator=random, dtype=torch.float64)
    frame = {f"f{k}": x[:, k].numpy() for k in range(3)} | {"y": (unit * y + origin).numpy()}
    return Table(pl.DataFrame(frame), "y", batch_size=32)


def fitted(kind: str, data: Table) -> tuple[Any, torch.Tensor]:
    """A trained model and its predictions of the test rows."""
    key, options, groups = MODELS[kind]
    torch.manual_seed(0)
    options = options | {"recipe": Recipe(stages=(Stage("train", 3, groups),), lr=0.02)}
    model = zoo.create_model(key, domain=data.domain, **options) if key else BlackBox(data.domain, **options)
    zoo.fit(model, data, progress=False)
    return model, model(data.items("test", False).inputs).detach()


@pytest.mark.parametrize("kind", MODELS)
def test_the_unit_of_the_target_changes_nothing_but_the_unit(kind: str) -> None:
    unit, origin = 800.0, -5000.0
    _, plain = fitted(kind, table(1.0, 0.0))
    model, scaled = fitted(kind, table(unit, origin))
    assert plain.std() > 0.05  # something is learned
    torch.testing.assert_close((scaled - origin) / unit, plain, atol=2e-3, rtol=0)
    if kind not in ("twin", "lex"):  # not additive
        x = table(unit, origin).items("test", False).inputs[:4]
        explanation = model.explain(x)
        torch.testing.assert_close(explanation.contributions.sum(1) + explanation.bias, explanation.scores[:, 0])


def test_units_are_mean_and_deviation_of_the_training_targets() -> None:
    domain = Domain.from_dict(table(1, 0).domain)
    layer = in_target_units(torch.nn.Linear(2, 1), domain)
    y = torch.tensor([[10.0], [20.0], [60.0]])
    measure_targets(layer, lambda: ProjectionSet(torch.utils.data.TensorDataset(torch.zeros(3, 2), y)))
    learned = learned_weight(layer).detach()
    learned_bias = dict(layer.named_parameters())["parametrizations.bias.original"].detach()
    torch.testing.assert_close(layer.weight.detach(), learned * y.std(correction=0))
    torch.testing.assert_close(layer.bias.detach(), learned_bias * y.std(correction=0) + 30)
    assign(layer, torch.tensor([[1.0, -2.0]]), torch.tensor([7.0]))
    torch.testing.assert_close(layer(torch.tensor([[3.0, 4.0]])), torch.tensor([[2.0]]))


def test_a_constant_target_has_the_unit_1() -> None:
    layer = in_target_units(torch.nn.Linear(2, 1), Domain.from_dict(table(1, 0).domain))
    y = torch.full((5, 1), 1234.5)
    measure_targets(layer, lambda: ProjectionSet(torch.utils.data.TensorDataset(torch.zeros(5, 2), y)))
    units = [m for m in layer.modules() if isinstance(m, TargetUnits)]
    assert [m.unit.item() for m in units] == [1, 1]


def test_units_that_were_measured_are_kept() -> None:
    """A second fit, or a head that came from a black box: its weights belong to their units."""
    layer = in_target_units(torch.nn.Linear(2, 1), Domain.from_dict(table(1, 0).domain))
    for scale in (10.0, 500.0):
        y = scale * torch.arange(4.0)[:, None]
        measure_targets(layer, lambda y=y: ProjectionSet(torch.utils.data.TensorDataset(torch.zeros(4, 2), y)))
    assert [round(m.unit.item(), 3) for m in layer.modules() if isinstance(m, TargetUnits)] == [11.18, 11.18]


def test_layers_of_classifiers_are_plain() -> None:
    domain = Domain.from_dict(table(1, 0).domain | {"task": "classification", "classes": ["a", "b"]})
    assert not parametrize.is_parametrized(in_target_units(torch.nn.Linear(2, 2), domain))


def test_units_are_part_of_checkpoints_and_of_the_file_of_a_black_box(tmp_path: Any) -> None:
    data = table(50.0, 900.0)
    model, scores = fitted("rrl", data)
    zoo.save(model, tmp_path / "rrl")
    x = data.items("test", False).inputs
    torch.testing.assert_close(zoo.load(tmp_path / "rrl")(x), scores)
    twin, scores = fitted("twin", data)
    torch.testing.assert_close(load_network(save_network(twin, twin.arguments, tmp_path))(x), scores)
