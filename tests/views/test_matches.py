"""Drawn pairs of matched points."""

import re
from dataclasses import replace

import torch

from tests.small_models import kcc, protopnet
from zoo.views.cards import prepare
from zoo.views.html import fragment
from zoo.views.matches import matched


def test_each_keypoint_is_a_line_between_the_two_pictures() -> None:
    small = kcc(points={"keypoints": 0})
    one = small.model.explain(small.inputs)[0]
    row = prepare(one, 0, 5)
    for term in row.terms:
        count = int(one.details["keypoints"][0, term.index])
        drawn = matched(row, term)
        assert drawn.count("stroke='#") == count == drawn.count("<circle") // 2
        ends = [float(x) for x in re.findall(r"x2='([\d.]+)'", drawn)]
        assert all(108 <= x <= 208 for x in ends)  # in the exemplar, to the right of the input
    assert "matched points: input (left), exemplar (right)" in fragment(one)


def test_cells_are_drawn_where_they_are() -> None:
    small = kcc(points={"keypoints": 0})
    one = small.model.explain(small.inputs)[0]
    index = int(one.details["keypoints"][0].argmax())
    query, place = (torch.full_like(one.details[n], -1) for n in ("query cell", "exemplar cell"))
    rows, columns = one.support.shape[-2:]
    query[0, index, 0], place[0, index, 0] = 0, rows * columns - 1
    one = replace(one, details={**one.details, "query cell": query, "exemplar cell": place})
    row = prepare(one, 0, 5)
    drawn = matched(row, next(term for term in row.terms if term.index == index))
    x1, y1, x2, y2 = (float(re.search(rf"{n}='([\d.]+)'", drawn)[1]) for n in ("x1", "y1", "x2", "y2"))
    assert abs(x1 - 50 / columns) < 0.1 and abs(y1 - 50 / rows) < 0.1
    assert abs(x2 - (208 - 50 / columns)) < 0.1 and abs(y2 - (100 - 50 / rows)) < 0.1


def test_other_models_have_none() -> None:
    small = protopnet()
    row = prepare(small.model.explain(small.inputs)[0], 0, 3)
    assert matched(row, row.terms[0]) == ""
