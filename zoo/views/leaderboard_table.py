"""The leaderboard as Markdown: gates first, then each metric separately, without an aggregate score."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from zoo.views.leaderboard_comparison import comparison
from zoo.views.leaderboard_numbers import Row, accuracy, cell, heading, table, worst

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
    ("M15", "units", "predictivity"),
    ("M15", "gain", "predictivity: gain over scores"),
)
BIRDS = ("CSDC", "PC", "DC", "D", "SD", "TS", "BI", "completeness", "mean", "threshold")


def markdown(models: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
    """The leaderboard.

    Args:
        models: results of each model, see `zoo.cli.leaderboard_results`.
        options: the options of that command: "benchmark", "split" and "limit".
    """
    rows = grouped(shortened(models, options["benchmark"]))
    boxes, own = [row for row in rows if row[0]["twin"]], [row for row in rows if not row[0]["twin"]]
    black_box = mean(one["accuracy"] for row in boxes for one in row) if boxes else None
    first = ("model", "seeds", "accuracy", "below black box", "completeness gap", "randomisation", "gates")
    gated = [gates(row, black_box) for row in own]
    gated += [[row[0]["name"], str(len(row)), accuracy(row), "", "", "", "black box"] for row in boxes]
    second = ("", *(row[0]["name"] for row in own))
    vector = [
        [heading(own, key, name, title), *(cell(row, key, name) for row in own)]
        for key, name, title in VECTOR
        if any(key in row[0].get("metrics", {}) for row in own)
    ]
    parts = [
        "# Leaderboard: faithfulness of explanations",
        f"Benchmark: `{options['benchmark']}`, {options['split']} rows: all for accuracy, {options['limit']} for the "
        "metrics, the same for every model and explanation. In brackets: 95 % intervals over these rows and over "
        "training seeds; accuracy ± standard deviation over seeds.",
        "## Gates",
        "A model passes if its contributions sum to the score (95th percentile of the gap at most 0.001 standard "
        f"deviations of the scores), its accuracy is at most {100 * NEAR:g} point below that of the black box, and its "
        "evidence depends on the learned parameters. A gate that does not apply (n/a) counts as passed. Models that "
        "fail a gate are listed too.",
        table(first, gated),
        unranked(own, black_box),
        "## Built-in explanations",
        "↑ higher is better, ↓ lower is better, n/a: the metric does not apply to the explanation.",
        table(second, vector),
    ]
    if compared := comparison(rows):
        parts += [
            "## Built-in and post-hoc explanations of the same models",
            "Post-hoc methods use 8 × 8 patches of images. The best number of each model is bold. Not compared: "
            "locality and purity, which concern units of a model, and stability and randomisation, which would take "
            "many more explanations of each input.",
            compared,
        ]
    if any("FunnyBirds" in one.get("metrics", {}) for row in own for one in row):
        parts += [
            "## The FunnyBirds protocol",
            "Parts that the built-in explanation names, compared with the effects of removing parts; the threshold is "
            "chosen on validation rows. BI measures the model, not its explanation; chance of SD and TS is 0.5.",
            table(second, [[name, *(cell(row, "FunnyBirds", name) for row in own)] for name in BIRDS]),
        ]
    if notes := lacking(own):
        parts += ["Not applicable:", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def unranked(rows: Sequence[Row], black_box: float | None) -> str:
    """Which models pass the gates, and what is not ranked because their units have no place in the input."""
    placed = [row for row in rows if not any("location" in reason for reason in reasons(row))]
    passed = [row for row in rows if not failures(row, black_box)]
    if not rows or len(placed) == len(rows):
        return ""
    named = lambda chosen: ", ".join(row[0]["name"] for row in chosen)  # noqa: E731
    without = named(row for row in rows if row not in placed)
    parts = [
        f"Not ranked: the units of {without} have no place in the input, so no metric below that removes or locates "
        "evidence applies to them, whatever their accuracy."
    ]
    if passed and not any(row in placed for row in passed):
        parts.append(
            f"These are the only models that pass the gates ({named(passed)}): every number below that removes or "
            "locates evidence belongs to a model that fails a gate, or to a post-hoc explanation."
        )
    elif passed:
        parts.append(f"Models that pass the gates and have a place: {named(row for row in passed if row in placed)}.")
    return " ".join(parts)


def shortened(models: Sequence[Mapping[str, Any]], benchmark: str) -> list[Mapping[str, Any]]:
    """The models without the suffix of the benchmark, the part of its config's name after the first underscore."""
    end = f"_{benchmark.partition('_')[2]}"
    return [{**one, "name": one["name"].removesuffix(end)} for one in models]


def reasons(row: Row) -> dict[str, list[str]]:
    """The titles of the metrics that do not apply to a model, by reason."""
    found: dict[str, list[str]] = {}
    for metric in row[0].get("metrics", {}).values():
        if "not applicable" in metric:
            found.setdefault(metric["not applicable"], []).append(metric["title"])
    return found


def lacking(rows: Sequence[Row]) -> list[str]:
    """The metrics that do not apply, for each model and reason."""
    return [f"{row[0]['name']} {why}: {', '.join(titles)}" for row in rows for why, titles in reasons(row).items()]


def grouped(models: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Models grouped over seeds, the most accurate first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in models:
        groups.setdefault(one["name"], []).append(one)
    return sorted(groups.values(), key=lambda row: -mean(one["accuracy"] for one in row))


def failures(row: Row, black_box: float | None) -> list[str]:
    """The gates that a model fails."""
    below = None if black_box is None else black_box - mean(one["accuracy"] for one in row)
    gap, random = worst(row, "M1", "gap", lowest=False), worst(row, "M9", "everything", lowest=True)
    passed = {
        "accuracy": below is None or below <= NEAR,
        "completeness": gap is None or gap <= COMPLETE,
        "randomisation": random is None or random > RANDOMISED,
    }
    return [name for name, ok in passed.items() if not ok]


def gates(row: Row, black_box: float | None) -> list[str]:
    """The row of a model in the table of gates."""
    below = "" if black_box is None else f"{100 * (black_box - mean(one['accuracy'] for one in row)):+.1f} points"
    failed = failures(row, black_box)
    verdict = f"fails {', '.join(failed)}" if failed else "passes"
    cells = (below, cell(row, "M1", "gap"), cell(row, "M9", "everything"))
    return [row[0]["name"], str(len(row)), accuracy(row), *cells, verdict]
