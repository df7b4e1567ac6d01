"""The blur of the group generator: cells beyond the border have no say."""

import math

import pytest
import torch

from tests.small_models import IMAGES, ROWS, SENTENCES, SERIES
from zoo.domain import Domain, ImageDomain
from zoo.networks.elements import Elements
from zoo.parts.layers.group_generator import GeneratorOptions, GroupGenerator, highest
from zoo.parts.layers.grouping import Grouping

CANVAS = ImageDomain(classes=("a", "b"), size=(28, 28))


def generator(domain: Domain, elements: dict, **options) -> GroupGenerator:
    return GroupGenerator(4, Elements(domain, **elements), Grouping(2), GeneratorOptions(**options))


@pytest.mark.parametrize(
    ("domain", "elements"), [(IMAGES, {"patch": 5}), (SERIES, {"patch": 3}), (SENTENCES, {}), (ROWS, {})]
)
def test_a_constant_cancels_in_the_blurred_scores(domain: Domain, elements: dict) -> None:
    """Scores counted as 0 beyond the border, so that a constant moved the groups to or from the border."""
    blur = generator(domain, elements, blur=5)
    scores = torch.randn(2, 3, blur.elements.count)
    present = torch.ones(2, blur.elements.count, dtype=torch.bool)
    present[1, 2:] = False
    for there in (None, present):
        moved = blur.blurred(scores + 7, there) - blur.blurred(scores, there)
        kept = moved if there is None else moved.where(there[:, None], 7)
        torch.testing.assert_close(kept, torch.full_like(scores, 7.0))


def test_the_blur_is_a_mean_over_the_cells_that_exist() -> None:
    blur, scores = generator(IMAGES, {"patch": 4}, blur=3), torch.randn(1, 1, 9)
    grid, weight = scores.view(3, 3), torch.tensor([math.exp(-0.5), 1.0, math.exp(-0.5)])
    corner = torch.outer(weight[1:], weight[1:])
    expected = (grid[:2, :2] * corner).sum() / corner.sum()
    torch.testing.assert_close(blur.blurred(scores, None)[0, 0, 0], expected)


def test_groups_of_random_scores_do_not_crowd_the_border() -> None:
    """With zeros beyond the border and scores below 0, nearly all cells of groups lay on it."""
    share = {}
    scores = torch.randn(50, 4, 49, generator=torch.Generator().manual_seed(0)) - 5
    border = torch.ones(7, 7, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    for kind in ("zero", "excluded"):
        blurred = generator(CANVAS, {"patch": 4}, border=kind).blurred(scores, None)
        mask = highest(blurred, torch.full((50,), 10))
        share[kind] = float(mask[..., border.flatten()].float().sum() / mask.sum())
    assert share["zero"] > 0.95 and share["excluded"] < 0.65  # 24 of 49 cells, 49 %, are on the border
