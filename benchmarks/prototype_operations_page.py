"""The page of `benchmarks.prototype_operations`."""

import statistics
from typing import Any

WAYS = ("merged", "smallest weights", "Fisher information", "random")


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    weights = values_of(record["masks"], "weight")
    counts = values_of([row for row in record["fewer"] if row["way"] == WAYS[0]], "prototypes")
    lines = [
        "# What users do with prototypes",
        "",
        "Part birds of 20 classes, 2,000 training pictures; ProtoPNet with 4 prototypes for each class; training seeds "
        f"{', '.join(map(str, record['seeds']))}; percent of 500 test pictures unless said.",
        "",
        "## Masks of what is relevant",
        "",
        "Prototypes of the label: how often the strongest cell has pixels of the five parts that define the class, and "
        "which share of the similarity lies in such cells; prototypes: how often the training patch has. By chance: "
        f"{mean([row for row in record['masks'] if row['weight'] == weights[0]], 'chance')}.",
        "",
        "| weight of fine_annotation | validation accuracy | accuracy | strongest cell | similarity | training patch |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    columns = ("val accuracy", "accuracy", "peak", "mass", "source")
    for weight in weights:
        rows = [row for row in record["masks"] if row["weight"] == weight]
        lines.append(f"| {weight:g} | {' | '.join(mean(rows, name) for name in columns)} |")
    lines += [
        "",
        "Digits of which a patch in a corner tells the class in training and validation, and misleads in the test; "
        "masks are the strokes:",
        "",
        "| weight of fine_annotation | validation accuracy | accuracy |",
        "|---:|---:|---:|",
    ]
    for weight in weights:
        rows = [row for row in record["decoys"] if row["weight"] == weight]
        lines.append(f"| {weight:g} | {mean(rows, 'val accuracy')} | {mean(rows, 'accuracy')} |")
    everything = [row for row in record["fewer"] if row["way"] == "all"]
    lines += [
        "",
        "## Fewer prototypes",
        "",
        "Accuracy as it is, and after the same refit of the head; with all 80 prototypes "
        f"{mean(everything, 'as it is')}, refitted {mean(everything, 'refitted')}.",
        "",
        f"| prototypes | {' | '.join(map(str, counts))} |",
        f"|---|{'---:|' * len(counts)}",
    ]
    for way in WAYS:
        for name in ("as it is", "refitted"):
            cells = [[r for r in record["fewer"] if r["way"] == way and r["prototypes"] == n] for n in counts]
            lines.append(f"| {way}, {name} | {' | '.join(mean(rows, name) for rows in cells)} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.prototype_operations`.", ""])


def mean(rows: list[dict[str, Any]], name: str) -> str:
    """The mean of a share over seeds in percent, with the lowest and the highest of several."""
    values = [100 * row[name] for row in rows]
    spread = f" [{min(values):.1f} to {max(values):.1f}]" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def values_of(rows: list[dict[str, Any]], name: str) -> list[Any]:
    """The different values of a column, in order."""
    return list(dict.fromkeys(row[name] for row in rows))
