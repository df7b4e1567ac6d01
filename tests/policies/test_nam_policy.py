"""NAMPolicy: scores by loops over features and hidden units; its curves are the complete policy."""

import pytest
import torch

from tests.small_models import ROWS
from zoo.domain import TableDomain
from zoo.policies import NAMPolicy
from zoo.training.projection_set import ProjectionSet

POLE = TableDomain(classes=("left", "right"), features=("angle", "speed"), mean=(0.0, 1.0), std=(0.5, 2.0))


def one(model: NAMPolicy, k: int, value: float) -> torch.Tensor:
    """The network of feature k at a number, by hand."""
    networks = model.networks
    pairs = zip(networks.weight[k, 0].tolist(), networks.centre[k, 0].tolist(), strict=True)
    hidden = torch.tensor([max(w * (value - c), 0.0) for w, c in pairs])
    hidden = (hidden @ networks.layers[0][k] + networks.biases[0][k, 0]).clamp_min(0)
    return hidden @ networks.output[k]


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model = NAMPolicy(ROWS, units=3, hidden=(4,), points=5).eval()
    torch.nn.init.normal_(model.bias)
    model.density.copy_(torch.rand(5, 3).softmax(0))
    x = torch.randn(4, 3)
    for row, scores in zip(x, model(x), strict=True):
        total = model.bias.clone()
        for k in range(3):
            mean = sum(
                one(model, k, float(p)) * d for p, d in zip(model.points[:, k], model.density[:, k], strict=True)
            )
            total += one(model, k, float(row[k])) - mean
        torch.testing.assert_close(scores, total, rtol=1e-5, atol=1e-6)


def test_curves_are_the_policy() -> None:
    """At its points a curve is the contribution, and its mean is 0 over the points as often as they were observed."""
    torch.manual_seed(0)
    model = NAMPolicy(POLE, units=4, hidden=(), points=6).eval()
    inputs = torch.rand(100, 2) * 2 - 1
    model.initialise(ProjectionSet([{"input": x, "target": torch.tensor(0)} for x in inputs]))
    assert torch.equal(model.points[0], inputs.amin(0))
    torch.testing.assert_close(model.density.sum(0), torch.ones(2))
    curves = model.curves()
    assert [curve.unit for curve in curves] == ["angle", "speed"]
    torch.testing.assert_close(
        (curves[1].values * curves[1].density[:, None]).sum(0), torch.zeros(2), atol=1e-6, rtol=0
    )
    why = model.explain(model.points, target="right")
    torch.testing.assert_close(curves[0].values[:, 1], why.contributions[:, 0])
    raw = torch.tensor(curves[1].axes[0].places)
    torch.testing.assert_close(raw, model.points[:, 1] * 2 + 1)


def test_the_output_is_penalised() -> None:
    torch.manual_seed(0)
    model = NAMPolicy(ROWS, units=3, hidden=(), points=4).train()
    x = torch.randn(6, 3)
    scores, evidence = model.step(x)
    found = model.losses(scores, evidence, {"input": x, "target": torch.zeros(6, dtype=torch.long)})
    torch.testing.assert_close(found["output"], model.functions(x).square().sum(2).mean())


def pair(model: NAMPolicy, m: int, first: float, second: float) -> torch.Tensor:
    """The network of pair m at two numbers, by hand."""
    assert model.pairs is not None
    hidden = torch.tensor([first, second])
    for weight, bias in zip(model.pairs.layers, model.pairs.biases, strict=True):
        hidden = (hidden @ weight[m] + bias[m, 0]).clamp_min(0)
    return hidden @ model.pairs.output[m]


def test_pairs_by_hand() -> None:
    """A surface is its network minus the mean over the cells as often as they were observed; it adds to the curves."""
    torch.manual_seed(0)
    model = NAMPolicy(ROWS, units=3, hidden=(4,), points=5, pairs=True).eval()
    inputs = torch.randn(50, 3)
    model.initialise(ProjectionSet([{"input": x, "target": torch.tensor(0)} for x in inputs]))
    assert [unit.kind for unit in model.units()] == ["feature"] * 3 + ["pair"] * 3
    low, side = inputs.amin(0), 12
    step = (inputs.amax(0) - low) / (side - 1)
    x, expected = inputs[:4], model.functions(inputs[:4])[:, :3]
    for m, (k, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        mean = torch.zeros(expected.shape[2])
        for row in inputs:
            q, r = (round(float((row[i] - low[i]) / step[i])) for i in (k, j))
            mean += pair(model, m, float(low[k] + q * step[k]), float(low[j] + r * step[j])) / len(inputs)
        values = torch.stack([pair(model, m, float(row[k]), float(row[j])) for row in x]) - mean
        torch.testing.assert_close(model.functions(x)[:, 3 + m], values, rtol=1e-4, atol=1e-5)
        expected = torch.cat([expected, values[:, None]], 1)
    torch.testing.assert_close(model(x), expected.sum(1) + model.bias, rtol=1e-4, atol=1e-5)
    assert set(model.groups()) == {"networks", "bias", "critic"}
    assert any(p is model.pairs.output for p in model.groups()["networks"].parameters())  # pyright: ignore


@pytest.mark.parametrize("count", [1, 26])
def test_pairs_of_too_few_or_too_many_numbers(count: int) -> None:
    domain = TableDomain(classes=("left", "right"), features=tuple(f"x{i}" for i in range(count)))
    with pytest.raises(ValueError, match=rf"pairs needs 2 to 25 observed numbers \(300 pairs\); got {count}"):
        NAMPolicy(domain, pairs=True)


def test_surfaces_are_the_policy() -> None:
    torch.manual_seed(0)
    model = NAMPolicy(POLE, units=4, hidden=(), points=6, pairs=True).eval()
    inputs = torch.rand(100, 2) * 2 - 1
    model.initialise(ProjectionSet([{"input": x, "target": torch.tensor(0)} for x in inputs]))
    surface = model.curves()[2]
    assert surface.unit == "angle x speed" and surface.values.shape == (12, 12, 2)
    torch.testing.assert_close(
        (surface.values * surface.density[..., None]).sum((0, 1)), torch.zeros(2), atol=1e-6, rtol=0
    )
    cells = torch.stack([model.cells[3, 0], model.cells[7, 1]])[None]
    why = model.explain(cells, target="right").check()
    assert why.contributions is not None
    torch.testing.assert_close(surface.values[3, 7, 1], why.contributions[0, 2])
