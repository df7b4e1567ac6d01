"""Units joined into regions: the same sums for every class and reference, and where the regions lie."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_models import BACKBONES, IMAGES, build
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.core.regions import regions_of
from zoo.domain import Domain, ImageDomain, SeriesDomain, TextDomain
from zoo.metrics.faithfulness import Case, Subject
from zoo.metrics.faithfulness.in_regions import InRegions
from zoo.views.cards import boxes_for
from zoo.views.html import page

IMAGE = ImageDomain(classes=("a", "b"), size=(12, 12))


def explained(heat: Tensor, domain: Domain = IMAGE, **more: Any) -> Explanation:
    """An explanation of one row with a unit for each cell of a map (*S)."""
    count = heat.numel()
    return Explanation(
        scores=torch.stack([heat.sum(), -heat.sum()])[None],
        target=torch.tensor([0]),
        contributions=heat.flatten()[None],
        bias=torch.zeros(1),
        activation=torch.ones(1, count),
        support=torch.eye(count).view(1, count, *heat.shape),
        units=tuple(Unit(f"cell {k}", "patch") for k in range(count)),
        domain=domain,
        **more,
    )


def test_regions_are_the_surroundings_of_peaks() -> None:
    heat = torch.zeros(12, 12)
    heat[1:4, 1:4], heat[2, 2] = 1.0, 3.0  # 11 in all
    heat[7:10, 6:10], heat[8, 8] = 0.5, 1.0  # 6.5
    heat[2, 9], heat[11, 0] = -2.0, 0.25
    found = explained(heat).in_regions(5).check()
    assert [unit.name for unit in found.units] == [
        *(f"region {n}" for n in (1, 2, 3)),
        *("elsewhere, for", "elsewhere, against"),
    ]
    torch.testing.assert_close(found.contributions, torch.tensor([[11.0, 6.5, -2.0, 0.25, 0.0]]))
    assert torch.equal(found.support[0, 0] > 0, (heat > 0) & (torch.arange(12) < 5) & (torch.arange(12)[:, None] < 5))
    assert found.support[0, 0, 2, 2] == 1 and found.support[0, 0, 1, 1] == pytest.approx(1 / 3)
    assert found.support[0, 2].nonzero().tolist() == [[2, 9]]


def test_what_is_elsewhere_is_split_by_its_sign() -> None:
    heat = torch.zeros(12, 12)
    for k, value in enumerate((5.0, 1.0, -1.5, 0.5, -0.25)):
        heat[2 * k + 1, 2 * k + 1] = value
    found = explained(heat).in_regions(3)
    assert found.contributions[0].tolist() == pytest.approx([5.0, 1.5, -1.75])


@pytest.mark.parametrize("places", [{}, {"pooling": "sum", "support": "field"}])
def test_every_sum_stays_what_it_was(places: dict[str, str]) -> None:
    backbone = {"name": "convnet", "widths": [4, 6], "strided": [2, 1]}
    small = build("pipnet", domain=IMAGES, backbone=backbone, prototypes=5, places=places)
    one = small.model.explain(small.inputs, every_class=True)
    found = one.in_regions(4).check()
    assert len(found.units) in (4, 5) and found.support.shape[1] == len(found.units)
    torch.testing.assert_close(found.effects.sum(1), one.effects.sum(1))
    for reference in one.references:
        torch.testing.assert_close(
            found.relative_to(reference).contributions.sum(1), one.relative_to(reference).contributions.sum(1)
        )
    shares, strength = regions_of(one, 4)
    torch.testing.assert_close(shares.sum(1), torch.ones(shares.shape[0], shares.shape[2], dtype=torch.float64))
    assert strength.min() >= 0 and strength.max() <= 1


def test_rows_looked_at_one_by_one_are_those_of_a_batch() -> None:
    small = build("bagnet")
    one = small.model.explain(small.inputs)
    together, one_by_one = regions_of(one, 4), regions_of(one, 4, chunk=1)
    torch.testing.assert_close(one_by_one, together)
    assert together[0].shape[1] == 4  # rounding makes no unit without a place


def test_units_without_a_place_stay_a_term() -> None:
    one = explained(torch.eye(12))
    one.support[:, 3] = 0  # of the unit that contributes 7
    one.contributions[:, 3] = 7.0
    found = replace(one, scores=torch.tensor([[19.0, 0.0]])).in_regions(4).check()
    assert found.units[-1].name == "without a place" and found.contributions[0, -1] == 7
    assert not found.support[0, -1].any()
    shown = replace(found, inputs=torch.zeros(1, 3, 12, 12)).top(5)[0]
    boxes = boxes_for(replace(found, inputs=torch.zeros(1, 3, 12, 12)), shown, (12, 12))
    assert [box is None for box in boxes] == [not found.support[0, term.index].any() for term in shown]
    assert sum(box is None for box in boxes) < len(boxes)


def test_regions_of_texts_and_of_each_variable_of_series() -> None:
    words = TextDomain(classes=("a", "b"), vocabulary=tuple("abcdefgh"), length=9)
    heat = torch.tensor([0.0, 1, 2, 1, 0, -1, -4, 0, 0.5])
    assert explained(heat, words).in_regions(5).contributions[0].tolist() == pytest.approx([-5, 4, 0.5, 0, 0])
    series = SeriesDomain(classes=("a", "b"), variables=("u", "v"), length=9)
    both = torch.stack([heat, -2 * heat], 1)
    found = explained(both, series).in_regions(8).contributions[0]
    assert found.tolist() == pytest.approx([10, -8, -5, 4, -1, 0.5, 0, 0])


def test_pages_show_the_words_of_a_region() -> None:
    words = TextDomain(classes=("a", "b"), vocabulary=("dull", "film", "fine", "it", "plot", "was"), length=7)
    told = ("it", "was", "fine", "film", "plot", "dull")
    x = torch.stack([words.preprocess(" ".join(told))])
    heat = torch.tensor([0.0, 1.0, 4.0, 3.0, -1.0, -4.0, 0.0])
    one = explained(heat, words, inputs=x, texts=(" ".join(told),)).in_regions(4)
    drawn = page(one, ["text"])
    assert "region 1: fine film" in drawn and "region 2: dull" in drawn
    assert drawn.count("class='wide words'") == 2  # nothing lies elsewhere


def test_pages_draw_no_box_for_what_has_no_place() -> None:
    one = explained(torch.eye(12), inputs=torch.zeros(1, 3, 12, 12))
    one.support[:, 3] = 0
    one.contributions[:, 3] = 30.0  # the strongest, so it would be the first box in the input
    found = replace(one, scores=torch.tensor([[42.0, 0.0]])).in_regions(4)
    drawn = page(found, ["image"])
    assert "without a place" in drawn and "location of without a place" not in drawn
    assert "location of region 1" in drawn and ">1</text>" not in drawn and ">2</text>" in drawn


def test_what_cannot_be_joined_is_refused() -> None:
    one = explained(torch.eye(12))
    with pytest.raises(ValueError, match="at least 3 regions"):
        one.in_regions(2)
    table = build("nam")
    with pytest.raises(ValueError, match="rows have no neighbouring places"):
        table.model.explain(table.inputs).in_regions()
    cbm = build("cbm", domain=replace(IMAGES, concepts=("round", "red")), backbone=BACKBONES["image"])
    with pytest.raises(ValueError, match="no place in the input"):
        cbm.model.explain(cbm.inputs).in_regions()
    tree = build("prototree", domain=IMAGES)
    with pytest.raises(ValueError, match="not additive"):
        tree.model.explain(tree.inputs).in_regions()


def test_metrics_join_what_they_compare() -> None:
    small = build("bagnet")
    subject = Subject(small.model)
    own, joined = (Case(s, small.inputs, torch.arange(len(small.inputs))) for s in (subject, InRegions(subject, 5)))
    shares = regions_of(own.explanation, 5)[0].float()
    for name in ("margins", "blank_margins"):
        wanted = torch.einsum("bnk,bk->bn", shares, getattr(own, name))
        torch.testing.assert_close(getattr(joined, name), wanted)
    torch.testing.assert_close(joined.attribution, own.attribution, atol=1e-5, rtol=1e-4)
