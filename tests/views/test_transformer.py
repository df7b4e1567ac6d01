"""The grid of heads and the curves of tokens on the pages of transformers."""

import pytest

from tests.small_models import build
from zoo.views.html import page
from zoo.views.sums import signed


@pytest.mark.parametrize("variant", ["", "text"])
def test_the_grid_has_the_contribution_of_each_head(variant: str) -> None:
    small = build("direct_logit", variant)
    one = small.model.explain(small.inputs[:1])
    html = page(one, ["an input"])
    grid = html[html.index("Heads and MLPs") : html.index("<h3>Evidence")]
    assert grid.count("<tr>") == 3 and grid.count("<td") == len(one.units) == 8
    assert one.contributions is not None
    for unit, value in zip(one.units[1:5], one.contributions[0, 1:5].tolist(), strict=True):
        name = f"head {unit.source['head']}"
        assert f"<bdi>{name}</bdi>" in grid and signed(value, 2)[:4] in grid
    assert ("class token" in grid) is not bool(variant)
    assert ("<bdi>" in grid and "good " in grid) if variant else grid.count("<svg") == 4  # maps of heads alone


@pytest.mark.parametrize("variant", ["", "text"])
def test_curves_of_tokens_by_layer(variant: str) -> None:
    small = build("token_vote", variant)
    html = page(small.model.explain(small.inputs[:1]), ["an input"])
    shown = html[html.index("Tokens by layer") : html.index("<h3>Evidence")]
    count = 2 if variant else 30
    assert f"mean of {count} tokens" in shown and shown.count("<polyline") == 1 + min(count, 5)
    assert shown.count("<figure") == (0 if variant else 3)  # after 0, 1 and 2 layers


def test_other_pages_have_neither() -> None:
    small = build("bagnet")
    html = page(small.model.explain(small.inputs[:1]), ["an input"])
    assert "Heads and MLPs" not in html and "Tokens by layer" not in html
