"""Faithfulness metrics as a figure: each number with its interval, chance level and ideal value."""

from collections.abc import Sequence
from typing import NamedTuple

from zoo.views.curves import curves_page
from zoo.views.markup import escape

LINE, LEFT, WIDTH, RIGHT, TOP = 24, 330, 860, 90, 36
LOW, HIGH = -0.5, 1.5  # range of the axis; numbers on other scales are only in the table
COUNTS = ("n90", "effective units", "participation", "parts")
INK = (
    ".faithfulness text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1b1f24}"
    ".faithfulness .soft{fill:#5c6673}.faithfulness .grid{stroke:#dfe3e8}.faithfulness .paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){.faithfulness text{fill:#e8ebef}.faithfulness .soft{fill:#9aa5b1}"
    ".faithfulness .grid{stroke:#343b44}.faithfulness .paper{fill:#1d2228}}"
)
BETTER = {1: "higher is better", -1: "lower is better", 0: ""}
ARROWS = {1: "↑", -1: "↓", 0: ""}


class Row(NamedTuple):
    """One number: (value, low, high, chance, ideal) with the bounds of its interval, or the reason if it is missing."""

    key: str
    title: str
    name: str
    value: Sequence[float | None] | None
    direction: int
    undefined: int
    missing: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        if self.missing or self.value is None:
            return self.key, self.title, f"not applicable: {self.missing}", "", "", "", "", ""
        value, low, high, *known = (number(v) for v in self.value)
        between = f"{low} to {high}" if low != high else ""
        chance, ideal = ("" if v is None else text for v, text in zip(self.value[3:], known, strict=True))
        return self.key, self.title, self.name, value, between, chance, ideal, str(self.undefined or "")


def number(value: float | None) -> str:
    """A number with three decimals, fewer if it is large; a dash if it is undefined."""
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def faithfulness_svg(rows: Sequence[Row]) -> str:
    """A self-contained SVG: a dot with an interval for each number between -0.5 and 1.5, a diamond for chance.

    Args:
        rows: of the table; those on other scales or without a direction are omitted.
    """
    shown = [row for row in rows if _fits(row)]
    height = TOP + LINE * (len(shown) + len({row.key for row in shown})) + 34
    parts = []
    for tick in (-0.5, 0, 0.5, 1, 1.5):
        parts.append(
            f"<line class='grid' x1='{_x(tick):.1f}' x2='{_x(tick):.1f}' y1='{TOP - 8}' y2='{height - 30}'/>"
            f"<text class='soft' x='{_x(tick):.1f}' y='{height - 12}' text-anchor='middle'>{tick:g}</text>"
        )
    y, key = TOP, ""
    for row in shown:
        if row.key != key:
            key = row.key
            parts.append(f"<text x='12' y='{y + 12}' style='font-weight:600'>{escape(f'{key} {row.title}')}</text>")
            y += LINE
        parts.append(_dot(row, y + 8))
        y += LINE
    legend = "● value with 95 % interval · ◇ chance · ▏ideal"
    parts.append(f"<text class='soft' x='{LEFT}' y='16'>{legend}</text>")
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='faithfulness' viewBox='0 0 {WIDTH} {height}' role='img' "
        f"aria-label='faithfulness metrics'><style>{INK}</style>"
        f"<rect class='paper' width='{WIDTH}' height='{height}'/>{''.join(parts)}</svg>"
    )


def _x(value: float) -> float:
    """Horizontal position of a value, clipped to the axis."""
    return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(value, LOW), HIGH) - LOW) / (HIGH - LOW)


def _dot(row: Row, y: float) -> str:
    value, low, high, chance, ideal = row.value or (None,) * 5
    value, low, high = (v or 0.0 for v in (value, low, high))
    arrow = ARROWS[row.direction]
    parts = [
        f"<text x='28' y='{y + 4}'>{escape(row.name)} <tspan class='soft'>{arrow}</tspan></text>",
        f"<line x1='{_x(low):.1f}' x2='{_x(high):.1f}' y1='{y}' y2='{y}' stroke='#0072b2' stroke-width='3' "
        "stroke-opacity='.45'/>",
        f"<circle cx='{_x(value):.1f}' cy='{y}' r='5' fill='#0072b2'><title>{escape(row.name)}: {number(value)} "
        f"({number(low)} to {number(high)}; {BETTER[row.direction]})</title></circle>",
        f"<text class='soft' x='{WIDTH - RIGHT + 12}' y='{y + 4}'>{number(value)}</text>",
    ]
    if chance is not None:
        at = _x(chance)
        parts.insert(
            1,
            f"<path d='M{at - 6:.1f} {y}L{at:.1f} {y - 6}L{at + 6:.1f} {y}L{at:.1f} {y + 6}Z' fill='none' "
            "stroke='#d55e00' stroke-width='1.6'/>",
        )
    if ideal is not None:
        at = _x(ideal)
        parts.insert(
            1, f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{y - 8}' y2='{y + 8}' stroke='#009e73' stroke-width='3'/>"
        )
    return "".join(parts)


def _fits(row: Row) -> bool:
    if row.value is None or row.direction == 0 or any(v is None or v != v for v in row.value[:3]):
        return False
    value = row.value[0]
    return value is not None and LOW <= value <= HIGH and row.name not in COUNTS


def faithfulness_page(about: str, drawing: str, rows: Sequence[Row]) -> str:
    """A page with the figure and all numbers as a table."""
    header = ("metric", "number", "value", "95 % interval", "chance", "ideal", "undefined", "")
    cells = []
    for row in rows:
        key, title, name, *rest = row.cells()
        cells.append((f"{key} {title}", name, *rest, ARROWS[row.direction]))
    return curves_page("Faithfulness of the explanations", drawing, about, header, cells)
