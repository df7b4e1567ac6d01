"""Controls that change the raw values of a row: a number and a slider, or the levels of a category."""

from collections.abc import Sequence

from zoo.core.curves import Curve
from zoo.domain import Column
from zoo.views import whatif
from zoo.views.additive.data import json_element
from zoo.views.additive.scale import Place, scale_of
from zoo.views.additive.waterfall import places_of_row
from zoo.views.markup import escape
from zoo.views.row import Row

LOOK = """
.zoo .columns{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(310px,100%),1fr));gap:10px 28px;
margin:12px 0}
.zoo .column{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.25fr);gap:2px 10px;align-items:center;
font-size:.85rem;min-width:0}
.zoo .column>span{overflow-wrap:anywhere}
.zoo .column .inputs{display:flex;flex-wrap:wrap;gap:4px;min-width:0}
.zoo .column input[type=number],.zoo .column select{font:inherit;color:inherit;background:var(--ground);width:100%;
border:1px solid var(--line);border-radius:8px;padding:4px 8px;min-width:0}
.zoo .column input[type=range]{width:100%;margin:0;accent-color:var(--up);height:22px}
.zoo .column.changed>span{font-weight:600}
.zoo .column.changed>span::after{content:' (was ' attr(data-was) ')';font-weight:400;color:var(--soft)}
.zoo .more-columns>summary{cursor:pointer;font-size:.85rem;padding:4px 0}
"""


def column_fields(row: Row) -> str:
    """A control for each column that a curve reads, those of the units above first; "" without effects."""
    if not whatif.available(row):
        return ""
    places = places_of_row(row)
    above = {term.unit.name for term in row.terms}
    near = {axis.column for curve in row.curves if curve.unit in above for axis in curve.axes}
    layout = getattr(row.explanation.domain, "layout", ())
    first, more = "", ""
    count = 0
    for number, column in enumerate(layout):
        curves = [curve for curve in row.curves if any(axis.column == column.name for axis in curve.axes)]
        if not curves:
            continue
        control = _control(column, number, curves, places[column.name])
        if column.name in near:
            first += control
        else:
            more, count = more + control, count + 1
    shown = [term.unit.name for term in row.terms]
    data = {
        "start": [[places[column.name].number, places[column.name].label] for column in layout],
        "labels": [labels_of(column, row.curves) for column in layout],
        "units": [shown.index(c.unit) if c.unit in shown else len(shown) for c in row.curves],
    }
    inner = f"<summary>{count} more column{'' if count == 1 else 's'}</summary><div class='columns'>{more}</div>"
    rest = f"<details class='more-columns'>{inner}</details>" if more else ""
    data_element = json_element(data, "class='row-data'")
    return f"<div><div class='columns'>{first}</div>{rest}{data_element}</div>"


def labels_of(column: Column, curves: Sequence[Curve]) -> list[str]:
    """The labels that a column has in any curve."""
    axes = [axis for curve in curves for axis in curve.axes if axis.column == column.name]
    return list(dict.fromkeys(label for axis in axes for label in axis.labels))


def _control(column: Column, number: int, curves: Sequence[Curve], place: Place) -> str:
    name, inputs = escape(column.name), ""
    axes = [axis for curve in curves for axis in curve.axes if axis.column == column.name]
    labels = labels_of(column, curves)
    if column.kind == "number":
        scales = [scale_of(axis) for axis in axes if axis.numbers]
        values = [] if place.number is None else [place.number]
        low, high = min([s.low for s in scales] + values), max([s.high for s in scales] + values)
        whole = all(abs(round(2 * p) - 2 * p) < 1e-3 for axis in axes for p in axis.places)
        low, high = (round(low), round(high)) if whole else (low, high)
        shown = f"{(low + high) / 2:.4g}" if place.number is None else place.label
        value = f"value='{escape(shown)}'"
        inputs = (
            f"<input type='number' step='any' {value} aria-label='{name}'>"
            f"<input type='range' min='{low:.9g}' max='{high:.9g}' step='{1 if whole else 'any'}' {value} "
            f"aria-label='{name}, slider'>"
        )
        options = f"<option value='n'{_if(place.number is not None)}>a number</option>" if labels else ""
    else:
        ranks = column.levels if column.kind == "ordered" else ()
        options = "".join(
            f"<option value='r{i}'{_if(place.number is not None and place.label == level)}>{escape(level)}</option>"
            for i, level in enumerate(ranks)
        )
    options += "".join(
        f"<option value='l{i}'{_if(place.number is None and place.label == label)}>{escape(label)}</option>"
        for i, label in enumerate(labels)
    )
    select = f"<select aria-label='{name}{', number or code' if inputs else ''}'>{options}</select>" if options else ""
    return (
        f"<div class='column' data-column='{number}'><span data-was='{escape(place.label)}'><bdi>{name}</bdi></span>"
        f"<div class='inputs'>{select}{inputs}</div></div>"
    )


def _if(chosen: bool) -> str:
    return " selected" if chosen else ""
