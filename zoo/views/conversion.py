"""The report of a conversion as lines and as a page: each number with what it means."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from zoo.views.document import document
from zoo.views.markup import escape

SHOWN = 4  # errors of targets
LOW_ACCURACY = 2.0  # times that of guessing, below which the data may not be what the network was trained on
STYLE = (
    ".zoo .report{max-width:none}.zoo .report th,.zoo .report td{padding:7px 12px 7px 0;vertical-align:top;"
    "border-top:1px solid var(--line);white-space:normal}.zoo .report td:nth-child(2){font-weight:600;"
    "white-space:nowrap}.zoo .report td:last-child{text-align:left;color:var(--soft);width:55%}"
    ".zoo .report th{width:18em}.zoo .frontier{max-width:640px}.zoo .frontier .meter{width:40%}"
    ".zoo .frontier th[scope=col]{text-align:right;color:var(--soft);vertical-align:bottom;padding-right:0}"
    ".zoo .frontier th[scope=col]:first-child{text-align:left}"
    ".zoo pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;margin:6px 0 0}"
    ".zoo article>h2{font-size:1.15rem;margin:0 0 10px}"
)


class Line(NamedTuple):
    """A number of the report: its name, its value as text, and a sentence that says what it means."""

    name: str
    value: str
    meaning: str


def lines_of(record: Mapping[str, Any]) -> list[Line]:
    """The lines of a report.

    Args:
        record: see `zoo.conversion.report.report`.
    """
    return [*_scores(record), *_units(record), *_places(record), *_costs(record)]


def _scores(record: Mapping[str, Any]) -> Iterator[Line]:
    name, quality = _quality(record)
    black, model, units = quality["black box"], quality["model"], quality.get("units")
    values, rows, agreement = record["task"] == "regression", record["test rows"], record["agreement"]
    meaning = "Variance of the black box's values that it explains." if values else "Rows with the same class."
    yield Line(f"{name} of the black box", _percent(black), f"On {rows:,} test rows.{_rmse(record, 'black box')}")
    if units is None:
        change = f"{_points(model - black).capitalize()} of {name}.{_rmse(record, 'model')}"
        yield Line(f"{name} of this model", _percent(model), change)
        yield Line("agreement", _percent(agreement["model"]), meaning)
    else:
        yield Line(f"{name} of this model", _percent(model), f"Units and residual together.{_rmse(record, 'model')}")
        change = f"Without the residual: {_points(units - black)} of {name}.{_rmse(record, 'units')}"
        yield Line(f"{name} of the units alone", _percent(units), change)
        yield Line("agreement of the units alone", _percent(agreement["units"]), f"With the black box. {meaning}")
    same = record["largest difference of scores"] <= 1e-4 * max(record["largest score"] or 0.0, 1e-12)
    meaning = "The scores are those of the black box." if same else "The scores are not those of the black box."
    yield Line(
        "largest difference of scores",
        f"{record['largest difference of scores']:.2g}",
        f"{meaning} Its largest score is {record['largest score']:.3g}.",
    )


def _quality(record: Mapping[str, Any]) -> tuple[str, Mapping[str, float]]:
    """What is counted, and its values by what predicts."""
    return ("R²", record["R2"]) if record["task"] == "regression" else ("accuracy", record["accuracy"])


def _rmse(record: Mapping[str, Any], what: str) -> str:
    found = record.get("RMSE", {}).get(what, {})
    shown = ", ".join(f"{name} {value:.4g}" for name, value in list(found.items())[:SHOWN])
    return f" Root mean squared error: {shown}{', ...' if len(found) > SHOWN else ''}." if found else ""


def _units(record: Mapping[str, Any]) -> Iterator[Line]:
    if (share := record.get("residual share")) is not None:
        yield Line(
            "share of the residual", _percent(share), "Of an explanation: what no unit accounts for. Smaller is better."
        )
    if (r2 := record.get("features R2")) is not None:
        yield Line("R² of the features", f"{r2:.3f}", "Variance of the features that the atoms explain; 1 is all.")
    code = record["code"]
    if code.get("active") is not None:
        yield Line(
            "active atoms",
            f"{code['active']:.1f}",
            f"Of a cell, on average; {code['active_total']:.1f} of {record['units']} units in all cells of an input.",
        )
    if code.get("dead") is not None:
        yield Line("dead atoms", _percent(code["dead"]), "Atoms that no test row uses.")
    if (needed := record.get("units for 90 %")) is not None:
        yield Line(
            "units for 90 %",
            f"{needed:.1f}",
            f"Units that hold 90 % of an explanation (reference: {record['reference']}). Fewer are easier to read.",
        )


def _places(record: Mapping[str, Any]) -> Iterator[Line]:
    cells, values = record["cells"], record.get("faithfulness", {})
    if not record.get("placed"):
        yield Line("cells", str(cells), "The features have no place, so explanations do not say where in the input.")
        return
    if cells == 1:
        yield Line("cells", "1", "The features have no place; explanations say where the units read or write.")
    else:
        yield Line("cells", str(cells), "Places of the features. Explanations say where each unit is active.")
    rows = record.get("faithfulness rows")
    if (value := values.get("mask-out rank correlation")) is not None:
        yield Line(
            "mask-out rank correlation",
            f"{value:.2f}",
            f"Does removing regions change scores as the maps predict? 1 is ideal, 0 is chance ({rows} rows).",
        )
    if (value := values.get("deletion gain")) is not None:
        yield Line(
            "deletion gain",
            f"{value:.2f}",
            f"Do the regions of the explanation matter more than others? 0 is chance; higher is better ({rows} rows).",
        )


def _costs(record: Mapping[str, Any]) -> Iterator[Line]:
    yield Line("training", f"{record['fit seconds']:.0f} s", "Of this model; the black box was trained before.")
    explain, forward = record["explain ms"], record["black box ms"]
    times = explain / forward if forward else 0.0
    yield Line(
        "an explanation",
        f"{explain:.2f} ms",
        f"For each row, with its prediction; a prediction of the black box takes {forward:.2f} ms ({times:.1f} times).",
    )


def warnings_of(record: Mapping[str, Any], classes: int) -> list[str]:
    """What the user should look at, in sentences."""
    found = []
    least = 0.05 if record["task"] == "regression" else min(LOW_ACCURACY / classes, 0.9)
    if _quality(record)[1]["black box"] < least:
        found.append(
            "The black box is hardly better than guessing on these data. Check that its weights are loaded, and that "
            "the preparation of the inputs and the order of the outputs are those of its training."
        )
    budget = record.get("budget")
    if budget and not budget["within"]:
        found.append(f"No size is within the budget; the best of those tried, {budget['chosen']}, was taken.")
    return found


def conversion_page(title: str, record: Mapping[str, Any], warnings: Sequence[str], commands: Sequence[str]) -> str:
    """The page of a report.

    Args:
        title: of the page.
        record: see `zoo.conversion.report.report`.
        warnings: in sentences.
        commands: to go on with.
    """
    rows = "".join(
        f"<tr><th scope='row'>{escape(line.name)}</th><td>{escape(line.value)}</td><td>{escape(line.meaning)}</td></tr>"
        for line in lines_of(record)
    )
    warned = "".join(f"<p class='warning'>{escape(text)}</p>" for text in warnings)
    body = (
        f"<h1>{escape(title)}</h1><article><p class='note'>{escape(about(record))}</p>{warned}"
        f"<table class='report'>{rows}</table></article>{_frontier(record)}{_next(commands)}"
    )
    return document(title, body, STYLE)


def about(record: Mapping[str, Any]) -> str:
    """One line: the model and the features that it reads."""
    source = record["black box"]
    backbone = source["backbone"]
    name = backbone["name"] if isinstance(backbone, Mapping) else backbone
    layer = f", layer {source['layer']}" if source["layer"] else ""
    head = f" with the head “{record['head']}”" if record["head"] else ""
    cells = f"{record['cells']} cell{'s' * (record['cells'] != 1)}"
    return f"{record['model']}{head} · features of {name}{layer}, {cells} · {record['units']} units"


def _frontier(record: Mapping[str, Any]) -> str:
    budget = record.get("budget")
    if not budget:
        return ""
    rows = "".join(
        f"<tr{' class=chosen' if trial['size'] == budget['chosen'] else ''}><th scope='row'>{trial['size']}</th>"
        f"<td class='meter'><span style='width:{100 * max(trial['quality'], 0):.1f}%'></span></td>"
        f"<td>{_percent(trial['quality'])}</td><td>{_percent(trial['black_box'])}</td>"
        f"<td>{'' if trial['features_r2'] is None else format(trial['features_r2'], '.3f')}</td></tr>"
        for trial in budget["tried"]
    )
    heads = "".join(f"<th scope='col'>{name}</th>" for name in ("", "units alone", "black box", "R²"))
    return (
        f"<article><h2>Sizes</h2><p class='note'>{escape(budget_line(budget))}</p>"
        f"<table class='frontier'><tr><th scope='col'>{escape(budget['what'])}</th>{heads}</tr>{rows}</table></article>"
    )


def budget_line(budget: Mapping[str, Any]) -> str:
    """What was looked for, and found."""
    found = str(budget["chosen"]) if budget["within"] else f"none, so {budget['chosen']}"
    return (
        f"Looked for the fewest {budget['what']} with which the units alone lose at most "
        f"{_number_of_points(budget['may be lost'])} of {budget['of']} on validation data: {found}."
    )


def _next(commands: Sequence[str]) -> str:
    listed = "".join(f"<pre>{escape(command)}</pre>" for command in commands)
    return f"<article><h2>Go on</h2>{listed}</article>" if commands else ""


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number_of_points(share: float) -> str:
    points = f"{100 * share:g}"
    return f"{points} point{'' if points == '1' else 's'}"


def _points(difference: float) -> str:
    points = 100 * difference
    if abs(points) < 0.05:
        return "no loss"
    return f"a {'gain' if points > 0 else 'loss'} of {abs(points):.1f} points"
