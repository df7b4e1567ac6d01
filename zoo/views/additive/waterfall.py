"""The terms of an additive model as a waterfall: each begins where the one above ends, beside the unit's curve."""

from dataclasses import replace

from zoo.core.curves import Curve
from zoo.domain import TableDomain
from zoo.views import whatif
from zoo.views.additive.chart import value_at
from zoo.views.additive.drawing import drawing
from zoo.views.additive.heat import cell_value
from zoo.views.additive.scale import Place, place_of
from zoo.views.additive.shown import Shown, relative_of
from zoo.views.markup import escape
from zoo.views.naming import name_of
from zoo.views.row import Row
from zoo.views.sums import number, signed

LEVELS = 8  # of a category
TOLERANCE = 1e-4  # of a contribution
LOOK = """
.zoo .fall{margin-top:12px}
.zoo .fall>li{display:grid;grid-template-columns:minmax(0,1.1fr) minmax(0,1.5fr) minmax(0,340px);gap:4px 24px;
align-items:center;border-top:1px solid var(--line);padding:10px 0}
.zoo .fall .what{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:0 10px}
.zoo .fall .kind,.zoo .fall .try{grid-column:1/-1}
.zoo .fall .amount{font-variant-numeric:tabular-nums;white-space:nowrap;font-weight:600}
.zoo .fall .step{position:relative;height:18px;background:var(--ground);border-radius:4px}
.zoo .fall .step::before{content:'';position:absolute;left:var(--zero);top:-3px;bottom:-3px;
border-left:1px dashed var(--soft)}
.zoo .fall .step span{position:absolute;top:2px;bottom:2px;border-radius:3px;min-width:2px}
.zoo .fall .up{background:var(--up)}
.zoo .fall .down{background:var(--down)}
.zoo .fall .level{background:var(--soft)}
.zoo .fall [hidden]{display:none}
.zoo .fall .score{font-weight:700}
@media (max-width:760px){.zoo .fall>li{grid-template-columns:minmax(0,1fr)}}
"""


def waterfall(row: Row) -> str:
    """The list of bias, units, all other units and score.

    Raises:
        ValueError: the model is not additive.
    """
    total, one = row.total, row.explanation
    if total is None:
        raise ValueError("a waterfall needs an additive model.")
    digits, domain = total.digits, one.domain
    rest = total.others or total.rest
    parts = [total.bias, *total.shown, *([total.rest] if rest else [])]
    ends = [0.0]
    for part in parts:
        ends.append(ends[-1] + part)
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def bar(start: float, end: float, side: str = "") -> str:
        left, right = sorted(((start - low) / span, (end - low) / span))
        side = side or ("down" if end < start else "up")
        return (
            f"<div class='step' aria-hidden='true' style='--zero:{-100 * low / span:.2f}%'><span class='{side}' "
            f"style='left:{100 * left:.2f}%;width:{100 * (right - left):.2f}%'></span></div>"
        )

    order = {curve.unit: c for c, curve in enumerate(row.curves)}
    items = _item("bias", "", number(total.bias, digits), bar(0, total.bias, "level"))
    curves = {curve.unit: curve for curve in row.curves}
    for i, term in enumerate(row.terms):
        curve = curves.get(term.unit.name)
        chart = "" if curve is None else drawing(shown_of(row, curve, term.contribution), LEVELS)
        named, unit = name_of(term, one), term.unit
        plain = named == unit.name or named.startswith(f"{unit.name} = ")
        kind = unit.kind if plain else f"{unit.kind} {unit.name}"
        about = f"<bdi>{escape(kind)}</bdi>{_error(row, curve)}"
        items += _item(
            named, about, signed(total.shown[i], digits), bar(ends[i + 1], ends[i + 2]),
            whatif.control(row, i), chart, f" data-curve='{order.get(term.unit.name, -1)}'",
        )  # fmt: skip
    if rest:
        count = total.others
        name = f"{count} other unit{'' if count == 1 else 's'}" if count else "rounding"
        switch = whatif.control(row, len(row.terms)) if count else ""
        items += _item(name, "", signed(total.rest, digits), bar(ends[-2], ends[-1]), switch)
    items += _item(
        one.explained[0], "sum of the above", number(total.score, digits), bar(0, total.score, "level"), kind="score"
    )
    note = "Rounded so that the printed numbers add up."
    if domain.task == "classification" and len(domain.classes) == 2 and one.reference != "runner-up":
        note += " Of two classes, the logit is half of the log-odds: the log-odds are twice these numbers."
    return f"<ol class='fall'>{items}</ol><p class='note'>{note}</p>"


def shown_of(row: Row, curve: Curve, contribution: float | None = None) -> Shown:
    """The curve of a unit with the place of the row.

    Args:
        row: of the page.
        curve: of the unit.
        contribution: of the unit. A curve of steps or levels is shifted to it: some models have curves with the mean 0
            and contributions without.
    """
    places, columns = places_of_row(row), {column.name: column for column in _table(row).layout}
    values, error = relative_of(curve, row.explanation)
    own = tuple(places[axis.column] for axis in curve.axes)
    shown = Shown(curve, values, error, tuple(columns[axis.column] for axis in curve.axes), own)
    if contribution is None or len(curve.axes) != 1 or curve.axes[0].kind == "points":
        return shown
    shift = contribution - value_at(shown)
    return shown if abs(shift) < TOLERANCE else replace(shown, values=values + shift, shift=shift)


def places_of_row(row: Row) -> dict[str, Place]:
    """Where the row is on the axis of each column."""
    domain, x = _table(row), row.explanation.inputs
    inputs = [] if x is None else x[0].cpu().double().tolist()
    return {c.name: place_of(c, inputs[s]) for c, s in zip(domain.layout, domain.slices, strict=True)}


def _table(row: Row) -> TableDomain:
    domain = row.explanation.domain
    if not isinstance(domain, TableDomain) or row.explanation.inputs is None:
        raise ValueError("curves need an explanation of a table, with its inputs.")
    return domain


def _error(row: Row, curve: Curve | None) -> str:
    """The standard error at the place of the row."""
    if curve is None or curve.error is None:
        return ""
    shown = shown_of(row, curve)
    if shown.error is None:
        return ""
    if len(curve.axes) == 1:
        error = value_at(Shown(curve, shown.error, None, shown.columns, shown.places))
    else:
        error = cell_value(shown.error, shown)
    return f"<span class='error'> · ± {error:.2g} standard error</span>"


def _item(
    name: str, about: str, amount: str, bar: str, control: str = "", chart: str = "", data: str = "", kind: str = "term"
) -> str:
    below = f"<p class='kind'>{about}</p>" if about else ""
    return (
        f"<li class='{kind}'{data}><div class='what'><h4><bdi>{escape(name)}</bdi></h4><p class='amount'>{amount}</p>"
        f"{below}{control}</div>{bar}<div class='look'>{chart}</div></li>"
    )
