"""Motifs and patterns on pages: drawn at their steps and values, beside the series that they come from."""

import re
from dataclasses import replace

import pytest
import torch

from tests.small_models import SERIES, build
from zoo.core.evidence import Unit
from zoo.views.cards import prepare
from zoo.views.html import page
from zoo.views.motifs import lines_of, source_of
from zoo.views.series import MARGIN, TALL, WIDTH
from zoo.views.vocabulary import vocabulary_page

LINE = r"<g class='{}'><polyline vector-effect='non-scaling-stroke' points='([^']+)'/></g>"


def lines(figure: str, kind: str) -> list[list[tuple[float, float]]]:
    """The points of the lines of a kind."""
    found = re.findall(LINE.format(kind), figure)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found]  # pyright: ignore


def steps_of(line: list[tuple[float, float]], total: int) -> list[float]:
    return [(x - MARGIN) / WIDTH * total - 0.5 for x, _ in line]


@pytest.mark.parametrize("kind", ["shape", "value"])
def test_a_motif_lies_over_its_match_and_in_its_source(kind: str) -> None:
    domain = replace(SERIES, mean=(10.0, -3.0), std=(2.0, 5.0))
    small = build("shapelets", domain=domain, mining={"per_class": 2, "lengths": [4], "kinds": [kind]})
    x = small.inputs[:1]
    one = small.model.explain(x)
    row = prepare(one, 0, 6)
    for term in row.terms:
        motif = term.unit.source["motif"]
        figures = lines_of(row, term)
        (series, source), (match, own) = lines(figures, "under"), lines(figures, "motif")
        start = int(one.details["from step"][0, term.index])
        assert steps_of(match, 11) == pytest.approx(range(start, start + 4), abs=0.01)
        assert steps_of(own, 11) == pytest.approx(range(motif["start"], motif["start"] + 4), abs=0.01)
        assert own == source[motif["start"] : motif["start"] + 4]  # it is a part of the source
        assert f"steps {start} to {start + 3}" in figures and f"of <bdi>{motif['series']}</bdi>" in figures
        values = domain.values(x[0])[:, motif["variable"]]
        shown = torch.tensor(motif["values"])[motif["start"] : motif["start"] + 4]
        if kind == "shape":
            here = values[start : start + 4]
            shown = (shown - shown.mean()) / shown.std() * here.std() + here.mean()
        low, high = torch.cat([values, shown]).aminmax()
        expected = [2 + (TALL - 4) * (1 - (v - low) / (high - low)) for v in shown]
        assert [y for _, y in match] == pytest.approx([float(y) for y in expected], abs=0.02)
        assert [x for x, _ in series] == [x for x, _ in source]
        assert ("scaled to it" in figures) == (kind == "shape")


def test_pages_show_motifs_and_patterns() -> None:
    for name, figure in (("shapelets", "motif over its best match"), ("code_counts", "training series, and decoded")):
        small = build(name)
        shown = page(small.model.explain(small.inputs[:2]), ["first", "second"])
        assert figure in shown
        units = vocabulary_page("vocabulary", small.model.units(), small.model.domain)
        assert units.count("class='motif'") == sum(bool(unit.source) for unit in small.model.units())


def test_the_shape_of_a_pattern() -> None:
    pattern = {"median": [0.0, 2.0, 4.0], "decoded": [1.0, 1.0, 1.0], "series": 7, "windows": 1234}
    figure = source_of(Unit("pattern <1>", "code", source={"pattern": pattern}), SERIES)
    (median,), (decoded,) = lines(figure, "motif"), lines(figure, "decoded")
    assert steps_of(median, 3) == pytest.approx([0, 1, 2], abs=0.01)
    assert [y for _, y in median] == pytest.approx([TALL - 2, TALL / 2, 2]) and len({y for _, y in decoded}) == 1
    assert "7 training series" in figure and "1,234 training windows" in figure and "pattern &lt;1&gt;" in figure


def test_other_units_have_no_lines() -> None:
    assert source_of(Unit("plain", "concept"), SERIES) == ""
    small = build("attention_pool", "series")
    row = prepare(small.model.explain(small.inputs[:1]), 0, 2)
    assert lines_of(row, row.terms[0]) == ""
