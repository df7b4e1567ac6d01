"""The leaderboard as Markdown: gates first, then every number by itself, never one blended score."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from zoo.views.faithfulness import ARROWS, number

NEAR = 0.01  # by how much a model's accuracy may be below its black-box twin's
COMPLETE = 1e-3  # what the completeness gap may be at most
RANDOMISED = 0.5  # what the score of M9 must be above

# The numbers of each table: key of the metric, name of its column, heading.
VECTOR = (
    ("M2", "rank correlation", "mask-out rank correlation"),
    ("M2", "slope", "mask-out slope (ideal 1)"),
    ("M2", "agreement", "mask-out agreement"),
    ("M3", "gain", "deletion gain"),
    ("M3", "of oracle", "deletion gain of oracle"),
    ("M4", "kept", "sufficiency: kept"),
    ("M4", "flipped", "sufficiency: flipped"),
    ("M5", "leak", "locality leak"),
    ("M6", "effective units", "effective units"),
    ("M6", "area", "area of the n90 units"),
    ("M7", "stability", "stability"),
    ("M8", "swap test", "contrastivity: swap test"),
    ("M10", "gap", "encoding gap"),
    ("M11", "average precision", "recovery: AP"),
    ("M11", "mass", "recovery: mass"),
    ("M12", "purity", "unit purity"),
    ("M12", "lift", "purity lift"),
    ("M13", "gain", "intervention gain"),
    ("M14", "sensitivity", "importance: sensitivity"),
    ("M14", "informedness", "importance: informedness"),
)
BIRDS = ("CSDC", "PC", "DC", "D", "SD", "TS", "BI", "completeness", "mean", "threshold")


def markdown(models: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> str:
    """The whole leaderboard.

    Args:
        models: what was measured of each, see `zoo.cli.leaderboard.results_of`.
        asked: the options that it was measured with.
    """
    rows = grouped(shortened(models, asked["world"]))
    boxes, models_told = [row for row in rows if row[0]["twin"]], [row for row in rows if not row[0]["twin"]]
    twin = mean(one["accuracy"] for row in boxes for one in row) if boxes else None
    told = [*models_told, *(methods for row in boxes for methods in posthoc(row))]
    first = ("model", "seeds", "accuracy", "below black box", "completeness gap", "randomisation", "gates")
    gated = [gates(row, twin) for row in models_told]
    gated += [[row[0]["name"], str(len(row)), accuracy(row), "", "", "", "black box"] for row in boxes]
    second = ("", *(row[0]["name"] for row in told))
    vector = [
        [heading(told, key, name, text), *(cell(row, key, name) for row in told)]
        for key, name, text in VECTOR
        if any(key in row[0].get("metrics", {}) for row in told)
    ]
    parts = [
        "# Leaderboard: are the built-in explanations true?",
        f"World: `{asked['world']}`, {asked['split']} rows: all for accuracy, {asked['limit']} for the metrics. "
        "Numbers are means over training seeds, ± their standard deviation; of a single seed, with the 95 % interval "
        "over rows." + (f" Post-hoc methods are measured on {asked['compare']} rows." if asked.get("compare") else ""),
        "## Gates",
        "A model passes when its contributions add up (95th percentile of the gap at most 0.001 standard deviations of "
        f"the scores), its accuracy is at most {100 * NEAR:g} point below its black-box twin's, and its evidence "
        "changes with its parameters. What fails a gate is listed, not ranked.",
        table(first, gated),
        "## The vector",
        "↑ more is better, ↓ less is better. n/a: the explanation lacks what the metric needs.",
        table(second, vector),
    ]
    if any("FunnyBirds" in one.get("metrics", {}) for row in told for one in row):
        parts += [
            "## The FunnyBirds protocol",
            "Parts that the explanation names, against what happens when they are really removed; the threshold is "
            "chosen on validation rows. BI is of the model, not of its explanation; chance of SD and TS is 0.5.",
            table(second, [[name, *(cell(row, "FunnyBirds", name) for row in told)] for name in BIRDS]),
        ]
    if notes := lacking(told):
        parts += ["Not applicable:", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def shortened(models: Sequence[Mapping[str, Any]], world: str) -> list[Mapping[str, Any]]:
    """The models without the name of the world, which is what follows the first _ of its config's name."""
    end = f"_{world.partition('_')[2]}"
    return [{**one, "name": one["name"].removesuffix(end)} for one in models]


def lacking(rows: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """For each model and reason, which metrics do not apply."""
    notes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for metric in row[0].get("metrics", {}).values():
            if "not applicable" in metric:
                notes.setdefault((row[0]["name"], metric["not applicable"]), []).append(metric["title"])
    return [f"{name} {reason}: {', '.join(titles)}" for (name, reason), titles in notes.items()]


def grouped(models: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Models of one name and several seeds together, the most accurate first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in models:
        groups.setdefault(one["name"], []).append(one)
    return sorted(groups.values(), key=lambda row: -mean(one["accuracy"] for one in row))


def posthoc(row: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """One row for each method that was measured on a black box."""
    names = list(row[0].get("methods", {}))
    return [[{**one, "name": name, "metrics": one["methods"][name]} for one in row] for name in names]


def gates(row: Sequence[Mapping[str, Any]], twin: float | None) -> list[str]:
    """The row of a model in the table of gates."""
    below = None if twin is None else twin - mean(one["accuracy"] for one in row)
    gap, random = worst(row, "M1", "gap", max), worst(row, "M9", "everything", min)
    passed = {
        "accuracy": below is None or below <= NEAR,
        "completeness": gap is None or gap <= COMPLETE,
        "randomisation": random is None or random > RANDOMISED,
    }
    failed = [name for name, ok in passed.items() if not ok]
    cells = (
        "" if below is None else f"{100 * below:+.1f} points",
        cell(row, "M1", "gap"),
        cell(row, "M9", "everything"),
    )
    return [row[0]["name"], str(len(row)), accuracy(row), *cells, f"fails {', '.join(failed)}" if failed else "passes"]


def worst(row: Sequence[Mapping[str, Any]], key: str, name: str, of: Callable[..., float]) -> float | None:
    """The worst value over seeds; None where it was not measured."""
    values = [v for v in (value(one, key, name) for one in row) if v is not None]
    return of(values) if values else None


def accuracy(row: Sequence[Mapping[str, Any]]) -> str:
    """In per cent."""
    values = [100 * one["accuracy"] for one in row]
    return f"{values[0]:.1f} %" if len(values) < 2 else f"{mean(values):.1f} ± {stdev(values):.1f} %"


def value(one: Mapping[str, Any], key: str, name: str) -> float | None:
    """A measured number; None if there is none."""
    column = one.get("metrics", {}).get(key, {}).get("values", {}).get(name)
    return None if column is None else column["value"]


def cell(row: Sequence[Mapping[str, Any]], key: str, name: str) -> str:
    """A number over seeds, or with its interval; "n/a" where the metric does not apply, "–" where it is undefined."""
    metric = row[0].get("metrics", {}).get(key)
    if metric is None:
        return ""
    if "not applicable" in metric:
        return "n/a"
    values = [v for v in (value(one, key, name) for one in row) if v is not None]
    if not values:
        return "–"
    if len(values) > 1:
        return f"{number(mean(values))} ± {number(stdev(values))}"
    column = metric["values"][name]
    low, high = column["low"], column["high"]
    return number(values[0]) if low == high else f"{number(values[0])} ({number(low)} to {number(high)})"


def heading(rows: Iterable[Sequence[Mapping[str, Any]]], key: str, name: str, text: str) -> str:
    """The heading with an arrow for what is better."""
    for row in rows:
        column = row[0].get("metrics", {}).get(key, {}).get("values", {}).get(name)
        if column is not None:
            return f"{text} {ARROWS[column['direction']]}".rstrip()
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
