"""The terms of a law over time as SVG: what each adds to the value, on one scale, and their sum."""

from torch import Tensor

from zoo.domain import SeriesDomain
from zoo.views.markup import escape
from zoo.views.row import Row
from zoo.views.series import MARGIN, WIDTH, drawing, points, time_axis
from zoo.views.sums import decimals, number

COURSE = "course"  # detail (B, K, T): what each unit adds to the value at the end of each step
TALL, LOW, GAP = 110, 44, 8  # height of the sum, of a term, and of the space below each
LOOK = ".zoo .law .whole{fill:none;stroke:var(--ink)}.zoo .law .ends{font-size:10px}.zoo .law{max-width:860px}"


def law(row: Row) -> str:
    """The courses of the terms; empty if the explanation has none."""
    one = row.explanation
    domain = one.domain
    if COURSE not in one.details or not isinstance(domain, SeriesDomain):
        return ""
    course = one.details[COURSE][0].cpu().double()
    shown = [k for k in range(len(one.units)) if bool(course[k].any())]
    whole = course.sum(0)
    low, high = min(0.0, float(course[shown].min())), max(0.0, float(course[shown].max()))
    digits = decimals([float(course.abs().max())])
    value = escape(domain.classes[0])
    parts = _line(whole, float(whole.min()), float(whole.max()), 0, TALL, domain.classes[0], digits, "whole")
    for i, k in enumerate(shown):
        top = TALL + GAP + i * (LOW + GAP)
        parts += _line(course[k], low, high, top, LOW, one.units[k].name, digits, "")
    below = TALL + GAP + len(shown) * (LOW + GAP)
    axis = time_axis(domain.length, domain.step, domain.unit, below)
    chart = drawing(parts + axis, below, escape(f"{domain.classes[0]} over time, and the terms that add up to it"))
    return (
        f"<h3>The law, solved</h3><p class='note'>Top: <bdi>{value}</bdi>, as the law gives it from the first step "
        "and the drives alone. Below, on one scale: what each term adds to it; they always add up to the top line. "
        f"At the end it is {number(float(whole[-1]), digits)}.</p><figure class='series law'>{chart}</figure>"
    )


def _line(line: Tensor, low: float, high: float, top: int, height: int, name: str, digits: int, kind: str) -> str:
    """A line with its name, the ends of its scale, and its last value."""
    short = name if len(name) <= 22 else f"{name[:21]}…"
    base = top + height
    return (
        f"<line x1='{MARGIN}' x2='{MARGIN + WIDTH}' y1='{base}' y2='{base}'/>"
        f"<g><polyline class='{kind}' vector-effect='non-scaling-stroke' "
        f"points='{points(line, low, high, top + 4, height - 6)}'/></g>"
        f"<text class='ends' x='{MARGIN + 4}' y='{top + 10}'>{escape(short)}: "
        f"{number(float(line[-1]), digits)} at the end<title>{escape(name)}</title></text>"
        f"<text class='range' x='{MARGIN - 3}' y='{top + 10}'>{number(high, min(digits, 3))}</text>"
        f"<text class='range' x='{MARGIN - 3}' y='{base - 1}'>{number(low, min(digits, 3))}</text>"
    )
