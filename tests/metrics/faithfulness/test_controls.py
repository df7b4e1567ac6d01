"""On a world whose explanation is exactly known, the truth is told from every wrong explanation."""

import pytest
import torch

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.metrics.faithfulness import (
    CONTROLS,
    Case,
    Compactness,
    CompletenessGap,
    EvidenceDeletionGain,
    GroundTruthRecovery,
    KeepOnlySufficiency,
    LocalityLeak,
    MaskOutAgreement,
    Subject,
)
from zoo.metrics.faithfulness.controls import shuffled
from zoo.metrics.faithfulness.imputers import Mean


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """Every number of every explanation, as "M2 slope"."""
    subject = Subject(Pixels())
    imputers = [Mean(torch.zeros(2, 1, SIDE, SIDE), subject.domain)]
    found: dict[str, dict[str, float]] = {}
    for name, shown in {"truth": subject, **{k: make(subject) for k, make in CONTROLS.items()}}.items():
        case, values = linear_case(shown), {}
        for metric in (
            CompletenessGap(),
            MaskOutAgreement(imputers, masks=16),
            EvidenceDeletionGain(imputers),
            KeepOnlySufficiency(imputers),
            LocalityLeak(),
            Compactness(),
            GroundTruthRecovery(),
        ):
            metric.update(case)
            values |= {f"{metric.key} {column}": value.item() for column, value in metric.compute().items()}
        found[name] = values
    return found


def test_truth(measured: dict[str, dict[str, float]]) -> None:
    truth = measured["truth"]
    for name in ("M2 rank correlation", "M2 slope", "M2 agreement", "M2 rank correlation, own supports"):
        assert truth[name] == pytest.approx(1, abs=1e-4), name
    assert truth["M11 average precision"] == truth["M11 mass"] == pytest.approx(1)
    assert truth["M11 false discovery"] == 0 and truth["M5 leak"] == 0
    assert truth["M6 area"] == pytest.approx(1 / 36) and truth["M6 effective units"] == pytest.approx(4.6, abs=0.3)
    assert truth["M3 gain"] > 1 and truth["M4 flipped"] > 0.5


@pytest.mark.parametrize("control", CONTROLS)
def test_truth_is_above_every_control(measured: dict[str, dict[str, float]], control: str) -> None:
    truth, wrong = measured["truth"], measured[control]
    assert wrong["M1 gap"] < 1e-5  # completeness catches none of them
    assert abs(wrong["M2 rank correlation"]) < 0.35 and wrong["M2 agreement"] < 0.4
    for name in ("M2 rank correlation", "M2 agreement", "M3 gain", "M4 kept", "M4 flipped", "M11 average precision"):
        assert truth[name] > wrong[name] + 0.4, name


def test_what_each_control_looks_like(measured: dict[str, dict[str, float]]) -> None:
    monolith, rotated = measured["monolith"], measured["rotated basis"]
    assert monolith["M6 effective units"] == 1 and monolith["M6 area"] == 1 and monolith["M5 leak"] == 0
    assert monolith["M3 gain"] == pytest.approx(0, abs=0.05) and monolith["M11 average precision"] == 0
    assert rotated["M6 effective units"] == pytest.approx(20, abs=3) and rotated["M6 area"] > 0.1
    assert measured["shuffled supports"]["M5 leak"] == 1
    assert measured["shuffled contributions"]["M6 effective units"] == measured["truth"]["M6 effective units"]
    assert measured["encoder cheat"]["M6 effective units"] == 1


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_keep_scores_and_add_up(control: str) -> None:
    subject = Subject(Pixels())
    shown = CONTROLS[control](subject)
    x = torch.randn(7, 1, SIDE, SIDE)
    told = shown.explain(x).check()
    assert told.scores.equal(subject.scores(x))
    other = shown.explain(x, torch.zeros(7, dtype=torch.long)).check()
    assert other.target.tolist() == [0] * 7
    z = told.score - told.scores.mean(1)
    torch.testing.assert_close(shown.margins(x, told.target).sum(1), z, atol=1e-5, rtol=1e-5)  # no bias in this world


def test_shuffles_move_every_unit() -> None:
    for count in (2, 3, 17):
        order = shuffled(count, seed=4)
        assert sorted(order.tolist()) == list(range(count)) and bool((order != torch.arange(count)).all())


def test_spread_supports_of_margins_agree_with_a_loop() -> None:
    subject = Subject(Pixels())
    case = linear_case(subject, 5)
    masks = torch.rand(5, 3, SIDE**2, generator=torch.Generator().manual_seed(0)) < 0.3
    weight, support = case.margins, case.explanation.support.flatten(2)  # of the score that removal is measured on
    for b in range(5):
        for n in range(3):
            held = (support[b] * masks[b, n]).sum(1) / support[b].sum(1)
            torch.testing.assert_close(case.covered(masks)[b, n], held)
        spread = sum(weight[b, k] * support[b, k] / support[b, k].sum() for k in range(weight.shape[1]))
        torch.testing.assert_close(case.attribution[b], spread)


def test_margins_of_linear_heads_agree_with_a_loop_over_classes() -> None:
    model = Pixels()
    x, target = torch.randn(4, 1, SIDE, SIDE), torch.tensor([0, 1, 2, 0])
    each = torch.stack([model.explain(x, torch.full((4,), c)).contributions for c in range(3)])
    own = each[target, torch.arange(4)]
    expected = own - each.mean(0)
    torch.testing.assert_close(Subject(model).margins(x, target), expected)


def test_passes_are_split_to_stay_below_the_limit() -> None:
    model = Pixels()
    x = torch.randn(9, 1, SIDE, SIDE)
    small, large = Subject(model, limit=20), Subject(model)
    assert small.rows == 1 and large.rows > 1000  # one row has 36 numbers of 4 bytes
    torch.testing.assert_close(small.scores(x), large.scores(x))
    masks = torch.rand(9, 5, SIDE**2) < 0.5
    imputer = Mean(torch.zeros(2, 1, SIDE, SIDE), model.domain)
    ids = torch.arange(9)
    parts = [Case(s, x, ids).scores_without(masks, imputer) for s in (small, large)]
    torch.testing.assert_close(*parts, atol=1e-6, rtol=1e-6)
