"""Pages of forecasts: the look-back, the future, and what each stretch adds to each future step."""

import re

import pytest
import torch

from zoo.core.explanation import Explanation
from zoo.domain import SeriesDomain
from zoo.sequences import PatchTST
from zoo.views.forecast import LEVELS, edges
from zoo.views.html import page

H = 4


@pytest.fixture(scope="module")
def told() -> Explanation:
    names = tuple(f"{v} {h} steps ahead" for v in ("<heat>", "load") for h in range(1, H + 1))
    domain = SeriesDomain(
        classes=names, variables=("<heat>", "load"), length=20, horizon=H, task="regression", step=0.5, unit="h"
    )
    torch.manual_seed(0)
    model = PatchTST(domain, patch=6, stride=4, width=4, layers=1, heads=1, hidden=4).eval()
    x = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))
    return model.explain(x, "<heat> 3 steps ahead", every_class=True)


def test_the_page_shows_the_future_and_what_the_past_adds_to_it(told: Explanation) -> None:
    truth = torch.full((2, 2 * H), 1.25)
    shown, unknown = page(told, ["a", "b"], truth=truth), page(told, ["a", "b"])
    assert shown.count("class='series forecast'") == 2 and "<heat>" not in shown
    assert "The true value was 1.250." in shown and "The true value" not in unknown
    assert shown.count("class='truth'") == 2 and "class='truth'" not in unknown
    first = told[0]
    own = first.contributions[0, :6]
    level = float(own[5] + first.bias)
    assert f"gives {level:.3f}".replace("-", "\u2212") in shown
    assert f"add {float(own[:5].sum()):+.3f}".replace("-", "\u2212") in shown
    assert all(f">{tick}<" in shown for tick in ("\u22125", "now", "+2"))  # hours, not steps
    (chart,) = re.findall(r"<figure class='series forecast'>(.*?)</figure>", page(told[0], ["a"]))
    bars = re.findall(r"<path class='(up|down)' d='M", chart)
    assert bars == ["up" if value > 0 else "down" for value in own[:5]]


def test_cells_of_the_grid_are_the_contributions(told: Explanation) -> None:
    (chart,) = re.findall(r"<figure class='series forecast'>(.*?)</figure>", page(told[0], ["a"]))
    cells = sum(path.count("M") for path in re.findall(r"opacity='[\d.]+' d='(.*?)'", chart))
    every = told.details["horizon"][0, :5]
    assert cells == int(((every / every.abs().max() * LEVELS).round() != 0).sum())


def test_edges_divide_what_patches_share() -> None:
    assert edges([[0, 5], [4, 9], [8, 9]]) == [(0, 5.0), (5.0, 9.0), (9.0, 10)]


def test_truth_of_another_shape_is_refused(told: Explanation) -> None:
    with pytest.raises(ValueError, match=r"truth must be \(2, 8\) as the scores; got \(2, 4\)"):
        page(told, ["a", "b"], truth=torch.zeros(2, 4))
