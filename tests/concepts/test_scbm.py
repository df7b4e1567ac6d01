"""SCBM: its Gaussian, its answers and its losses by independent formulas."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from tests.small_models import scbm
from zoo.concepts import SCBM
from zoo.concepts.layers.correlated import Answers, GaussianLogits, expected_sigmoid, most_certain
from zoo.core.counterfactual import MOVED
from zoo.core.evidence import Evidence


def gaussian(rows: int = 3, concepts: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    layer = GaussianLogits(6, concepts, "amortized")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5)
        return layer(torch.randn(rows, 6))


@pytest.fixture
def model() -> SCBM:
    torch.manual_seed(0)
    made: SCBM = scbm().model
    with torch.no_grad():
        for parameter in made.concepts.parameters():
            parameter.normal_(0, 0.5)
    return made


def evidence_of(model: SCBM, x: Tensor) -> Evidence:
    with torch.no_grad():
        return model.step(x)[1]


@pytest.mark.parametrize("variance", [0.0, 0.3, 4.0])
def test_expected_sigmoid_is_the_integral(variance: float) -> None:
    x = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    density = (-x.square() / 2).exp()
    for mean in (-3.0, 0.0, 1.5):
        expected = (torch.sigmoid(mean + x * variance**0.5) * density).sum() / density.sum()
        found = expected_sigmoid(torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_factor_is_a_cholesky_factor() -> None:
    _, factor = gaussian()
    assert torch.equal(factor, factor.tril())
    assert bool((factor.diagonal(dim1=1, dim2=2) > 0).all())


def test_the_other_logits_follow_their_conditional_gaussian() -> None:
    mean, factor = gaussian()
    answers = torch.tensor([[1.0, torch.nan, 0.0, torch.nan]]).repeat(3, 1)
    found, variance = Answers(4, "percentiles", 0.99).conditional(mean, factor, answers)
    set_, rest = [0, 2], [1, 3]
    for row in range(3):
        m, c = mean[row].double().numpy(), (factor[row] @ factor[row].T).double().numpy()
        shift = np.log([19, 1 / 19]) - m[set_]
        gain = c[np.ix_(rest, set_)] @ np.linalg.inv(c[np.ix_(set_, set_)])
        np.testing.assert_allclose(found[row, rest], m[rest] + gain @ shift, rtol=1e-4, atol=1e-4)
        left = np.diag(c[np.ix_(rest, rest)] - gain @ c[np.ix_(set_, rest)])
        np.testing.assert_allclose(variance[row, rest], left, rtol=1e-3, atol=1e-4)
    assert not variance[:, set_].any()


def test_answers_are_as_certain_as_the_confidence_region_allows() -> None:
    """The published constrained problem, by SciPy's SLSQP."""
    mean, factor = gaussian(2, 5)
    answers = torch.tensor([[1.0, 0.0, torch.nan, 1.0, torch.nan]]).repeat(2, 1)
    found, _ = Answers(5, "confidence", 0.9).conditional(mean, factor, answers)
    known, bound = [0, 1, 3], float(chi2.ppf(0.9, 3))
    truth = answers[0, known].numpy()
    for row in range(2):
        m, c = mean[row, known].double().numpy(), (factor[row] @ factor[row].T).double().numpy()[np.ix_(known, known)]
        peak = _log_density(m, m, c)
        best = minimize(
            lambda eta: np.logaddexp(0, -(2 * truth - 1) * eta).sum(),
            m + 1e-2 * (2 * truth - 1),
            bounds=[(a, None) if t else (None, a) for a, t in zip(m, truth, strict=True)],
            constraints={"type": "ineq", "fun": lambda eta, m=m, c=c, p=peak: _slack(eta, m, c, p, bound)},
            method="SLSQP",
            options={"ftol": 1e-10, "maxiter": 500},
        )
        np.testing.assert_allclose(found[row, known], best.x, rtol=1e-3, atol=1e-3)


def _log_density(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    gaussian = MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    return float(gaussian.log_prob(torch.from_numpy(x)))


def _slack(eta: np.ndarray, mean: np.ndarray, covariance: np.ndarray, peak: float, bound: float) -> float:
    return bound + 2 * (_log_density(eta, mean, covariance) - peak)


def test_rows_with_different_answers_are_solved_together() -> None:
    torch.manual_seed(1)
    a = torch.randn(6, 5, 5, dtype=torch.float64)
    known = torch.rand(6, 5) > 0.4
    known[0] = False
    precision = torch.where(known[:, :, None] & known[:, None], torch.linalg.inv(a @ a.mT + torch.eye(5)), 0.0)
    margin, bound = torch.randn(6, 5, dtype=torch.float64), torch.full((6,), 7.0, dtype=torch.float64)
    together = most_certain(margin, precision, known, bound)
    for row in range(6):
        alone = most_certain(margin[[row]], precision[[row]], known[[row]], bound[[row]])
        torch.testing.assert_close(together[[row]], alone)
    assert not together[~known].any()


@pytest.mark.parametrize("kind", ["confidence", "percentiles"])
def test_one_answer_in_closed_form(kind: str) -> None:
    mean, factor = gaussian()
    answers = Answers(4, kind, 0.95)
    for value in (0.0, 1.0):
        means, variances = answers.after_one(mean, factor, value)
        for k in range(4):
            given = torch.full_like(mean, torch.nan)
            given[:, k] = value
            expected = answers.conditional(mean, factor, given)
            torch.testing.assert_close(means[:, k], expected[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(variances[:, k], expected[1], rtol=1e-3, atol=1e-4)


def test_details_are_the_scores_after_one_answer(model: SCBM) -> None:
    x = scbm().inputs
    explanation, evidence = model.explain(x, 1), evidence_of(model, x)
    for key, value in (("absent", 0.0), ("present", 1.0)):
        for k, unit in enumerate(model.units()):
            expected = model.readout(model.edit(evidence, {unit.name: value}))[:, 1]
            torch.testing.assert_close(explanation.details[key][:, k], expected, rtol=1e-4, atol=1e-4)


def test_details_tell_how_much_an_opposite_answer_moves_the_others(model: SCBM) -> None:
    x = scbm().inputs
    moved, evidence = model.explain(x).details[MOVED], evidence_of(model, x)
    for k, unit in enumerate(model.units()):
        opposite = 1.0 - (evidence.activation[:, k] >= 0.5).float()
        change = (model.edit(evidence, {unit.name: opposite}).activation - evidence.activation).abs()
        torch.testing.assert_close(moved[:, k], change.sum(1) - change[:, k], rtol=1e-3, atol=1e-4)


def test_answers_are_given_together_and_move_the_others(model: SCBM) -> None:
    x = scbm().inputs
    evidence, (a, b, *_) = evidence_of(model, x), [u.name for u in model.units()]
    first = model.edit(model.edit(evidence, {a: 1.0}), {b: 0.0})
    torch.testing.assert_close(first.activation, model.edit(evidence, {b: 0.0, a: 1.0}).activation)
    assert bool((first.activation[:, 2:] - evidence.activation[:, 2:]).abs().amax() > 1e-3)
    untouched = model.intervene(evidence, torch.zeros_like(evidence.activation, dtype=torch.bool), evidence.activation)
    assert torch.equal(untouched.activation, evidence.activation)


def test_removing_a_unit_is_no_answer(model: SCBM) -> None:
    evidence = evidence_of(model, scbm().inputs)
    left = model.ablate(evidence, [0]).activation
    assert not left[:, 0].any()
    assert torch.equal(left[:, 1:], evidence.activation[:, 1:])


def test_losses_by_hand(model: SCBM) -> None:
    """With the same draws: the published loss of concepts, up to the log of the number of samples, and precision."""
    x = scbm().inputs
    evidence = evidence_of(model, x)
    mean, factor = evidence.state["mean"], evidence.state["factor"]
    concepts = (torch.arange(mean.numel()).view_as(mean) % 3 == 0).float()
    batch = {"input": x, "target": torch.arange(len(x)) % 3, "concepts": concepts}
    torch.manual_seed(3)
    found = model.eval().losses(model.readout(evidence), evidence, batch)
    torch.manual_seed(3)
    noise = torch.randn(model.samples, *mean.shape)
    each = []
    for s in range(model.samples):
        p = torch.sigmoid(mean + torch.einsum("bij,bj->bi", factor, noise[s]))
        each.append(F.binary_cross_entropy(p, concepts, reduction="none").sum(1))
    expected = -(torch.stack(each).neg().exp().mean(0)).log().mean()
    torch.testing.assert_close(found["concepts"], expected)
    precision = torch.linalg.inv(factor @ factor.mT)
    pairs = mean.shape[1] * (mean.shape[1] - 1)
    apart = sum(m[i, j].abs().item() for m in precision for i in range(len(m)) for j in range(len(m)) if i != j)
    assert found["precision"].item() == pytest.approx(apart / pairs / len(precision), rel=1e-3)


def test_other_tasks_are_refused() -> None:
    domain = scbm().model.domain.to_dict()
    names = list(domain["concepts"])
    domain = {**domain, "concept_groups": {"group": names[:2]}, "exclusive": ["group"]}
    with pytest.raises(ValueError, match="1 exclusive"):
        SCBM(domain, backbone="identity")
    with pytest.raises(ValueError, match="level"):
        Answers(3, "confidence", 1.0)
