"""Matched points: the input and an exemplar side by side, with a line for each pair."""

from zoo.core.explanation import Term
from zoo.views.markup import escape
from zoo.views.pictures import data_uri
from zoo.views.row import Row

QUERY, EXEMPLAR = "query cell", "exemplar cell"  # details (B, K, P) that define pairs; -1 for none
SIDE, GAP = 100, 8
COLOURS = ("#e8590c", "#1c7ed6", "#2f9e44", "#e64980", "#f2c200", "#7048e8", "#0ca5b8", "#a05a2c", "#d0d4da", "#111418")


def matched(row: Row, term: Term) -> str:
    """A figure of the matched points of one unit; empty without pairs or pictures."""
    details, support, unit = row.explanation.details, row.explanation.support, term.unit
    if not {QUERY, EXEMPLAR} <= details.keys() or unit.picture is None or support is None or not row.uri:
        return ""
    columns = support.shape[-1]
    cells = (details[name][0, term.index].tolist() for name in (QUERY, EXEMPLAR))
    pairs = [(int(a), int(b)) for a, b in zip(*cells, strict=True) if a >= 0 and b >= 0]
    if not pairs:
        return ""
    rows = support.shape[-2]
    height, width = row.size
    lines = ""
    for i, (query, place) in enumerate(pairs):
        (x, y), (u, v) = (_centre(cell, rows, columns) for cell in (query, place))
        u += SIDE + GAP
        colour = COLOURS[i % len(COLOURS)]
        ends = "".join(f"<circle cx='{a:.1f}' cy='{b:.1f}' r='2.6' fill='{colour}'/>" for a, b in ((x, y), (u, v)))
        line = f"x1='{x:.1f}' y1='{y:.1f}' x2='{u:.1f}' y2='{v:.1f}'"
        lines += f"<line class='under' {line}/><line {line} stroke='{colour}'/>{ends}"
    input_ = f"<use href='#input{row.key}' transform='scale({SIDE / width:.5g} {SIDE / height:.5g})'/>"
    size = f"x='{SIDE + GAP}' width='{SIDE}' height='{SIDE}' preserveAspectRatio='none'"
    other = f"<image href='{data_uri(unit.picture)}' {size}/>"
    label = escape(f"{len(pairs)} points of the input matched with {unit.name}")
    drawn = (
        f"<svg class='picture matches' viewBox='0 0 {2 * SIDE + GAP} {SIDE}' role='img' aria-label='{label}'>"
        f"{input_}{other}{lines}</svg>"
    )
    return (
        f"<figure class='wide'>{drawn}<figcaption>matched points: input (left), exemplar (right)</figcaption></figure>"
    )


def _centre(cell: int, rows: int, columns: int) -> tuple[float, float]:
    """The centre of a cell, numbered row by row, in a square of SIDE."""
    return (cell % columns + 0.5) * SIDE / columns, (cell // columns + 0.5) * SIDE / rows
