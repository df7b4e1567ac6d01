"""Post-hoc methods on a linear model: all of them know the truth there; units, grids and what they miss."""

import pytest
import torch
from torch import Tensor, nn

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.domain import TextDomain
from zoo.metrics.faithfulness import CompletenessGap, Subject
from zoo.training.black_box import BlackBox

pytest.importorskip("captum")
from zoo.metrics.faithfulness.posthoc import POSTHOC, IntegratedGradients, Occlusion


@pytest.mark.parametrize("name", POSTHOC)
def test_the_truth_of_a_linear_model(name: str) -> None:
    model = Pixels()
    case = linear_case(POSTHOC[name](model, torch.zeros(1, SIDE, SIDE), patches=SIDE), 12)
    expected = Subject(model).margins(case.x, case.target)
    torch.testing.assert_close(case.margins, expected, atol=5e-3, rtol=1e-3)
    metric = CompletenessGap()
    metric.update(case)
    assert metric.compute()["gap"] < 1e-3 and len(case.explanation.units) == SIDE**2


def test_patches_add_up_their_pixels() -> None:
    model, base = Pixels(), torch.zeros(1, SIDE, SIDE)
    fine = linear_case(IntegratedGradients(model, base, patches=SIDE), 7).margins
    coarse = linear_case(IntegratedGradients(model, base, patches=3), 7)
    expected = fine.unflatten(1, (3, 2, 3, 2)).sum((2, 4)).flatten(1)
    torch.testing.assert_close(coarse.margins, expected)
    torch.testing.assert_close(linear_case(Occlusion(model, base, patches=3), 7).margins, expected)
    assert coarse.explanation.units[4].name == "patch 2, 2" and coarse.explanation.support.shape == (7, 9, 3, 3)


def test_what_they_miss_shows_in_the_gap() -> None:
    class Product(Pixels):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pad(x[:, 0, 0, :2].prod(1, keepdim=True) * 5, (0, 2))

    model = Product()
    for method, gap in ((Occlusion(model, torch.zeros(1, SIDE, SIDE)), 0.5), (IntegratedGradients, None)):
        shown = method if gap else IntegratedGradients(model, torch.zeros(1, SIDE, SIDE))
        metric = CompletenessGap()
        metric.update(linear_case(shown, 40))
        found = metric.compute()["gap"].item()
        assert found > gap if gap else found < 1e-3  # occlusion counts a product twice


def test_the_global_seed_is_untouched() -> None:
    shown = POSTHOC["KernelSHAP"](Pixels(), torch.zeros(1, SIDE, SIDE), patches=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    linear_case(shown, 2)
    assert torch.get_rng_state().equal(before)


def test_tokens_are_refused() -> None:
    domain = TextDomain(classes=("a", "b"), vocabulary=("good", "bad"), length=5)
    model = BlackBox(domain, "transformer")
    with pytest.raises(ValueError, match="occlusion requires continuous inputs; text tokens are discrete"):
        Occlusion(model, torch.zeros(5))
