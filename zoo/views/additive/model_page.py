"""All curves of a model as one page, ranked by importance, that can be searched and edited."""

from collections.abc import Mapping, Sequence

from zoo.core.curves import Curve
from zoo.domain import TableDomain
from zoo.views.additive.data import curve_data
from zoo.views.additive.drawing import LOOK as CHARTS
from zoo.views.additive.drawing import drawing
from zoo.views.additive.editor import LOOK as EDITOR
from zoo.views.additive.editor import editor, toolbar
from zoo.views.additive.editor_script import EDIT
from zoo.views.additive.shown import Shown, known, log_odds_of
from zoo.views.document import document
from zoo.views.markup import escape
from zoo.views.sums import number

CLASSES = 12  # whose curves are drawn
LOOK = """
.zoo .find{display:flex;flex-wrap:wrap;gap:8px 16px;margin:12px 0 16px;align-items:center}
.zoo .find input,.zoo .find select{font:inherit;padding:8px 12px;border:1px solid var(--line);border-radius:8px;
background:var(--paper);color:inherit;max-width:100%}
.zoo .find input{flex:1 1 260px;max-width:420px}
.zoo .curves{display:grid;gap:16px;grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr));
align-items:start}
.zoo main>table{margin-top:14px}
.zoo .curves>li{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.zoo .curves .head{display:flex;justify-content:space-between;gap:12px;align-items:baseline}
.zoo .curves .bar{height:6px;margin:4px 0 10px}
.zoo .curves>li>div>svg{margin:auto}
.zoo [hidden]{display:none!important}
"""


def curves_page(
    title: str,
    curves: Sequence[Curve],
    domain: TableDomain,
    numbers: Mapping[str, float] | None = None,
    editable: bool = True,
) -> str:
    """A self-contained page with a search field and, if asked for, an editor whose edits can be exported.

    Args:
        title: of the page.
        curves: of all units, `model.curves()`.
        domain: of the model.
        numbers: metrics of the model by name.
        editable: whether the page has the editor.
    """
    shown, curves = classes_of(domain), known(curves, domain)
    drawn = [[_shown(curve, c, domain) for c in shown] for curve in curves]
    importance = [sum(one.importance for one in each) / len(each) for each in drawn]
    order = sorted(range(len(curves)), key=lambda k: -importance[k])
    most = max(importance, default=0.0) or 1.0
    edits = [editor(each[0]) if editable else "" for each in drawn]
    items = "".join(_item(k, drawn[k], shown, importance[k], importance[k] / most, edits[k]) for k in order)
    pairs = sum(len(curve.axes) == 2 for curve in curves)
    about = f"{len(curves) - pairs} units of one column, {pairs} of two, ranked by the mean |value| over training rows."
    body = (
        f"<h1>{escape(title)}</h1><p class='note'>{about} {_legend(curves, domain)}</p>{_measured(numbers or {})}"
        f"<div class='find'><input id='find' type='search' placeholder='search units' aria-label='search units'>"
        f"{_choice(shown, domain)}</div><p id='none' class='note' hidden>no matching units</p>"
        f"<ol class='curves'>{items}</ol>{toolbar() if editable else ''}{curve_data(curves, domain, density=True)}"
    )
    return document(title, body, f"{CHARTS}{LOOK}{EDITOR}", [EDIT])


def classes_of(domain: TableDomain) -> list[int]:
    """The classes whose curves are drawn: of two the second."""
    if domain.task == "classification" and len(domain.classes) == 2:
        return [1]
    return list(range(min(len(domain.classes), CLASSES)))


def _shown(curve: Curve, target: int, domain: TableDomain) -> Shown:
    columns = {column.name: column for column in domain.layout}
    return Shown(curve, *log_odds_of(curve, target), tuple(columns[axis.column] for axis in curve.axes))


def _item(k: int, drawn: Sequence[Shown], classes: Sequence[int], importance: float, share: float, edit: str) -> str:
    curve = drawn[0].curve
    words = [curve.unit, *(label for axis in curve.axes for label in axis.labels)]
    words += [level for column in drawn[0].columns for level in column.levels]
    charts = "".join(
        f"<div data-class='{c}'{' hidden' if i else ''}>{drawing(one)}</div>"
        for i, (c, one) in enumerate(zip(classes, drawn, strict=True))
    )
    return (
        f"<li data-curve='{k}' data-words='{escape(' '.join(words).lower())}'><div class='head'>"
        f"<h4><bdi>{escape(curve.unit)}</bdi></h4><span class='kind'>importance {number(importance, 3)}</span></div>"
        f"<div class='bar' aria-hidden='true'><span class='level' style='width:{100 * share:.1f}%'></span></div>"
        f"{charts}{edit}</li>"
    )


def _legend(curves: Sequence[Curve], domain: TableDomain) -> str:
    target = f"<b><bdi>{escape(domain.classes[-1])}</bdi></b>"
    if domain.task == "regression":
        text = (
            f"Curves show what a value adds to {target}."
            if len(domain.classes) == 1
            else "Curves show what a value adds."
        )
    elif len(domain.classes) == 2:
        text = f"Curves show what a value adds to the log-odds of {target}."
    else:
        text = "Curves show what a value adds to the logit of the chosen class."
    text += " Bars below them and percentages show where the training rows are"
    text += "; shading and whiskers are ± one standard error." if any(c.error is not None for c in curves) else "."
    if any(len(curve.axes) == 2 for curve in curves):
        text += " Maps are blue above 0 and orange below, and pale where there are no training rows"
        known = any(curve.error is not None for curve in curves if len(curve.axes) == 2)
        text += "; hatched values are at most one standard error from 0." if known else "."
    return text


def _choice(shown: Sequence[int], domain: TableDomain) -> str:
    if len(shown) == 1:
        return ""
    options = "".join(f"<option value='{c}'>{escape(domain.classes[c])}</option>" for c in shown)
    more = len(domain.classes) - len(shown)
    note = f" <span class='note'>of {len(domain.classes)}</span>" if more else ""
    what = "class" if domain.task == "classification" else "target"
    return f"<label>{what} <select id='class'>{options}</select>{note}</label>"


def _measured(numbers: Mapping[str, float]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{number(value, 3)}</td></tr>" for name, value in numbers.items()
    )
    return f"<table><caption>test metrics</caption>{rows}</table>" if rows else ""
