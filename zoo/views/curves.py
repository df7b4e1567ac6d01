"""Line plots: as SVG, as a page, and as PNG if matplotlib is installed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil, floor
from pathlib import Path

from zoo.views.document import document
from zoo.views.markup import escape

# The palette of Okabe and Ito, safe for colour-blind readers; from the ninth line on it repeats with another dash.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8f98", "#b5a600")
DASHES = ("", "7 4", "2 3")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 76, 174, 40, 48
INK = (
    ".curves text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1b1f24}"
    ".curves .soft{fill:#5c6673}.curves .grid{stroke:#dfe3e8}.curves .paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){.curves text{fill:#e8ebef}.curves .soft{fill:#9aa5b1}"
    ".curves .grid{stroke:#343b44}.curves .paper{fill:#1d2228}}"
)


@dataclass(frozen=True)
class Line:
    """One curve: values at 0, 1, 2, ..., and an optional half-width of a band around them."""

    name: str
    values: Sequence[float]
    spread: Sequence[float] | None = None


def svg(panels: Mapping[str, Sequence[Line]], across: str, up: str) -> str:
    """A self-contained SVG: a panel under each title, all with the same scale.

    Args:
        panels: the lines of each panel, with at least two values per line, in [0, 1].
        across: label of the x-axis.
        up: label of the y-axis, which is in per cent.

    Raises:
        ValueError: no line, or a line with fewer than two values.
    """
    every = [line for lines in panels.values() for line in lines]
    if not every or min(len(line.values) for line in every) < 2:
        raise ValueError("expected at least one line, and at least two values per line; there is nothing to draw.")
    ticks = _ticks([value for line in every for value in line.values])
    names = list(dict.fromkeys(line.name for line in every))
    drawn = "".join(
        f"<g transform='translate(0 {HEIGHT * i})'>{_panel(title, lines, names, ticks, across, up)}</g>"
        for i, (title, lines) in enumerate(panels.items())
    )
    height = HEIGHT * len(panels)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='curves' viewBox='0 0 {WIDTH} {height}' role='img' "
        f"aria-label='{escape(up)} by {escape(across)}'><style>{INK}</style>"
        f"<rect class='paper' width='{WIDTH}' height='{height}'/>{drawn}</svg>"
    )


def curves_page(title: str, drawing: str, about: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A page with the drawing and its numbers as a table, for accessibility."""
    cells = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in header)
    style = (
        ".zoo .wide{max-width:none}.zoo .wide th[scope=col]{text-align:right;color:var(--soft)}"
        ".zoo .wide th[scope=col]:first-child{text-align:left}.zoo .scroll{overflow-x:auto}"
    )
    body = (
        f"<h1>{escape(title)}</h1><article><p class='note'>{escape(about)}</p>{drawing}"
        f"<div class='scroll'><table class='wide'><tr>{heads}</tr>{cells}</table></div></article>"
    )
    return document(title, body, style)


def save_png(panels: Mapping[str, Sequence[Line]], across: str, up: str, path: Path) -> bool:
    """Draws the same plot with matplotlib; returns False without writing if it is not installed (the extra `plot`)."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.4 * len(panels)), layout="constrained")
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    for axes, (title, lines) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for line in lines:
            place, x = names.index(line.name), range(len(line.values))
            dash = ("-", "--", ":")[place // len(COLOURS) % len(DASHES)]
            colour = COLOURS[place % len(COLOURS)]
            axes.plot(x, [100 * v for v in line.values], dash, color=colour, label=line.name)
            if line.spread is not None:
                edges = [
                    [100 * (v + side * s) for v, s in zip(line.values, line.spread, strict=True)] for side in (-1, 1)
                ]
                axes.fill_between(x, *edges, color=colour, alpha=0.18, linewidth=0)
        axes.set(title=title, xlabel=across, ylabel=f"{up} (%)")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    return True


def _panel(title: str, lines: Sequence[Line], names: list[str], ticks: list[float], across: str, up: str) -> str:
    last, low, high = max(len(line.values) for line in lines) - 1, ticks[0], ticks[-1]
    x = lambda i: LEFT + (WIDTH - LEFT - RIGHT) * i / last  # noqa: E731
    y = lambda v: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (min(max(v, low), high) - low) / (high - low)  # noqa: E731
    parts = [f"<text x='{LEFT}' y='22' font-weight='600' style='font-weight:600'>{escape(title)}</text>"]
    for tick in ticks:
        at = y(tick)
        parts.append(
            f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>"
            f"<text class='soft' x='{LEFT - 8}' y='{at + 4:.1f}' text-anchor='end'>{100 * tick:.4g} %</text>"
        )
    for i in range(0, last + 1, max(1, ceil(last / 8))):
        parts.append(f"<text class='soft' x='{x(i):.1f}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{i}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text class='soft' x='{middle}' y='{HEIGHT - 10}' text-anchor='middle'>{escape(across)}</text>")
    upright = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f"<text class='soft' text-anchor='middle' transform='translate(14 {upright}) rotate(-90)'>{escape(up)}</text>"
    )
    for place, line in enumerate(lines):
        colour, dash = _look(names.index(line.name))
        if line.spread is not None:
            upper = [(i, v + s) for i, (v, s) in enumerate(zip(line.values, line.spread, strict=True))]
            lower = [(i, v - s) for i, (v, s) in enumerate(zip(line.values, line.spread, strict=True))]
            around = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in [*upper, *reversed(lower)])
            parts.append(f"<polygon points='{around}' fill='{colour}' opacity='.18'/>")
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line.values))
        stroke = f"stroke='{colour}' stroke-width='2' stroke-dasharray='{dash}'"
        key = TOP + 12 + 20 * place
        parts.append(
            f"<polyline points='{points}' fill='none' {stroke} stroke-linejoin='round'>"
            f"<title>{escape(line.name)}</title></polyline>"
            f"<line x1='{WIDTH - RIGHT + 14}' x2='{WIDTH - RIGHT + 40}' y1='{key}' y2='{key}' {stroke}/>"
            f"<text x='{WIDTH - RIGHT + 46}' y='{key + 4}'>{escape(line.name)}</text>"
        )
    return "".join(parts)


def _ticks(values: Sequence[float]) -> list[float]:
    """Round values that enclose all given ones, at most nine."""
    low, high = min(values), max(values)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        first, last = floor(round(low / step, 6)), max(ceil(round(high / step, 6)), floor(round(low / step, 6)) + 1)
        if last - first <= 8:
            break
    return [i * step for i in range(first, last + 1)]


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
