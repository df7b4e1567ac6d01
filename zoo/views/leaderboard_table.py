"""The leaderboard as Markdown: gates first, then each metric separately, without an aggregate score."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from zoo.views.faithfulness import ARROWS, number

NEAR = 0.01  # largest allowed drop of accuracy compared with the black box
COMPLETE = 1e-3  # largest allowed completeness gap
RANDOMISED = 0.5  # lower bound of the score of M9

# Rows of the main table: key of the metric, name of its column, heading.
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


def markdown(models: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
    """The leaderboard.

    Args:
        models: results of each model, see `zoo.cli.leaderboard.results_of`.
        options: the options of that command: "benchmark", "split", "limit" and perhaps "compare".
    """
    rows = grouped(shortened(models, options["benchmark"]))
    boxes, own = [row for row in rows if row[0]["twin"]], [row for row in rows if not row[0]["twin"]]
    black_box = mean(one["accuracy"] for row in boxes for one in row) if boxes else None
    columns = [*own, *(methods for row in boxes for methods in posthoc(row))]
    first = ("model", "seeds", "accuracy", "below black box", "completeness gap", "randomisation", "gates")
    gated = [gates(row, black_box) for row in own]
    gated += [[row[0]["name"], str(len(row)), accuracy(row), "", "", "", "black box"] for row in boxes]
    second = ("", *(row[0]["name"] for row in columns))
    vector = [
        [heading(columns, key, name, text), *(cell(row, key, name) for row in columns)]
        for key, name, text in VECTOR
        if any(key in row[0].get("metrics", {}) for row in columns)
    ]
    parts = [
        "# Leaderboard: faithfulness of built-in explanations",
        f"Benchmark: `{options['benchmark']}`, {options['split']} rows: all for accuracy, {options['limit']} for the "
        "metrics. Numbers are means ± standard deviation over training seeds; for a single seed, with the 95 % "
        "interval over rows." + (f" Post-hoc methods use {options['compare']} rows." if options.get("compare") else ""),
        "## Gates",
        "A model passes if its contributions sum to the score (95th percentile of the gap at most 0.001 standard "
        f"deviations of the scores), its accuracy is at most {100 * NEAR:g} point below that of the black box, and its "
        "evidence depends on the learned parameters. Models that fail a gate are listed too.",
        table(first, gated),
        "## Metrics",
        "↑ higher is better, ↓ lower is better, n/a: the metric does not apply to the explanation.",
        table(second, vector),
    ]
    if any("FunnyBirds" in one.get("metrics", {}) for row in columns for one in row):
        parts += [
            "## The FunnyBirds protocol",
            "Parts that the explanation names, compared with the effects of removing parts; the threshold is chosen on "
            "validation rows. BI measures the model, not its explanation; chance of SD and TS is 0.5.",
            table(second, [[name, *(cell(row, "FunnyBirds", name) for row in columns)] for name in BIRDS]),
        ]
    if notes := lacking(columns):
        parts += ["Not applicable:", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def shortened(models: Sequence[Mapping[str, Any]], benchmark: str) -> list[Mapping[str, Any]]:
    """The models without the suffix of the benchmark, the part of its config's name after the first underscore."""
    end = f"_{benchmark.partition('_')[2]}"
    return [{**one, "name": one["name"].removesuffix(end)} for one in models]


def lacking(rows: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The metrics that do not apply, for each model and reason."""
    notes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for metric in row[0].get("metrics", {}).values():
            if "not applicable" in metric:
                notes.setdefault((row[0]["name"], metric["not applicable"]), []).append(metric["title"])
    return [f"{name} {reason}: {', '.join(titles)}" for (name, reason), titles in notes.items()]


def grouped(models: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Models grouped over seeds, the most accurate first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in models:
        groups.setdefault(one["name"], []).append(one)
    return sorted(groups.values(), key=lambda row: -mean(one["accuracy"] for one in row))


def posthoc(row: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """One group for each post-hoc method of a black box."""
    names = list(row[0].get("methods", {}))
    return [[{**one, "name": name, "metrics": one["methods"][name]} for one in row] for name in names]


def gates(row: Sequence[Mapping[str, Any]], black_box: float | None) -> list[str]:
    """The row of a model in the table of gates."""
    below = None if black_box is None else black_box - mean(one["accuracy"] for one in row)
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
    """The worst value over seeds; None if it was not measured."""
    values = [v for v in (value(one, key, name) for one in row) if v is not None]
    return of(values) if values else None


def accuracy(row: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy in per cent, over seeds."""
    values = [100 * one["accuracy"] for one in row]
    return f"{values[0]:.1f} %" if len(values) < 2 else f"{mean(values):.1f} ± {stdev(values):.1f} %"


def value(one: Mapping[str, Any], key: str, name: str) -> float | None:
    """The value of a column; None if it was not measured."""
    column = one.get("metrics", {}).get(key, {}).get("values", {}).get(name)
    return None if column is None else column["value"]


def cell(row: Sequence[Mapping[str, Any]], key: str, name: str) -> str:
    """A number over seeds, or with its interval; "n/a" if the metric does not apply, "–" if it is undefined."""
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
    """The heading with an arrow for the better direction."""
    for row in rows:
        column = row[0].get("metrics", {}).get(key, {}).get("values", {}).get(name)
        if column is not None:
            return f"{text} {ARROWS[column['direction']]}".rstrip()
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
