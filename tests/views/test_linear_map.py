"""The pictures of a linear map show what the explanation holds."""

import re
from dataclasses import replace

import torch

from tests.small_models import bcos
from zoo.views.cards import prepare
from zoo.views.html import page
from zoo.views.linear_map import PIXELS, WEIGHTS, coloured, linear_map, signed_picture, whole


def test_maps_are_put_together_from_their_patches() -> None:
    small = bcos()
    one = small.model.explain(small.inputs[:1])
    each, weights = whole(one, PIXELS), whole(one, WEIGHTS)
    assert each.shape == (1, 12, 10) and weights.shape == (6, 12, 10)
    with torch.no_grad():
        evidence = small.model.evidence(small.inputs[:1])
        towards = torch.nn.functional.one_hot(one.target, 3).float()
        expected = small.model.dynamic_weights(evidence, towards)[0][0]
    torch.testing.assert_close(weights, expected)
    total = one.bias + each.sum()  # of the score itself, the reference of this model
    torch.testing.assert_close(total, one.score, rtol=1e-5, atol=1e-5)


def test_the_page_has_both_pictures_and_other_models_none() -> None:
    small = bcos()
    one = small.model.explain(small.inputs[:1])
    text = linear_map(prepare(one, 0, 3))
    assert len(re.findall("data:image/png;base64", text)) == 2 and "class='grey'" not in text
    assert one.target_names[0] in text
    assert "times the pixels, with the bias, are the score" in text
    other = bcos("transformer").model.explain(small.inputs[:1])
    assert "with the unit <i>position</i> and the bias, are" in linear_map(prepare(other, 0, 3))
    assert linear_map(prepare(replace(one, details={}), 0, 3)) == ""
    row = prepare(one, 0, 3)
    corners = [[int(n) for n in term.unit.name.removeprefix("patch at ").split(", ")] for term in row.terms]
    assert row.boxes == [[top, left, min(top + 4, 12), min(left + 4, 10)] for top, left in corners]
    assert "Boxes are the pixels of a unit." in page(one, ["input"])
    plain = one.to_dict()[0]
    assert not {WEIGHTS, PIXELS} & plain["evidence"][0].keys()


def test_signs_and_colours() -> None:
    values = torch.zeros(20, 20)
    values[3, 4], values[5, 6] = 2.0, -2.0
    shown = signed_picture(values)
    blue, orange = shown[3, 4].tolist(), shown[5, 6].tolist()
    assert blue[2] > blue[0] and orange[0] > orange[2] and blue[3] == orange[3] == 255 and shown[0, 0, 3] == 0
    weights = torch.zeros(6, 20, 20)
    weights[0, 3, 4] = 1.0  # red
    weights[3:, 5, 6] = 1.0  # of the inverses: black
    weights[1, 9, 9] = -1.0
    contributions = torch.where(torch.arange(20) < 18, 1.0, -1.0).expand(20, 20)
    drawn = coloured(weights, contributions)
    assert drawn[3, 4].tolist() == [255, 0, 0, 255] and drawn[5, 6, :3].tolist() == [0, 0, 0]
    opposing = coloured(weights, -torch.ones(20, 20))
    assert (opposing[..., 3] == 0).all()
