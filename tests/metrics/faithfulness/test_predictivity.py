"""M15: leave-one-out ridge against refits, and models whose behaviour the units do or do not tell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from tests.metrics.faithfulness.linear_model import SIDE, linear_case
from zoo.domain import AudioDomain, Domain, SeriesDomain, TableDomain, TextDomain
from zoo.metrics.faithfulness import Case, Predictivity, imputers_for
from zoo.metrics.faithfulness.predictivity import PENALTIES, leave_one_out, parts_of


def test_leave_one_out_is_a_refit_without_each_row() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 30, generator=random, dtype=torch.float64) * torch.arange(1, 31)
    x[:, 4] = 2.5  # constant
    y = x[:, :2] @ torch.randn(2, 3, generator=random, dtype=torch.float64)
    y += torch.randn(20, 3, generator=random, dtype=torch.float64)
    kept = [k for k in range(30) if k != 4]
    scaled = ((x - x.mean(0)) / x.std(0))[:, kept].numpy()
    mean = np.linalg.eigvalsh(scaled @ scaled.T).mean()
    found = []
    for penalty in PENALTIES:
        errors = []
        for row in range(20):
            others = [i for i in range(20) if i != row]
            ridge = Ridge(alpha=penalty * mean).fit(scaled[others], y[others].numpy())
            errors.append(y[row].numpy() - ridge.predict(scaled[row : row + 1])[0])
        found.append(np.array(errors))
    best = min(found, key=lambda e: float((e**2).sum()))
    torch.testing.assert_close(leave_one_out(x, y), torch.from_numpy(best), rtol=1e-6, atol=1e-8)


def measured(case: Case) -> dict[str, Tensor]:
    metric = Predictivity(imputers_for(case.domain, case.x, ("mean",), 0))
    metric.update(case)
    return {name: value.item() for name, value in metric.compute().items()}


def test_units_that_the_answers_are_linear_in_predict_them_and_shuffled_units_do_not() -> None:
    case = linear_case(count=120)
    found = measured(case)  # with the mean in place of a block, answers are linear in the pixels
    assert found["units"] > 0.999
    assert found["scores"] < 0.6
    assert found["gain"] == pytest.approx(found["units"] - found["scores"])
    case = linear_case(count=120)
    shuffled = case.explanation.activation[torch.randperm(120, generator=torch.Generator().manual_seed(2))]
    case.explanation = replace(case.explanation, activation=shuffled)
    assert measured(case)["units"] < 0.1


def test_order_and_batches_change_nothing_and_two_samples_are_too_few() -> None:
    whole = linear_case(count=40)
    metric = Predictivity(imputers_for(whole.domain, whole.x, ("mean",), 0))
    for rows in (slice(25, 40), slice(0, 25)):
        metric.update(Case(whole.subject, whole.x[rows], whole.ids[rows]))
    for name, value in metric.compute().items():
        assert value.item() == pytest.approx(measured(whole)[name], rel=1e-6)
    low, high = metric.intervals()["units"][1:3]
    assert low <= measured(whole)["units"] <= high
    assert np.isnan(measured(linear_case(count=2))["units"])


@pytest.mark.parametrize(
    "domain",
    [
        SeriesDomain(classes=("a", "b"), variables=("u", "v"), length=30),
        TableDomain(classes=("a", "b"), features=tuple("abcdefghijkl")),
        TextDomain(classes=("a", "b"), vocabulary=("x", "y"), length=20),
        AudioDomain(classes=("a", "b")),
    ],
)
def test_parts_divide_the_present_elements(domain: Domain) -> None:
    x = domain.example(3, torch.Generator().manual_seed(0))
    real = Case.__new__(Case)
    real.x, real.domain = x, domain
    masks = parts_of(real)
    assert masks.shape[1] <= SIDE + 3
    torch.testing.assert_close(masks.sum(1), real.present.long())


def test_parts_of_images_are_blocks() -> None:
    masks = parts_of(linear_case(count=2))
    assert masks.shape == (2, 9, SIDE**2)
    block = masks[0, 4].view(SIDE, SIDE)
    assert block[2:4, 2:4].all() and block.sum() == 4
