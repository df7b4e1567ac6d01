"""A decision tree as a drawing, from left to right: nodes with their prototypes, leaves with their class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.core.evidence import Unit
from zoo.views.markup import escape
from zoo.views.pictures import unit_picture

STEP, ROW, SIDE = 104, 36, 42  # of levels and leaves, and of a picture, in pixels
LOOK = (
    ".zoo .tree{overflow:auto;max-height:80vh;border-top:1px solid var(--line)}.zoo .tree>svg{display:block}"
    ".zoo .tree text{fill:var(--ink);font-size:12px;dominant-baseline:central}.zoo .tree .soft{fill:var(--soft);"
    "font-size:10px;text-anchor:middle}.zoo .tree path{fill:none;stroke:var(--up);stroke-width:1.6px}"
    ".zoo .tree .absent{stroke:var(--down);stroke-dasharray:5 4}"
)
Branch = Mapping[str, Any]


def tree(root: Branch, units: Sequence[Unit], classes: Sequence[str]) -> str:
    """A scrollable drawing; solid blue lines lead to "present", dashed orange lines to "absent".

    Args:
        root: a node {"unit": number, "absent": child, "present": child}, or a leaf {"class": number, "probability": in
            [0, 1]}.
        units: the prototypes of the nodes.
        classes: class names.
    """
    branches = list(_places(root, 0, [0]))
    place = {id(branch): (level, row) for branch, level, row in branches}
    leaves, depth = sum("class" in branch for branch, *_ in branches), max(level for _, level, _ in branches)
    longest = max(len(name) for name in classes)
    width, height = depth * STEP + 60 + 8 * longest, max(leaves * ROW, SIDE) + 46
    drawn = "".join(_draw(branch, level, row, place, units, classes) for branch, level, row in branches)
    label = f"tree of {len(branches) - leaves} nodes and {leaves} leaves"
    return (
        "<p class='note'>Solid lines: the prototype is present; dashed lines: it is absent. Leaves show their most "
        "probable class and its probability.</p>"
        f"<div class='tree' tabindex='0' role='group' aria-label='{label}'>"
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}'>{drawn}</svg></div>"
    )


def _places(branch: Branch, level: int, next_row: list[int]) -> Iterator[tuple[Branch, int, float]]:
    """Every branch with its level and row, children first; a node lies in the middle of its two children."""
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
        name = escape(classes[int(branch["class"])])
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
    return f"<svg {square}>{unit_picture(unit, f'training patch of {unit.name}')}</svg>"
