"""Classic measures against worked values and independent formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import auc, precision_recall_curve

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.metrics.faithfulness import CONTROLS, Subject
from zoo.metrics.faithfulness.classics import (
    comprehensiveness_sufficiency,
    deletion_insertion,
    faithfulness_correlation,
    infidelity,
    max_sensitivity,
    pointing_game,
    relevance_mass,
    relevance_rank,
    threshold_areas,
    top_intersection,
)
from zoo.metrics.faithfulness.imputers import Mean
from zoo.metrics.faithfulness.recovery import average_precision

TRUTH = torch.tensor([[True, True, False, False, False]])


def test_areas_by_worked_values() -> None:
    values = torch.tensor([[0.9, 0.6, 0.4, 0.2, 0.0]])
    aup, aur = threshold_areas(values, TRUTH)
    assert average_precision(values, TRUTH).item() == 1
    assert aup.item() == pytest.approx(0.748, abs=5e-4) and aur.item() == pytest.approx(0.917, abs=5e-4)
    perfect, _ = threshold_areas(TRUTH.float(), TRUTH)
    assert perfect.item() == pytest.approx(0.7)
    assert threshold_areas(torch.ones(1, 5), TRUTH)[0].isnan().all()


@given(st.lists(st.integers(0, 6), min_size=3, max_size=12), st.data())
def test_areas_are_those_of_sklearn(values: list[int], data: st.DataObject) -> None:
    hits = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)).filter(any))
    if len(set(values)) < 2:
        return
    scaled = (np.array(values) - min(values)) / (max(values) - min(values))
    precision, recall, thresholds = precision_recall_curve(hits, scaled)
    aup, aur = threshold_areas(torch.tensor([values]).double(), torch.tensor([hits]))
    assert aup.item() == pytest.approx(auc(thresholds, precision[:-1]))
    assert aur.item() == pytest.approx(auc(thresholds, recall[:-1]))


def test_localisation_by_worked_values() -> None:
    """100 of 224 elements matter, with values of 1 on them and less than 0.1 elsewhere."""
    matters = torch.zeros(1, 224, dtype=torch.bool)
    matters[:, :100] = True
    values = torch.where(matters, 1.0, 0.1 * torch.rand(1, 224))
    assert top_intersection(values, matters, 100).item() == 1 and top_intersection(values, matters, 200).item() == 0.5
    assert relevance_rank(values, matters).item() == 1 and pointing_game(values, matters).item() == 1
    half = torch.zeros(1, 224)
    half[:, 50:150] = 1.0
    assert relevance_mass(half, matters).item() == 0.5 and pointing_game(half, matters).item() == 0.5
    assert top_intersection(half, matters, 125).item() == pytest.approx((50 + 25) / 125)
    signed = torch.where(matters, 1.0, -5.0)
    assert relevance_mass(signed, matters).item() == 1  # negative values are not relevance


def test_removals_tell_the_truth_from_shuffled_values() -> None:
    truth, wrong = linear_case(count=60), linear_case(CONTROLS["shuffled supports"](Subject(Pixels())), 60)
    imputer = Mean(torch.zeros(2, 1, SIDE, SIDE), truth.domain)
    (deleted, inserted), (deleted2, inserted2) = (deletion_insertion(case, imputer) for case in (truth, wrong))
    assert deleted.mean() < deleted2.mean() - 0.15 and inserted.mean() > inserted2.mean() + 0.15
    assert bool(((deleted >= 0) & (deleted <= 1) & (inserted >= 0) & (inserted <= 1)).all())
    (much, little), (less, more) = (comprehensiveness_sufficiency(case, imputer) for case in (truth, wrong))
    assert much.mean() > less.mean() + 0.1 and little.mean() < more.mean() - 0.1
    few, many = deletion_insertion(truth, imputer, steps=12), deletion_insertion(truth, imputer, steps=36)
    assert few[0].mean() == pytest.approx(many[0].mean().item(), abs=0.03)  # whatever the number of steps


def test_comprehensiveness_by_a_loop() -> None:
    case = linear_case(count=3)
    found, _ = comprehensiveness_sufficiency(case, Mean(torch.zeros(2, 1, SIDE, SIDE), case.domain), bins=(0.1, 0.5))
    for b in range(3):
        x, target, drops = case.x[b].flatten(), int(case.target[b]), []
        for size in (4, 18):
            without = x.clone()
            without[case.attribution[b].argsort(descending=True, stable=True)[:size]] = 0
            p = [case.subject.model(v.view(1, 1, SIDE, SIDE)).softmax(1)[0, target] for v in (x, without)]
            drops.append((p[0] - p[1]).item())
        if size <= int((case.attribution[b] != 0).sum()):  # no ties among the chosen
            assert found[b].item() == pytest.approx(np.mean(drops), abs=1e-5)


def test_faithfulness_correlation_by_scipy() -> None:
    case = linear_case(count=6)
    imputer = Mean(torch.zeros(2, 1, SIDE, SIDE), case.domain)
    found = faithfulness_correlation(case, imputer, subsets=50)
    assert bool((found > 0.3).all())
    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 50, SIDE**2, generator=draw) < 0.2
    drops = case.drops(case.scores_without(masks, imputer))
    sums = (masks.float() * case.attribution[:, None]).sum(2)
    loop = [pearsonr(s.numpy(), d.numpy()).statistic for s, d in zip(sums, drops, strict=True)]
    assert found.mean().item() == pytest.approx(np.mean(loop), abs=0.1)


def test_infidelity() -> None:
    told = torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]]).double()
    measured = torch.tensor([[2.0, 4.0, 6.0], [0.0, 1.0, 0.0]]).double()
    assert infidelity(told, measured).tolist() == pytest.approx([0, 1 / 3])  # twice as large is as good
    assert infidelity(told, measured, rescale=False).tolist() == pytest.approx([14 / 3, 1])


def test_sensitivity() -> None:
    case = linear_case(count=8)
    found = max_sensitivity(case, radius=0.1)
    bound = (case.subject.model.head.weight.abs()[case.target].norm(dim=1) * 0.1) / case.attribution.norm(dim=1)
    assert bool((found > 0).all()) and bool((found <= bound + 1e-6).all())
    assert max_sensitivity(case, radius=0.0).tolist() == [0.0] * 8
