"""Evidence of two classes on the linear world: the truth tells them apart, wrong explanations do not."""

import pytest
import torch
from torch import Tensor

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness import CONTROLS, Case, Contrastivity, Subject
from zoo.metrics.faithfulness.imputers import Imputer, Marginal, Mean, NoisyLinear

REFERENCE = torch.randn(50, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def imputers() -> list[Imputer]:
    domain = Pixels().domain
    return [Mean(torch.zeros(2, 1, SIDE, SIDE), domain), Marginal(REFERENCE, domain), NoisyLinear(domain)]


def samples(case: Case, some: list[Imputer]) -> dict[str, Tensor]:
    metric = Contrastivity(some)
    metric.update(case)
    return dict(zip(metric.names, metric.samples().T, strict=True))


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    subject = Subject(Pixels())
    shown = {"truth": subject, **{name: make(subject) for name, make in CONTROLS.items()}}
    return {
        name: {key: value.nanmean().item() for key, value in samples(linear_case(s), imputers()[:1]).items()}
        for name, s in shown.items()
    }


def test_truth_and_monolith(measured: dict[str, dict[str, float]]) -> None:
    assert measured["truth"] == {"swap test": 1, "swap test, mean": 1, "difference": 1}  # blocks are disjoint
    assert measured["monolith"]["swap test"] == 0.5 and measured["monolith"]["difference"] == pytest.approx(0)


@pytest.mark.parametrize("control", ["shuffled supports", "shuffled contributions", "encoder cheat", "monolith"])
def test_truth_is_above_controls(measured: dict[str, dict[str, float]], control: str) -> None:
    assert measured["truth"]["swap test"] > measured[control]["swap test"] + 0.15
    if control.startswith("shuffled"):
        assert measured[control]["swap test"] == pytest.approx(0.5, abs=0.1)


def test_by_hand() -> None:
    case = linear_case(CONTROLS["shuffled supports"](Subject(Pixels())), 40)
    found = samples(case, imputers()[:1])["swap test"]
    told = [case.subject.explain(case.x, c) for c in case.explanation.scores.topk(2, 1).indices.unbind(1)]
    for i in range(40):
        first, second = (int(one.target[i]) for one in told)
        gaps = []
        for one in told:
            weight = one.contributions[i].clamp_min(0) @ one.support[i].flatten(1)
            x = case.x[i].clone()
            x.view(-1)[smallest_cover(weight)] = 0
            scores = case.subject.scores(x[None])[0].double()
            gaps.append((scores[first] - scores[second]).item())
        expected = 0.5 if abs(gaps[0] - gaps[1]) < 1e-6 else float(gaps[0] < gaps[1])
        assert found[i] == expected


def test_equal_evidence_ties_under_every_imputer() -> None:
    """Where both scores are above 0 the monolith has evidence for both, the same, and random draws must not decide."""
    case = linear_case(CONTROLS["monolith"](Subject(Pixels())), 100)
    both = (case.explanation.scores > 0).sum(1) >= 2
    for name, value in samples(case, imputers()).items():
        assert value.isnan().equal(~both), name
        torch.testing.assert_close(value[both], torch.full_like(value[both], 0.5 if "swap" in name else 0.0))
    assert 20 < both.sum() < 80


def test_halves_are_the_whole() -> None:
    subject = Subject(Pixels())
    whole = linear_case(subject, 40)
    metric, halves = Contrastivity(imputers()), Contrastivity(imputers())
    metric.update(whole)
    for rows in (slice(20, 40), slice(0, 20)):
        halves.update(Case(subject, whole.x[rows], whole.ids[rows]))
    torch.testing.assert_close(halves.samples(), metric.samples(), atol=1e-6, rtol=0, equal_nan=True)


def test_no_evidence_has_no_value() -> None:
    case = linear_case(count=3)
    case.x[0] = 0
    case = Case(case.subject, case.x, case.ids)
    found = samples(case, imputers())
    assert found["swap test"].isnan().tolist() == [True, False, False] and bool(found["difference"][0].isnan())
