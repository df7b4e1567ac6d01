"""Writes the page of the speed benchmarks from results.json."""

from collections.abc import Mapping, Sequence
from typing import Any

INTRODUCTION = """# Speed

Written by `python -m benchmarks` from results.json; `--only SECTION` measures one section again. The methods of a row
are timed in turn in one process, round by round. Times are medians in ms; memory is the peak beyond the start; a ratio
is the median over the rounds, with its quartiles. **faster**: time of the other method divided by ours. **cost**: our
time divided by that of the other method. Methods that compute the same are compared before they are timed, and the run
fails if they differ by more than the tolerance in the last column.
"""


NO_GPU = """Not measured, because no CUDA device was available: projection takes at most 1.1 times as long as the passes
of the backbone; a weight-sparse training step at most 1.15 times as long as a dense one; a device that trains ResNet-34
at 224 pixels is busy at least 90 % of the time.
"""


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown: all goals first, then a table for each section."""
    parts = [INTRODUCTION, "## Goals\n", _goals(results)]
    parts += [] if any(section.endswith("(CUDA)") for section in results) else [NO_GPU]
    for section, found in results.items():
        parts += [f"## {section}\n", f"{found['about']}\n", f"{found['device']}. `{found['command']}`\n"]
        cases = [row for row in found["rows"] if "ways" in row]
        readings = [row for row in found["rows"] if "ways" not in row]
        parts += [f"![{section}]({found['figure']})\n"] if "figure" in found else []
        parts += [_cases(cases)] if cases else []
        parts += [_readings(readings)] if readings else []
    return "\n".join(parts)


def _goals(results: Mapping[str, Mapping[str, Any]]) -> str:
    judged = [(section, row) for section, found in results.items() for row in found["rows"] if "goal" in row]
    lines = ["| section | case | goal | measured | met |", "|---|---|---|---|---|"]
    for section, row in judged:
        met = "yes" if row["met"] else f"**no**: {row.get('missed') or 'cause unknown'}"
        lines.append(f"| {section} | {_what(row)} | {_goal(row)} | {_value(row)} | {met} |")
    return "\n".join(lines) + "\n"


def _what(row: Mapping[str, Any]) -> str:
    return row["what"] if "ways" not in row else f"{row['what']}: {row['ours']} vs. {next(iter(row['ratios']))}"


def _goal(row: Mapping[str, Any]) -> str:
    least, most = row["goal"]["at_least"], row["goal"]["at_most"]
    number = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
    return f"{number} x, {row['kind']}" if "ways" in row else f"{number} {row['unit']}".strip()


def _value(row: Mapping[str, Any]) -> str:
    if "ways" not in row:
        return f"{row['value']:.4g} {row['unit']}".strip()
    return _ratio(next(iter(row["ratios"].values())))


def _ratio(spread: Sequence[float]) -> str:
    low, middle, high = (f"{value:.3g}" for value in spread)
    return f"{middle} x ({low} to {high})"


def _cases(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| case | method | ms | MiB | ratio | tolerance |", "|---|---|---|---|---|---|"]
    for row in rows:
        for name, way in row["ways"].items():
            ours = name == row["ours"]
            ratio = "" if ours else f"{_ratio(row['ratios'][name])} {row['kind']}"
            equal = "" if ours else ("not equal" if row["apart"] is None else f"{row['apart']:g}")
            memory = "" if way.get("MiB") is None else f"{way['MiB']:.0f}"
            lines.append(f"| {row['what']} | {name} | {way['ms'][1]:.4g} | {memory} | {ratio} | {equal} |")
    return "\n".join(lines) + "\n"


def _readings(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| quantity | value |", "|---|---|"]
    lines += [f"| {row['what']} | {_value(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
