"""Post-hoc methods on a linear model: all of them know the truth there; units, grids and what they miss."""

import pytest
import torch
from torch import Tensor, nn

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.domain import TextDomain
from zoo.metrics.faithfulness import CompletenessGap, Subject, randomised
from zoo.metrics.faithfulness.imputers import Mean
from zoo.training.black_box import BlackBox

pytest.importorskip("captum")
from zoo.metrics.faithfulness.posthoc_methods import POSTHOC, IntegratedGradients, KernelShap, Occlusion


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


class Bent(Pixels):
    """Scores that are not linear in the pixels; counts the inputs that it sees."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return super().forward(x).tanh() * super().forward(x.roll(1, 2)).exp()


def first_pixels(values: Tensor) -> Tensor:
    """(9,) the first value of each of 3 x 3 patches of (1, 1, SIDE, SIDE)."""
    return values[0, 0, :: SIDE // 3, :: SIDE // 3].flatten()


def test_all_inputs_at_once_equal_captum_one_by_one() -> None:
    from captum.attr import FeatureAblation
    from captum.attr import KernelShap as Peer

    model, base = Bent(), torch.full((1, SIDE, SIDE), 0.1)
    x, target = torch.randn(3, 1, SIDE, SIDE), torch.tensor([0, 2, 1])
    ours, shap = Occlusion(model, base, patches=3), KernelShap(model, base, patches=3)
    mask = ours.cells.view(1, 1, SIDE, SIDE)

    def margin(rows: Tensor, target: Tensor) -> Tensor:
        scores = model(rows)
        return scores.gather(1, target.expand(len(rows), 1))[:, 0] - scores.mean(1)

    with torch.random.fork_rng(), torch.no_grad():
        for row, t, left, game in zip(x, target, ours.margins(x, target), shap.margins(x, target), strict=True):
            torch.manual_seed(0)
            options = {"additional_forward_args": (t[None, None],), "feature_mask": mask}
            drops = FeatureAblation(margin).attribute(row[None], base[None], **options)
            torch.testing.assert_close(left, first_pixels(drops))
            torch.manual_seed(0)
            values = Peer(margin).attribute(row[None], base[None], n_samples=shap.samples, **options)
            torch.testing.assert_close(game, first_pixels(values), atol=2e-3, rtol=2e-3)  # captum solves in float32


@pytest.mark.parametrize("name", POSTHOC)
def test_the_same_input_is_explained_once(name: str) -> None:
    model = Bent()
    shown = POSTHOC[name](model, torch.zeros(1, SIDE, SIDE), patches=2)
    x, target = torch.randn(4, 1, SIDE, SIDE), torch.tensor([0, 1, 2, 0])
    first, seen = shown.margins(x, target), model.seen
    torch.testing.assert_close(shown.margins(x.flip(0), target.flip(0)).flip(0), first, atol=0, rtol=0)
    assert model.seen == seen
    other = shown.margins(x, 2 - target)
    assert (model.seen == seen) == (name != "integrated gradients")  # which explain one class at a time
    fresh = POSTHOC[name](model, torch.zeros(1, SIDE, SIDE), patches=2)
    torch.testing.assert_close(fresh.margins(x, 2 - target), other)


def test_explanations_of_one_model_share_scores_and_copies_forget() -> None:
    model, base = Bent(), torch.zeros(1, SIDE, SIDE)
    first, second = Occlusion(model, base, patches=2), KernelShap(model, base, patches=2)
    masks, imputer = torch.rand(4, 3, SIDE**2) < 0.5, Mean(torch.randn(5, 1, SIDE, SIDE), model.domain)
    cases = [linear_case(subject, 4) for subject in (first, second)]
    expected = cases[0].scores_without(masks, imputer)
    first.memo = second.memo = {}
    torch.testing.assert_close(cases[0].scores_without(masks, imputer), expected)
    seen = model.seen
    torch.testing.assert_close(cases[1].scores_without(masks, imputer), expected)
    assert model.seen == seen
    cases[1].scores_without(~masks, imputer)
    assert model.seen > seen
    copied = randomised(first, 0)
    assert copied.memo is None and not copied.known and first.known and first.memo


def test_tokens_are_refused() -> None:
    domain = TextDomain(classes=("a", "b"), vocabulary=("good", "bad"), length=5)
    model = BlackBox(domain, "transformer")
    with pytest.raises(ValueError, match="occlusion requires continuous inputs; text tokens are discrete"):
        Occlusion(model, torch.zeros(5))
