"""Series over time as SVG: a line for each variable, and of a group only what it saw."""

from collections.abc import Sequence
from html import escape

from torch import Tensor

WIDTH, MARGIN, GAP = 480, 84, 6  # of the drawing, of the names left of it, between two lines
TALL, LOW = 84, 40  # height of a line, and of one among many
NAME = 12  # letters of a variable's name that fit the margin


def plot(values: Tensor, names: Sequence[str], label: str, shown: Tensor | None = None, identity: str = "") -> str:
    """The lines of a series, one above the other, each on the scale of its own values.

    Args:
        values: (T, V).
        names: of the V variables.
        label: read aloud in place of the picture; already escaped.
        shown: (T', V) above 0 where a group saw the variable; all else is faded. None for the whole.
        identity: of the clip path, unique on the page; needed with `shown`.
    """
    height = TALL if len(names) <= 3 else LOW
    panels = ""
    for v, name in enumerate(names):
        seen = None if shown is None else shown[:, v]
        panels += _panel(values[:, v], name, v * (height + GAP), height, seen, f"{identity}-{v}")
    below = len(names) * (height + GAP) + 12
    ticks = (
        f"<text x='{MARGIN}' y='{below}'>0</text>"
        f"<text x='{MARGIN + WIDTH}' y='{below}' text-anchor='end'>step {len(values)}</text>"
    )
    return f"<svg viewBox='0 0 {MARGIN + WIDTH} {below + 6}' role='img' aria-label='{label}'>{panels}{ticks}</svg>"


def _panel(line: Tensor, name: str, top: int, height: int, shown: Tensor | None, identity: str) -> str:
    low, high = float(line.min()), float(line.max())
    scale = (height - 4) / ((high - low) or 1.0)
    across = WIDTH / max(len(line) - 1, 1)
    points = " ".join(
        f"{MARGIN + i * across:.5g},{top + height - 2 - (value - low) * scale:.4g}"
        for i, value in enumerate(line.tolist())
    )
    bottom = top + height
    short = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
    frame = (
        f"<line x1='{MARGIN}' x2='{MARGIN + WIDTH}' y1='{bottom}' y2='{bottom}'/>"
        f"<text y='{top + height // 2 + 5}'>{escape(short)}<title>{escape(name)}</title></text>"
    )
    drawn = f"<polyline points='{points}'/>"
    if shown is None:
        return frame + drawn
    cell = WIDTH / len(shown)
    cells = "".join(
        f"M{MARGIN + i * cell:.5g} {top}h{cell:.5g}v{height}h-{cell:.5g}z" for i, s in enumerate(shown.tolist()) if s
    )
    clip = f"<clipPath id='{identity}'><path d='{cells}'/></clipPath>"
    return f"{frame}{clip}<g class='faded'>{drawn}</g><g clip-path='url(#{identity})'>{drawn}</g>"
