"""An explanation as a table of text, for a terminal."""

from textwrap import wrap
from unicodedata import category, combining, east_asian_width

from zoo.core.explanation import Explanation, Term
from zoo.domain import TableDomain
from zoo.utils.printable import printable
from zoo.views.naming import name_of
from zoo.views.sums import decimals, fixed, known_of, printed_sum, weight_of

TOTALS = {"zero": "score", "mean": "score - mean", "runner-up": "margin"}
COLUMNS, CELL, LINE = 16, 48, 98  # of a row: columns that are listed, letters of each, and letters of a line


def table(explanation: Explanation, top: int = 8) -> str:
    """One block per row: the prediction, its largest terms by name, and the sum.

    Args:
        explanation: of B inputs.
        top: number of units to list for each.
    """
    return "\n\n".join(_block(one, top) for one in explanation)


def _block(one: Explanation, top: int) -> str:
    rows, digits = (_ranking if one.contributions is None else _addition)(one, top)
    share = "" if one.probability is None else f", probability {one.probability.item():.1%}"
    head = f"{printable(one.target_names[0])}: {one.space} {fixed(one.score.item(), digits)}{share}"
    raw = [f"  {line}" for line in _raw_values(one)]
    statement = [f"  {printable(one.statements[0])}"] if one.statements and one.statements[0] else []
    warnings = [f"  warning: {printable(text)}" for text in (one.warnings[0] if one.warnings else ())]
    by = "effect on the score" if "absent" in one.details else "activation"
    versus = [] if one.reference == "zero" else [f"  {printable(one.explained[0])}:"]
    note = [] if one.contributions is not None else [f"  (this model is not additive; units are ranked by {by})"]
    return "\n".join([head, *raw, *warnings, *statement, *versus, *_aligned(rows), *note])


def _raw_values(one: Explanation) -> list[str]:
    """The raw columns of a row of a table, in lines."""
    if not isinstance(one.domain, TableDomain) or one.inputs is None:
        return []
    cells = list(one.domain.cells(one.inputs[0]).items())
    more = [f"and {len(cells) - COLUMNS} more columns"] if len(cells) > COLUMNS else []
    shown = [printable(f"{name} = {value}") for name, value in cells[:COLUMNS]]
    cut = [text if len(text) <= CELL else f"{text[: CELL - 1]}…" for text in shown]
    return wrap(", ".join(cut + more), LINE, break_long_words=False, break_on_hyphens=False)


def _addition(one: Explanation, top: int) -> tuple[list[tuple[str, ...]], int]:
    total = printed_sum(one, top)
    digits = total.digits
    head, middle = _middle(one, total.terms)
    rows: list[tuple[str, ...]] = [("unit", *head, "contribution")]
    for term, cells, contribution in zip(total.terms, middle, total.shown, strict=True):
        rows.append((printable(name_of(term, one)), *cells, fixed(contribution, digits, "+")))
    blank = ("",) * len(head)
    if total.others or total.rest:
        rows.append((_others(total.others), *blank, fixed(total.rest, digits, "+")))
    rows.append(("bias", *blank, fixed(total.bias, digits, "+")))
    rows.append((TOTALS[one.reference], *blank, fixed(total.score, digits, "+")))
    return rows, digits


def _middle(one: Explanation, terms: list[Term]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and cells between name and contribution: scores if absent and present for concepts, else the weight."""
    fine = decimals(term.activation for term in terms)
    if "absent" in one.details:
        rows = []
        digits = decimals([one.score.item()])
        for term in terms:
            known = known_of(term, one)
            first = fixed(term.activation, fine) if known.probability is None else f"{known.probability:.1%}"
            rows.append((first, fixed(known.absent or 0.0, digits), fixed(known.present or 0.0, digits)))
        return ("probability" if "probability" in one.details else "activation", "if absent", "if present"), rows
    weights = [weight_of(term, one) for term in terms]
    digits = decimals(w for w in weights if w is not None)
    cells = ["" if w is None else fixed(w, digits, "+") for w in weights]
    weight = "weight" if one.reference == "zero" else "relative weight"
    return ("activation", weight), [(fixed(t.activation, fine), w) for t, w in zip(terms, cells, strict=True)]


def _ranking(one: Explanation, top: int) -> tuple[list[tuple[str, ...]], int]:
    terms = one.top(top)[0]
    head, cells = _middle(one, terms)
    if "absent" not in one.details:
        head, cells = head[:1], [row[:1] for row in cells]
    rows = [("unit", *head), *((printable(name_of(t, one)), *row) for t, row in zip(terms, cells, strict=True))]
    if len(terms) < len(one.units):
        rows.append((_others(len(one.units) - len(terms)), *("" for _ in head)))
    return rows, decimals([one.score.item()])


def _others(count: int) -> str:
    return f"{count} other unit{'' if count == 1 else 's'}" if count else "rounding"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for name, *numbers in rows:
        padding = " " * (widths[0] - _width(name))
        columns = (f"  {number:>{width}}" for number, width in zip(numbers, widths[1:], strict=True))
        lines.append(f"  {name}{padding}{''.join(columns)}".rstrip())
    return lines


def _width(text: str) -> int:
    """The width of a text in a terminal: wide characters take two columns, combining marks none."""
    return sum(2 if east_asian_width(c) in "WF" else 0 if combining(c) or category(c) == "Cf" else 1 for c in text)
