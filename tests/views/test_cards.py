"""Cards: the right part of the input beside the right patch, numbers in a sensible scale, the others in one card."""

import re
from dataclasses import replace

import pytest
import torch

from tests.views.pages import Read, explanation
from zoo.core.explanation import Explanation
from zoo.views.cards import evidence, prepare
from zoo.views.sums import number, signed


def cards(made: Explanation, top: int = 8) -> list[str]:
    return re.findall(r"<li.*?</li>", evidence(prepare(made, 0, top)))


def firing_at(row: int, column: int) -> Explanation:
    """One unit that fires in one of 4 x 4 cells of an input of 32 x 32 pixels."""
    support = torch.zeros(1, 1, 4, 4)
    support[0, 0, row, column] = 1
    return explanation(1, 1, support=support)


def test_box_lies_where_the_unit_fires() -> None:
    row = prepare(firing_at(0, 3), 0, 1)
    top, left, bottom, right = row.boxes[0]
    assert top == 0 and right == 32 and bottom <= 9 and left >= 23  # the last cell of the first row, 8 x 8 pixels
    (card,) = cards(firing_at(0, 3))
    side = round(2 * (bottom - top))
    assert f"viewBox='{32 - side} 0 {side} {side}'" in card  # twice the box, pushed inside the image
    outline = re.search(r"class='box' x='([\d.]+)' y='([\d.]+)' width='([\d.]+)'", card)
    assert outline is not None
    x, y, width = map(float, outline.groups())
    assert left <= x <= left + 1 and 0 <= y <= 1 and x + width <= 32


def test_patch_lies_where_its_image_has_it() -> None:
    base = explanation(1, 1)
    source = {"image": "a.png", "box": [104, 208, 112, 216], "region": [100, 200, 116, 216]}
    made = replace(base, units=(replace(base.units[0], source=source),))
    (card,) = cards(made)
    assert "viewBox='200 100 16 16'" in card and "translate(200 100)" in card
    assert "x='208.2' y='104.2' width='7.616'" in card
    (bare,) = cards(replace(base, units=(replace(base.units[0], source={}),)))
    assert "viewBox='0 0 16 16'" in bare and bare.count("class='box'") == 1  # the input's; the patch has none


def test_heat_is_drawn_where_units_have_a_place() -> None:
    (card,) = cards(firing_at(1, 1))
    assert card.count("class='heat'") == 1
    assert "class='heat'" not in "".join(cards(explanation(1, 3, support=None)))


def test_others_are_counted_by_their_sign() -> None:
    parts = torch.tensor([[5.0, -4.0, 0.5, -0.25, -0.5, 0.0]])
    made = explanation(1, 6, contributions=parts, bias=torch.zeros(1), scores=parts.sum().expand(1, 3))
    *_, others = cards(made, top=2)
    assert Read(others).within("h4") == ["4 other units"]
    assert Read(others).within("p")[0] == "1 positive, 2 negative" and Read(others).within("b") == ["\u22120.250"]
    assert Read(cards(made, top=5)[-1]).within("h4") == ["1 other unit"]
    *shown, others = cards(made, top=6)  # a contribution that is printed as 0 has no card
    assert len(shown) == 5 and Read(others).within("p")[0] == "no contribution; rounding only"
    concepts = tuple(replace(unit, kind="concept") for unit in made.units)  # but a concept has one, to be changed
    assert "others" not in "".join(cards(replace(made, units=concepts), top=6))


def test_others_of_a_score_that_is_no_sum_have_no_number() -> None:
    made = explanation(1, 4, contributions=None, bias=None)
    *shown, others = cards(made, top=2)
    assert len(shown) == 2 and "<b>" not in others and "ranked lower" in others


def test_bars_of_activations_start_at_the_left() -> None:
    activation = torch.tensor([[2.0, -1.0, 1.0]])
    made = explanation(1, 3, contributions=None, bias=None, activation=activation)
    assert re.findall(r"class='level' style='width:([\d.]+)%'", "".join(cards(made))) == ["100.0", "50.0", "0.0"]


def test_units_with_nothing_to_look_at_are_rows() -> None:
    made = explanation(1, 2, support=None)
    assert evidence(prepare(made, 0, 2)).startswith("<ol class='cards'>")
    plain = tuple(replace(unit, picture=None) for unit in made.units)
    assert evidence(prepare(replace(made, units=plain), 0, 2)).startswith("<ol class='rows'>")


def test_a_unit_that_did_not_fire_has_no_weight() -> None:
    (card,) = cards(explanation(1, 1, activation=torch.zeros(1, 1), contributions=torch.tensor([[1.5]])))
    assert "weight" not in card and "<b>0.000</b> similarity: <b>+1.500</b>" in card


def test_all_zero_evidence_has_empty_bars() -> None:
    (card,) = cards(explanation(1, 1, contributions=torch.zeros(1, 1)))
    assert "width:0.0%" in card


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [(1.5, "1.50", "+1.50"), (-1.5, "\u22121.50", "\u22121.50"), (-0.001, "0.00", "+0.00"), (0.0, "0.00", "+0.00")],
)
def test_numbers(value: float, plain: str, with_sign: str) -> None:
    assert (number(value, 2), signed(value, 2)) == (plain, with_sign)
