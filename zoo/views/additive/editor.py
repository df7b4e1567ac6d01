"""Controls that edit a curve: an interval, levels, or all of it; `zoo.additive.layers.edits` applies the edits."""

from zoo.views.additive.shown import Shown, levels_of
from zoo.views.markup import escape

LOOK = """
.zoo .edit{display:none;margin-top:6px;font-size:.85rem}
.zoo [data-live] .edit{display:block}
.zoo .edit summary{cursor:pointer;padding:4px 0;color:var(--soft)}
.zoo .edit .fields{display:flex;flex-wrap:wrap;gap:6px 10px;align-items:end;margin:4px 0}
.zoo .edit label{display:grid;gap:2px;color:var(--soft)}
.zoo .edit input{width:6.6em}
.zoo .edit select{max-width:12em}
.zoo .edit input,.zoo .edit select,.zoo .edit button,.zoo .edits button{font:inherit;color:var(--ink);
background:var(--ground);border:1px solid var(--line);border-radius:8px;padding:4px 9px}
.zoo .edit button,.zoo .edits button{cursor:pointer}
.zoo button:disabled{opacity:.5;cursor:default}
.zoo [data-live] .curves li:has(.edit) .chart{cursor:crosshair;touch-action:pan-y}
.zoo svg .chosen{fill:var(--down);opacity:.16}
.zoo svg .curve.old{opacity:.35;stroke-dasharray:4 3}
.zoo svg .curve.new{stroke:var(--down)}
.zoo .levels .edited .value{fill:var(--down);font-weight:700}
.zoo .levels .edited .whisker{display:none}
.zoo .removed>div>svg{opacity:.3}
.zoo .edits{display:none;position:sticky;bottom:0;margin-top:16px;padding:10px 16px;background:var(--paper);
border:1px solid var(--line);border-radius:12px 12px 0 0;box-shadow:0 -4px 14px rgb(0 0 0/.14);font-size:.85rem}
.zoo [data-live] .edits{display:block}
.zoo .edits .fields{display:flex;flex-wrap:wrap;gap:8px;align-items:center}
.zoo .edits pre{margin:8px 0 0;max-height:7.5em;overflow:auto;font:.8rem/1.5 ui-monospace,Consolas,Menlo,monospace;
white-space:pre-wrap;overflow-wrap:anywhere}
.zoo .edits pre:empty{display:none}
"""


def editor(shown: Shown) -> str:
    """The controls of one unit; of two columns it can only be removed."""
    fields = ""
    if len(shown.curve.axes) == 1:
        fields = _numbers() if not shown.is_list else ""
        fields += _levels(shown) if shown.is_list or shown.curve.axes[0].labels else ""
    whole = "<div class='fields'><button type='button' data-do='remove'>Remove the unit</button></div>"
    return f"<details class='edit'><summary>Edit</summary>{fields}{whole}</details>"


def toolbar() -> str:
    """The list of edits, with undo and export."""
    return (
        "<aside class='edits' aria-label='edits'><div class='fields'>"
        "<span id='count' aria-live='polite'>no edits</span><button type='button' id='undo' disabled>Undo</button>"
        "<button type='button' id='export' disabled>Export edits.yaml</button>"
        "<span class='note'>Apply the file with <code>train.py edit</code>.</span></div>"
        "<pre id='edits' tabindex='0'></pre></aside>"
    )


def _numbers() -> str:
    buttons = "".join(
        f"<button type='button' data-do='{action}'>{name}</button>"
        for action, name in (
            ("set", "Set"),
            ("flatten", "Flatten"),
            ("increasing", "Make increasing"),
            ("decreasing", "Make decreasing"),
        )
    )
    inputs = "".join(
        f"<label>{name}<input type='number' step='any' class='{name}'></label>" for name in ("from", "to", "value")
    )
    return (
        "<p class='note'>Drag across the curve, or enter an interval; an empty field has no limit.</p>"
        f"<div class='fields'>{inputs}</div><div class='fields'>{buttons}</div>"
    )


def _levels(shown: Shown) -> str:
    axis = shown.curve.axes[0]
    options = "".join(
        f"<option value='{level.entry}' data-rank='{'' if level.rank is None else level.rank}'>"
        f"{escape(level.name)}</option>"
        for level in (levels_of(shown) if shown.is_list else [])
    )
    if not shown.is_list:
        options = "".join(
            f"<option value='{axis.numbers + i}' data-rank=''>{escape(name)}</option>"
            for i, name in enumerate(axis.labels)
        )
    return (
        f"<div class='fields'><label>level<select class='level-name'>{options}</select></label><label>value"
        "<input type='number' step='any' class='level-value'></label>"
        "<button type='button' data-do='level'>Set level</button></div>"
    )
