"""Time series as SVG: a line for each variable, the support of a unit, and the part that a group sees."""

import math

import torch
from torch import Tensor

from zoo.domain import SeriesDomain
from zoo.views.markup import escape

WIDTH, MARGIN, GAP, AXIS = 480, 84, 6, 18  # of the lines, of the names left of them, between two, of the time axis
TALL, LOW, FEW = 84, 40, 3  # height of a line for up to FEW variables, and for more
NAME = 11  # characters of a variable's name
TICKS = 6  # largest number of ticks on the time axis
LEVELS = 8  # of shading


def plot(values: Tensor, domain: SeriesDomain, label: str, identity: str) -> str:
    """The variables of a series over time, one above the other, each on its own scale.

    Args:
        values: (T, V), raw.
        domain: of the series.
        label: alternative text; already escaped.
        identity: element id of the lines, unique on the page; see `part`.
    """
    height, below = _heights(domain)
    lines = names = ""
    for v, name in enumerate(domain.variables):
        top = v * (height + GAP)
        low, high = float(values[:, v].min()), float(values[:, v].max())
        place = points(values[:, v], low, high, top + 2, height - 4)
        lines += (
            f"<polyline vector-effect='non-scaling-stroke' points='{place}'/>"  # CSS rules do not apply inside <use>
        )
        names += _name(name, top, height) + (
            f"<text class='range' x='{MARGIN - 3}' y='{top + 9}'>{_short(high)}</text>"
            f"<text class='range' x='{MARGIN - 3}' y='{top + height - 1}'>{_short(low)}</text>"
        )
    axis = time_axis(domain.length, domain.step, domain.unit, below)
    return drawing(f"{names}{axis}<g id='{identity}'>{lines}</g>", below, label)


def part(support: Tensor, domain: SeriesDomain, label: str, identity: str, cut: str = "", patch: int = 0) -> str:
    """The lines that `plot` drew on the same page, with the support of a unit.

    Args:
        support: (T',) or (T', V) in [0, 1], drawn as shades behind the lines.
        domain: of the series.
        label: alternative text; already escaped.
        identity: element id of the lines, as given to `plot`.
        cut: for a unit that sees only its support: element id, unique on the page, of a clip path that fades everything
            else instead of shades.
        patch: steps per cell, fewer in the last one; by default T / T', rounded up.
    """
    height, below = _heights(domain)
    names = "".join(_name(name, v * (height + GAP), height) for v, name in enumerate(domain.variables))
    lines = f"<use href='#{identity}'/>"
    size = patch or math.ceil(domain.length / len(support))
    if cut:
        path = _cells(support > 0, domain, size)
        shown = (
            f"<clipPath id='{cut}'><path d='{path}'/></clipPath><g class='faded'>{lines}</g>"
            f"<g clip-path='url(#{cut})'>{lines}</g>"
        )
    else:
        level = (support * LEVELS).round()
        shades = ""
        for i in range(1, LEVELS + 1):
            if path := _cells(level == i, domain, size):
                shades += f"<path class='fires' opacity='{0.6 * i / LEVELS:.3g}' d='{path}'/>"
        shown = shades + lines
    return drawing(f"{names}{time_axis(domain.length, domain.step, domain.unit, below)}{shown}", below, label)


def drawing(content: str, below: int, label: str) -> str:
    """An SVG as wide as a line and its name, and as high as `below` and the time axis."""
    return f"<svg viewBox='0 0 {MARGIN + WIDTH} {below + AXIS}' role='img' aria-label='{label}'>{content}</svg>"


def _heights(domain: SeriesDomain) -> tuple[int, int]:
    """Height of one line, and of all lines."""
    height = TALL if len(domain.variables) <= FEW else LOW
    return height, len(domain.variables) * (height + GAP)


def _name(name: str, top: int, height: int) -> str:
    short = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
    bottom = top + height
    return (
        f"<line x1='{MARGIN}' x2='{MARGIN + WIDTH}' y1='{bottom}' y2='{bottom}'/>"
        f"<text y='{top + height // 2 + 5}'>{escape(short)}<title>{escape(name)}</title></text>"
    )


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "\u2212")


def time_axis(length: int, step: float, unit: str, below: int) -> str:
    """Ticks at round times, and the unit of time.

    Args:
        length: number of steps.
        step: time between two of them.
        unit: of time.
        below: y coordinate of its top.
    """
    across, whole = WIDTH / length, (length - 1) * step
    least = max(whole / (TICKS - 1), step)
    power = 10.0 ** math.floor(math.log10(least))
    apart = next(power * round_number for round_number in (1, 2, 5, 10) if power * round_number >= least * (1 - 1e-9))
    ticks = ""
    for i in range(int(whole / apart + 1e-9) + 1):
        x = MARGIN + (i * apart / step + 0.5) * across
        ticks += f"<text class='tick' x='{x:.4g}' y='{below + 10}'>{i * apart:.6g}</text>"
    return f"<text y='{below + 10}'>{escape(unit)}</text>{ticks}"


def points(
    line: Tensor, low: float, high: float, top: int, height: int, start: int = 0, total: int | None = None
) -> str:
    """Points of an SVG polyline; for long series the minimum and maximum of each pixel column.

    Args:
        line: (n,) values.
        low: value at the bottom.
        high: value at the top.
        top: y coordinate of the top.
        height: of the drawing.
        start: step of the first value.
        total: steps that are as wide as the drawing; by default n.
    """
    steps = torch.arange(len(line))
    if (each := (total or len(line)) // WIDTH) > 1 and len(line) >= each:
        rows = line[: len(line) // each * each].view(-1, each)
        ends = torch.stack([rows.argmin(1), rows.argmax(1)], 1) + torch.arange(len(rows))[:, None] * each
        steps = torch.cat([ends.flatten(), steps[len(rows) * each :]]).unique()
    across, scale = WIDTH / (total or len(line)), height / ((high - low) or 1.0)
    x = MARGIN + (steps + start + 0.5) * across
    y = top + height - (line[steps] - low) * scale
    return " ".join(f"{a:.5g},{b:.4g}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _cells(chosen: Tensor, domain: SeriesDomain, size: int) -> str:
    """Cells (T',) or (T', V) as a path of rectangles, merged over time; (T',) covers all variables."""
    height, below = _heights(domain)
    bands = [(0, below - GAP)] if chosen.ndim == 1 else [(v * (height + GAP), height) for v in range(chosen.shape[1])]
    across, path = WIDTH / domain.length, ""
    for (top, tall), column in zip(bands, chosen.view(len(chosen), -1).T, strict=True):
        edges = torch.cat([column.new_zeros(1), column, column.new_zeros(1)]).int().diff().nonzero().flatten().tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            left, right = (min(edge * size, domain.length) * across for edge in (start, end))
            path += f"M{MARGIN + left:.5g} {top}h{right - left:.5g}v{tall}h-{right - left:.5g}z"
    return path
