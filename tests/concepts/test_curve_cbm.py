"""CBM with curves in place of weights: scores and contributions from the knots, and what curves can learn."""

from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import ROWS, curve_cbm
from tests.toy import fit
from zoo.cli.main import main
from zoo.concepts import CBM, CurveCBM
from zoo.data import ConceptToy
from zoo.views.html import page

MLP = {"name": "mlp", "widths": [8]}


@pytest.mark.parametrize(("bottleneck", "low", "high"), [("sigmoid", 0.0, 1.0), ("logit", -6.0, 6.0)])
def test_scores_are_read_off_the_curves(bottleneck: str, low: float, high: float) -> None:
    small = curve_cbm(bottleneck=bottleneck)
    model, explanation = small.model, small.model.explain(small.inputs * 4, 1, reference="zero").check()
    assert isinstance(model, CurveCBM)
    curves = model.curves()
    for curve in curves:
        (places,) = (axis.places for axis in curve.axes)
        assert (places[0], places[-1]) == (low, high) and curve.density.sum() == pytest.approx(1)
        assert curve.values[places.index(0.0)].abs().max() == 0
    for row in range(len(small.inputs)):
        for k, curve in enumerate(curves):
            value = min(max(float(explanation.activation[row, k]), low), high)
            places = list(curve.axes[0].places)
            i = min(max(sum(place <= value for place in places), 1), len(places) - 1)
            share = (value - places[i - 1]) / (places[i] - places[i - 1])
            found = (1 - share) * curve.values[i - 1, 1] + share * curve.values[i, 1]
            assert float(explanation.contributions[row, k]) == pytest.approx(float(found), abs=1e-4)
    assert model.slopes(model.evidence(small.inputs)) is None


def test_a_head_of_straight_curves_is_linear() -> None:
    torch.manual_seed(0)
    model, linear = (cls(ROWS, backbone=MLP).eval() for cls in (CurveCBM, CBM))
    linear.load_state_dict({k: v for k, v in model.state_dict().items() if "head" not in k}, strict=False)
    linear.head.weight.data.copy_(model.head.slopes[:, 0].T)
    linear.head.bias.data.copy_(model.head.bias)
    x = torch.randn(5, 3)
    torch.testing.assert_close(model(x), linear(x))


def test_curves_learn_what_weights_cannot() -> None:
    """The second class is right where a concept is neither clearly absent nor clearly present."""
    torch.manual_seed(0)
    model = CurveCBM(ROWS, backbone=MLP, pieces=4)
    v = torch.rand(2000, len(ROWS.concepts))
    target = ((v[:, 0] - 0.5).abs() < 0.25).long()
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.head(v), target).backward()
        optimizer.step()
    assert (model.head(v).argmax(1) == target).float().mean() > 0.95
    curve = model.curves()[0].values
    assert curve[2, 1] - curve[2, 0] > max(curve[0, 1] - curve[0, 0], curve[4, 1] - curve[4, 0]) + 3


def test_is_fitted_by_its_recipe_and_drawn(tmp_path: Path) -> None:
    data = ConceptToy("trig", count=200, batch_size=64)
    stages = [{"name": "joint", "epochs": 1, "train": ["backbone", "concepts", "head"]}, {"name": "calibrate"},
              {"name": "measure", "epochs": 1, "train": []}]  # fmt: skip
    model = CurveCBM(data.domain, backbone=MLP, recipe={"stages": stages})
    fit(model, data)
    assert all(curve.density.sum() == pytest.approx(1) for curve in model.curves())
    x = torch.stack([data.test_dataset()[i]["input"] for i in range(2)])
    shown = page(model.explain(x, every_class=True), ["a", "b"], curves=model.curves())
    assert shown.count("aria-label='curve of ") == 2 * 2 * len(model.units())  # of two rows, in two views
    main(["show", "--checkpoint", str(zoo.save(model, tmp_path / "c")), "--output", str(tmp_path / "units.html")])
    assert (tmp_path / "units.html").read_text().count("aria-label='curve of ") == len(model.units())


def test_what_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="bottleneck must be one of sigmoid, logit; got 'hard'"):
        CurveCBM(ROWS, backbone=MLP, bottleneck="hard")
    with pytest.raises(ValueError, match="curves from -6 to 6 need an even number of pieces; got 3"):
        CurveCBM(ROWS, backbone=MLP, bottleneck="logit", pieces=3)
