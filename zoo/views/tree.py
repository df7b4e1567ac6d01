"""A whole decision tree as one drawing, from left to right: questions with their pictures, leaves with their class."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from zoo.core.evidence import Unit
from zoo.views.pictures import data_uri, framed, image_element

STEP, ROW, SIDE = 104, 36, 42  # of levels and leaves, and of a picture, in pixels
LOOK = (
    ".zoo .tree{overflow:auto;max-height:80vh;border-top:1px solid var(--line)}.zoo .tree>svg{display:block}"
    ".zoo .tree text{fill:var(--ink);font-size:12px;dominant-baseline:central}.zoo .tree .soft{fill:var(--soft);"
    "font-size:10px;text-anchor:middle}.zoo .tree path{fill:none;stroke:var(--up);stroke-width:1.6px}"
    ".zoo .tree .absent{stroke:var(--down);stroke-dasharray:5 4}"
)
Branch = Mapping[str, Any]


def tree(root: Branch, units: Sequence[Unit], classes: Sequence[str]) -> str:
    """A tree that scrolls; solid blue lines lead to "present", dashed orange ones to "absent".

    Args:
        root: a question {"unit": number, "absent": below, "present": below}, or a leaf {"class": number,
            "probability": in [0, 1]}.
        units: what the questions ask for.
        classes: their names.
    """
    branches = list(_places(root, 0, [0]))
    place = {id(branch): (level, row) for branch, level, row in branches}
    leaves, depth = sum("class" in branch for branch, *_ in branches), max(level for _, level, _ in branches)
    longest = max(len(name) for name in classes)
    width, height = depth * STEP + 60 + 8 * longest, max(leaves * ROW, SIDE) + 46
    drawn = "".join(_draw(branch, level, row, place, units, classes) for branch, level, row in branches)
    label = f"tree of {len(branches) - leaves} questions and {leaves} leaves"
    return (
        "<p class='note'>From left to right. Solid: the prototype is present; dashed: it is absent. A leaf tells its "
        "likeliest class and its probability.</p>"
        f"<div class='tree' tabindex='0' role='group' aria-label='{label}'>"
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}'>{drawn}</svg></div>"
    )


def _places(branch: Branch, level: int, next_row: list[int]) -> Iterator[tuple[Branch, int, float]]:
    """Every branch with its level and row, what is below before it; a question lies between its two sides."""
    if "class" in branch:
        next_row[0] += 1
        yield branch, level, next_row[0] - 1
        return
    rows = []
    for side in ("absent", "present"):
        below = list(_places(branch[side], level + 1, next_row))
        rows.append(below[-1][2])
        yield from below
    yield branch, level, sum(rows) / 2


def _draw(
    branch: Branch,
    level: int,
    row: float,
    place: Mapping[int, tuple[int, float]],
    units: Sequence[Unit],
    classes: Sequence[str],
) -> str:
    x, y = level * STEP + 8, row * ROW + 30
    if "class" in branch:
        name = escape(str(classes[branch["class"]]))
        return f"<text x='{x + 6:.5g}' y='{y:.5g}'>{name} {branch['probability']:.2f}</text>"
    unit, lines = units[branch["unit"]], []
    for side in ("absent", "present"):
        across, down = place[id(branch[side])]
        a, b, end, half = x + SIDE, across * STEP + 8, down * ROW + 30, STEP / 3
        lines.append(f"<path class='{side}' d='M{a},{y:.5g}C{a + half:.5g},{y:.5g} {b - half:.5g},{end} {b},{end}'/>")
    middle, top = x + SIDE / 2, y - SIDE / 2
    caption = f"<text class='soft' x='{middle}' y='{top - 7:.5g}'>{escape(unit.name)}</text>"
    return "".join(lines) + caption + _picture(unit, x, top)


def _picture(unit: Unit, x: float, y: float) -> str:
    """The unit's picture, or an empty square."""
    square = f"x='{x:.5g}' y='{y:.5g}' width='{SIDE}' height='{SIDE}'"
    if unit.picture is None:
        return f"<rect {square} rx='6' fill='var(--line)'/>"
    height, width = unit.picture.shape[1:]
    view = unit.source.get("region") or [0, 0, height, width]
    image = image_element(data_uri(unit.picture), (view[2] - view[0], view[3] - view[1]))
    moved = f"<g transform='translate({view[1]} {view[0]})'>{image}</g>"
    label = escape(f"what {unit.name} looks like", quote=True)
    return f"<svg {square}>{framed(moved, view, unit.source.get('box'), label)}</svg>"
