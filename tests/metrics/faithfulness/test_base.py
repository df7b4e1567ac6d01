"""Values of samples: intervals, gaps that are counted, ranks, the fewest that cover, and no trace of batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness import Case, Compactness, GroundTruthRecovery, LocalityLeak, MaskOutAgreement, Subject
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric, spearman
from zoo.metrics.faithfulness.compactness import Compactness as M6
from zoo.metrics.faithfulness.deletion import EvidenceDeletionGain
from zoo.metrics.faithfulness.imputers import Mean, NoisyLinear
from zoo.metrics.faithfulness.recovery import average_precision
from zoo.metrics.faithfulness.sufficiency import KeepOnlySufficiency
from zoo.utils.functional import ranks


def cases(model: Pixels, parts: list[list[int]]) -> list[Case]:
    """The first 24 inputs of the linear world in other batches."""
    x = torch.randn(24, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    truth = model.own[model(x).argmax(1)].view(-1, 1, SIDE, SIDE).float()
    return [Case(Subject(model), x[rows], torch.tensor(rows), regions=truth[rows]) for rows in parts]


def all_metrics(model: Pixels) -> list[FaithfulnessMetric]:
    reference = torch.randn(10, 1, SIDE, SIDE)
    imputers = [Mean(reference, model.domain), NoisyLinear(model.domain)]
    return [
        MaskOutAgreement(imputers, masks=8),
        EvidenceDeletionGain(imputers, steps=4),
        KeepOnlySufficiency(imputers),
        LocalityLeak(),
        Compactness(),
        GroundTruthRecovery(),
    ]


def test_neither_batches_nor_shards_nor_order_change_a_result() -> None:
    torch.manual_seed(0)
    model = Pixels()
    torch.manual_seed(3)
    whole = all_metrics(model)
    torch.manual_seed(3)
    split = all_metrics(model)
    for case in cases(model, [list(range(24))]):
        for metric in whole:
            metric.update(case)
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(2)).tolist()
    for case in cases(model, [shuffled[:5], shuffled[5:18], shuffled[18:]]):
        for metric in split:
            metric.update(case)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a.samples(), b.samples(), atol=1e-6, rtol=1e-6, equal_nan=True)
        for name, value in a.intervals().items():
            assert value[:3] == pytest.approx(b.intervals()[name][:3], abs=1e-6, nan_ok=True)


class Given(FaithfulnessMetric):
    """Values that are given: two columns."""

    key, title, columns = "M0", "given", (Column("a", 1, 0.0), Column("b", 1))

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.values.append(rows.double())
        self.ids.append(torch.arange(len(rows)))


def test_intervals_and_undefined() -> None:
    rows = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, 0.0])
    rows[:100, 1] = torch.nan
    metric = Given(rows)
    found, half = metric.intervals(), 1.96 * rows[:, 0].std().item() / 20
    assert found["a"].value == pytest.approx(rows[:, 0].mean().item())
    assert found["a"].high - found["a"].value == pytest.approx(half, rel=0.15)
    assert found["a"].value - found["a"].low == pytest.approx(half, rel=0.15)
    assert found["a"].chance == 0 and found["b"].chance is None and found["b"].ideal is None
    assert metric.undefined() == {"a": 0, "b": 100}
    assert found["b"].value == pytest.approx(rows[100:, 1].mean().item())
    assert Given(rows).intervals() == found


def test_nothing_measured_is_not_zero() -> None:
    found = Given(torch.zeros(0, 2)).intervals()
    assert all(v != v for v in (found["a"].value, found["a"].low, found["b"].high))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12))
def test_ranks_are_those_of_scipy(values: list[int]) -> None:
    assert ranks(torch.tensor(values)).tolist() == rankdata(values).tolist()
    other = list(range(len(values)))
    found = spearman(torch.tensor(values), torch.tensor(other)).item()
    assert found == (0 if len(set(values)) == 1 else pytest.approx(spearmanr(values, other).statistic))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_covering_is_the_fewest(values: list[int], share: float) -> None:
    chosen = smallest_cover(torch.tensor(values), share)
    total, held = sum(values), sum(v for v, c in zip(values, chosen.tolist(), strict=True) if c)
    assert held >= share * total - 1e-9
    largest = sorted(values, reverse=True)
    fewest = next(n for n in range(len(values) + 1) if sum(largest[:n]) >= share * total * (1 - 1e-12))
    assert int(chosen.sum()) == fewest


def test_compactness_of_four_two_one_one() -> None:
    """Worked values: entropy 1.2130 nats, effective units 3.3636, participation 2.9091, n90 4 and n80 3."""

    class Told:
        weight = torch.tensor([[4.0, -2.0, 1.0, 1.0]])
        present = torch.ones(1, 4, dtype=torch.bool)
        explanation = type("Told", (), {"support": None})

    metric = M6()
    found = metric.per_sample(Told())  # pyright: ignore[reportArgumentType]
    assert found[0, :3].tolist() == pytest.approx([3.3636, 2.9091, 4], abs=1e-4)
    assert metric.units_used() == 4 and found[0, 3].isnan() and int(smallest_cover(Told.weight.abs(), 0.8).sum()) == 3


@given(st.lists(st.integers(0, 4), min_size=3, max_size=12), st.data())
def test_average_precision_is_that_of_sklearn(values: list[int], data: st.DataObject) -> None:
    from sklearn.metrics import average_precision_score

    hits = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)).filter(any))
    found = average_precision(torch.tensor([values]).double(), torch.tensor([hits]))
    assert found.item() == pytest.approx(average_precision_score(hits, values))


def test_what_is_missing_is_named() -> None:
    subject = Subject(Pixels())
    assert GroundTruthRecovery.missing(subject, True, False) == "needs data with ground-truth regions"
    assert MaskOutAgreement.missing(subject, False, True) == "needs units with a location in the input (supports)"
    subject.additive = False
    assert MaskOutAgreement.missing(subject, True, True) == "needs an additive model"
    case = linear_case(Subject(Pixels()), 4)
    case.regions = None
    with pytest.raises(ValueError, match=r"ground-truth recovery does not apply to Pixels: it needs data with"):
        GroundTruthRecovery().update(case)
