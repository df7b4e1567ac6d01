"""Drawing curves: points where they belong, names escaped, axes around all values."""

from xml.etree import ElementTree

import pytest

from zoo.views.curves import COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, Line, curves_page, svg

SPACE = "{http://www.w3.org/2000/svg}"


def points(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.get("points", "").split() for line in drawing.iter(f"{SPACE}polyline")]
    return [[(float(p.split(",")[0]), float(p.split(",")[1])) for p in line] for line in lines]


def test_points_are_to_scale() -> None:
    drawing = ElementTree.fromstring(
        svg({"a": [Line("one", [0.0, 0.5, 1.0])], "b": [Line("one", [0.5, 0.5, 0.25])]}, "x", "y")
    )
    (first, second) = points(drawing)
    assert first[0][0] == LEFT and first[2][0] == WIDTH - RIGHT and first[1][0] == (LEFT + WIDTH - RIGHT) / 2
    assert first[0][1] - first[1][1] == pytest.approx(first[1][1] - first[2][1], abs=0.11)
    assert second[0][1] == first[1][1]  # both panels have one scale
    assert second[2][1] == pytest.approx((first[0][1] + first[1][1]) / 2, abs=0.11)
    assert drawing.get("viewBox") == f"0 0 {WIDTH} {2 * HEIGHT}"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.942, 0.991), (0.5, 0.5), (1.0, 1.0), (0.0, 0.0), (0.29, 0.3)])
def test_axis_holds_all_values(low: float, high: float) -> None:
    drawing = ElementTree.fromstring(svg({"a": [Line("one", [low, high])]}, "x", "y"))
    ticks = [float(t.text[:-2]) / 100 for t in drawing.iter(f"{SPACE}text") if t.text and t.text.endswith(" %")]
    assert 2 <= len(ticks) <= 9 and ticks == sorted(ticks)
    assert ticks[0] <= low + 1e-9 and high <= ticks[-1] + 1e-9


def test_spread_is_a_band_around_the_line() -> None:
    drawing = ElementTree.fromstring(
        svg({"a": [Line("one", [0.2, 0.6], [0.1, 0.0]), Line("two", [0.0, 1.0])]}, "x", "y")
    )
    (band,) = drawing.iter(f"{SPACE}polygon")
    heights = [float(p.split(",")[1]) for p in band.get("points", "").split()]
    line = points(drawing)[0]
    assert heights[0] < line[0][1] < heights[3] and heights[1] == heights[2] == line[1][1]


def test_many_lines_differ() -> None:
    lines = [Line(f"line {i}", [0.1, 0.2]) for i in range(2 * len(COLOURS))]
    drawing = ElementTree.fromstring(svg({"a": lines}, "x", "y"))
    looks = {(e.get("stroke"), e.get("stroke-dasharray")) for e in drawing.iter(f"{SPACE}polyline")}
    assert len(looks) == len(lines)


def test_names_are_escaped() -> None:
    drawing = svg({"<b>": [Line("a & <c>", [0.0, 1.0])]}, "'x'", '"y"')
    texts = {t.text for t in ElementTree.fromstring(drawing).iter(f"{SPACE}text")}
    assert {"<b>", "a & <c>", "'x'", '"y"'} <= texts
    page = curves_page("<t>", drawing, "a < b", ("<h>",), [("<r>", "<d>")])
    assert not any(f"<{name}>" in page for name in ("t", "h", "r", "d"))


@pytest.mark.parametrize("panels", [{}, {"a": []}, {"a": [Line("one", [0.5])]}])
def test_nothing_to_draw(panels: dict[str, list[Line]]) -> None:
    with pytest.raises(ValueError, match="there is nothing to draw"):
        svg(panels, "x", "y")
