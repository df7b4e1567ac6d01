"""PhysicsHead against a numerical solution of its law, the simulation that it must recover, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.small_models import IMAGES, SERIES
from zoo.core.explanation import Explanation
from zoo.data import SkinConductance
from zoo.data.synthetic.skin_conductance import LENGTH, TRUTH
from zoo.domain import SeriesDomain
from zoo.sequences.layers.first_order import FirstOrderLaw
from zoo.sequences.layers.law_fit import Windows, bootstrap, loss_of, normal_equations
from zoo.sequences.physics_head import PhysicsHead
from zoo.training.projection_set import ProjectionSet
from zoo.views.html import page

DOMAIN = SeriesDomain(
    classes=("level of water", "change"),
    task="regression",
    variables=("rain", "water", "snow"),
    length=9,
    step=0.5,
    unit="h",
    mean=(1.0, 2.0, -1.0),
    std=(2.0, 0.5, 3.0),
)
DECAY, GAINS, RISE = 0.4, {"rain": 0.7, "snow": 0.3, "level": 0.2}, 1.1


def by_hand() -> PhysicsHead:
    """A model with the parameters above."""
    model = PhysicsHead(DOMAIN, state="water", delayed=["snow"]).eval()
    values = [DECAY, *GAINS.values(), RISE - DECAY]
    with torch.no_grad():
        model.law.logarithms.copy_(torch.tensor(values).log())
    model.law.low.copy_(model.law.values().detach() * 0.9)
    model.law.high.copy_(model.law.values().detach() * 1.1)
    return model


def integrated(raw: list[list[float]], only: str, start: float) -> list[float]:
    """The law with one drive by Heun's method: the value at the end of each step, and the rate."""
    names, small, y, r = DOMAIN.variables, 4000, start, 0.0
    h, path, drive = DOMAIN.step / small, [], 0.0
    for step in raw:
        drive = 1.0 if only == "level" else step[names.index(only)] if only else 0.0
        gain = GAINS.get(only, 0.0)

        def slope(y: float, r: float, drive: float = drive, gain: float = gain) -> tuple[float, float]:
            acting = r if only == "snow" else drive
            return -DECAY * y + gain * acting, RISE * (drive - r)

        for _ in range(small):
            first = slope(y, r)
            second = slope(y + h * first[0], r + h * first[1])
            y, r = y + h * (first[0] + second[0]) / 2, r + h * (first[1] + second[1]) / 2
        path.append(y)
    acting = {"": 0.0, "snow": r}.get(only, drive)
    return [*path, GAINS.get(only, 0.0) * acting]


def test_terms_are_those_of_the_integrated_law() -> None:
    model, x = by_hand(), torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    raw = DOMAIN.values(x)
    of_value, of_rate = model.explain(x, 0).check(), model.explain(x, "change").check()
    values, rates, bias, support = of_value.contributions, of_rate.contributions, of_value.bias, of_value.support
    assert values is not None and rates is not None and bias is not None and support is not None
    parts = {"water at the start": "", "drive: rain": "rain", "drive: snow": "snow", "level": "level"}
    assert [unit.name for unit in of_value.units] == ["decay of water", "water at the start", *list(parts)[1:]]
    for row in range(2):
        total = 0.0
        for name, only in parts.items():
            k = [unit.name for unit in of_value.units].index(name)
            *path, rate = integrated(raw[row].tolist(), only, float(raw[row, 0, 1]) if not only else 0.0)
            torch.testing.assert_close(of_value.details["course"][row, k], torch.tensor(path), rtol=1e-4, atol=1e-4)
            assert math.isclose(float(values[row, k]), path[-1], rel_tol=1e-4, abs_tol=1e-4)
            assert math.isclose(float(rates[row, k]), rate, rel_tol=1e-4, abs_tol=1e-4)
            total += path[-1]
        assert math.isclose(float(of_value.score[row]), total, rel_tol=1e-4)
        assert math.isclose(float(rates[row, 0]), -DECAY * total, rel_tol=1e-4)
    assert not values[:, 0].any() and not bias.any()
    assert float(support[0, 1, 0, 1]) == 1 == float(support[0, 1].sum())
    assert not support[:, 2, :, 1:].any() and bool((support[:, 2, :, 0].amax(1) == 1).all())


def test_removing_a_drive_from_the_input_removes_its_contribution_alone() -> None:
    """A faithful explanation: the law is linear, so the ablation of a unit is that of its variable."""
    model, x = by_hand(), torch.randn(3, 9, 3, generator=torch.Generator().manual_seed(1))
    without = x.clone()
    without[:, :, 0] = -DOMAIN.mean[0] / DOMAIN.std[0]  # no rain
    before, after = model.explain(x), model.explain(without)
    assert before.contributions is not None and after.contributions is not None
    torch.testing.assert_close(before.scores[:, 0] - after.scores[:, 0], before.contributions[:, 2])
    torch.testing.assert_close(after.contributions[:, 3:], before.contributions[:, 3:])
    later = x.clone()
    later[:, 1:, 1] = 99.0  # the value itself is read at the first step only
    torch.testing.assert_close(model(later), model(x))


def test_slopes_of_the_fit_are_the_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    law, draw = FirstOrderLaw(2, (1,), 9, 0.5), lambda *shape: torch.randn(*shape, generator=generator).double()
    windows = Windows(draw(6), draw(6, 9, 2), draw(6, 2), torch.arange(6) % 2, torch.tensor([1.0, 0.3]).double())
    here = law.logarithms.detach().double()
    curvature, descent = normal_equations(law, windows, here)
    for p in range(len(here)):
        step = torch.zeros_like(here)
        step[p] = 1e-6
        slope = (loss_of(law, windows, here + step) - loss_of(law, windows, here - step)) / 2e-6
        assert math.isclose(slope, -2 * float(descent.sum(0)[p]) / 6, rel_tol=1e-5, abs_tol=1e-8)
    assert curvature.shape == (2, 4, 4)
    with pytest.raises(ValueError, match="two people or more"):
        bootstrap(law, replace(windows, subject=torch.zeros(6, dtype=torch.long)), here, 5)


@pytest.fixture(scope="module")
def fitted() -> tuple[PhysicsHead, SkinConductance]:
    data = SkinConductance(people=20, test_people=2, minutes=1.5, spread=0.0, noise=0.0)
    model = PhysicsHead(data.domain, delayed=["event"], level=False, draws=200).eval()
    model.solve(ProjectionSet(data.items("train", False)))
    return model, data


def test_the_parameters_of_a_simulation_are_recovered(fitted: tuple[PhysicsHead, SkinConductance]) -> None:
    told = fitted[0].parameters_told()
    truth = [TRUTH[name] for name in ("decay", "event", "arousal", "decay", "rise")]
    for (name, found), true in zip(told.items(), truth, strict=True):
        assert math.isclose(found["value"], true, rel_tol=0.01), name
        assert found["low"] <= found["value"] <= found["high"], name


def test_simulated_inputs_hold_nothing_of_the_answer(fitted: tuple[PhysicsHead, SkinConductance]) -> None:
    rows = fitted[1].items("test", False)
    item = rows[3]
    assert item["input"].shape == (LENGTH, 4) and int(item["subject"]) == 0
    assert bool((item["input"][:, 0] == item["input"][0, 0]).all())
    train = {name.split(",")[0] for name in fitted[1].items("train", False).names}
    assert not train & {name.split(",")[0] for name in rows.names}


def test_the_page_draws_the_terms_over_time(fitted: tuple[PhysicsHead, SkinConductance]) -> None:
    told: Explanation = fitted[0].explain(fitted[1].items("test", False).inputs[:1])
    assert told.contributions is not None
    shown = page(told, ["one"])
    assert shown.count("class='series law'") == 1 and "conductance at the start" in shown
    assert "conductance changes per s by \u22120.2 (" in shown and "event acts with delay" in shown
    end = f"drive: event: {float(told.contributions[0, 2]):.3f} at the end".replace("-", "\u2212")
    assert end in shown


def bad(**options: object) -> dict[str, object]:
    return {"domain": DOMAIN, **options}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (bad(domain=IMAGES), "cannot learn the task 'classification'"),
        (bad(domain=replace(IMAGES, task="regression")), "reads series; got a domain of images"),
        (bad(domain=replace(SERIES, task="regression")), "predicts one value, .*got 3 values"),
        (bad(state="watr"), "no variable 'watr'; did you mean 'water'"),
        (bad(drives=["rain", "rain"], state="water"), "drives must be different variables other than 'water'"),
        (bad(drives=["water"], state="water"), "drives must be different variables other than 'water'"),
        (bad(delayed=["water"], state="water"), "delayed names 'water', which is not a drive"),
        (bad(steps=0), "steps must be at least 1"),
        (bad(recipe={"stages": [{"name": "train", "epochs": 1, "train": ["law"]}]}), ""),
    ],
)
def test_refusals(options: dict, message: str) -> None:
    if message:
        with pytest.raises(ValueError, match=message):
            PhysicsHead(**options)
        return
    model = PhysicsHead(**options)
    with pytest.raises(ValueError, match="must have the action"):
        model.check_recipe()
    x: Tensor = torch.zeros(1, 9, 3)
    with pytest.raises(RuntimeError, match="no intervals yet"):
        model.explain(x)
    with pytest.raises(ValueError, match="minutes must be above"):
        SkinConductance(minutes=0.1)
