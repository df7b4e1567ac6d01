"""Interventions on a page: the exact scores of all classes without some units, or with other concept values.

The page contains the effects of its units on every class. The score without a unit is the score minus its effect; a
changed activation adds the difference times the slope. Without JavaScript the page shows the explanation only.
"""

import json

import torch

from zoo.utils.printable import printable
from zoo.views.markup import escape
from zoo.views.row import Row

BEST = 5  # classes of highest score that are listed


def available(row: Row) -> bool:
    """Whether the explanation contains the effects on all classes."""
    known = row.explanation.domain.task == "classification" or bool(row.curves)
    return row.explanation.effects is not None and known


def control(row: Row, place: int) -> str:
    """A checkbox for the unit of a card, and a slider for concepts; the card after the last is for all other units."""
    if not available(row):
        return ""
    others = place == len(row.terms)
    name = "all other units" if others else row.terms[place].unit.name
    label = escape(f"include {name}")
    switch = f"<label class='count'><input type='checkbox' checked aria-label='{label}'> include</label>"
    if others or row.explanation.slopes is None or row.terms[place].unit.kind != "concept":
        return f"<div class='try'>{switch}</div>"
    value = row.terms[place].activation
    low, high = min(0.0, value), max(1.0, value)
    slider = (
        f"<label class='set'><input type='range' min='{low:.6g}' max='{high:.6g}' step='any' value='{value:.9g}' "
        f"aria-label='{escape(f'set {name}')}'><output>{value:.2f}</output></label>"
    )
    return f"<div class='try'>{switch}{slider}</div>"


def panel(row: Row, fields: str = "") -> str:
    """The resulting scores, the difference to another class, and the data of the script.

    Args:
        row: of the page.
        fields: HTML of further controls, which another script reads.
    """
    if not available(row):
        return ""
    classes = row.explanation.domain.classes
    target = int(row.explanation.target)
    options = "".join(f"<option value='{c}'>{escape(name)}</option>" for c, name in enumerate(classes) if c != target)
    rival = (
        f"<label>Why <bdi>{escape(classes[target])}</bdi> rather than <select>{options}</select></label>"
        "<table class='margin'></table>"
        if options and row.explanation.domain.task == "classification"
        else ""
    )
    what = "Exclude units above or change the row here" if fields else "Exclude units or change concept values above"
    lines = any(axis.kind == "points" for curve in row.curves for axis in curve.axes)
    how = "those of the model, with curves interpolated between grid points" if lines else "exactly those of the model"
    return (
        f"<section class='what-if' aria-label='what if'><h3>What if?</h3>"
        f"<p class='note'>{what}; the scores below are {how}. "
        f"<button type='button'>Reset</button></p>{fields}<div class='live'>"
        f"<div><table class='scores' aria-live='polite'></table></div><div>{rival}</div></div>"
        f"<script type='application/json'>{_numbers(row)}</script></section>"
    )


def _numbers(row: Row) -> str:
    """The terms as JSON, escaped for a script element."""
    one, columns = row.explanation, [term.index for term in row.terms]
    if one.effects is None:
        raise ValueError("the explanation has no effects on every class; use explain(x, every_class=True).")
    effects, scores = one.effects[0].double().cpu(), one.scores[0].double().cpu()
    shown = effects[columns]
    bias, rest = scores - effects.sum(0), effects.sum(0) - shown.sum(0)
    slopes = None if one.slopes is None else one.slopes[0, columns].double().cpu()
    units = [
        {"name": printable(term.unit.name), "activation": term.activation, "effects": shown[i].tolist()}
        | ({} if slopes is None or term.unit.kind != "concept" else {"slopes": slopes[i].tolist()})
        for i, term in enumerate(row.terms)
    ]
    if len(columns) < len(one.units):
        count = len(one.units) - len(columns)
        units.append({"name": f"{count} other unit{'' if count == 1 else 's'}", "effects": rest.tolist()})
    data = {
        "classes": [printable(name) for name in one.domain.classes],
        "target": int(one.target),
        "digits": row.total.digits if row.total is not None else 3,
        "best": BEST,
        "space": one.space,
        "reference": one.reference,
        "rival": -1 if one.runner_up is None else int(one.runner_up),
        "explained": printable(one.explained[0]),
        "scores": scores.tolist(),
        "bias": bias.tolist(),
        "units": units,
    }
    text = json.dumps(_rounded(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rounded(value: object) -> object:
    """Numbers rounded to nine digits, more than float32 has, to keep the page small."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if torch.isfinite(torch.tensor(value)) else 0.0
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
