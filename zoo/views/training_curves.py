"""Training curves: weighted loss terms and metrics by epoch, from the log of `fit`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.utils.optional import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = list[tuple[int, float]]
SPLITS = {"train": "-", "val": "--"}
APART = 20.0  # ratio of the largest values of two curves from which on they do not share an axis


def training_curves(run: Path) -> dict[str, Curve]:
    """(epoch, value) pairs by column, such as "val/accuracy", over all parts of a resumed run.

    Raises:
        FileNotFoundError: there is no log.
    """
    logs = sorted(run.glob("logs/version_*/metrics.csv"), key=lambda path: int(path.parent.name.rpartition("_")[2]))
    if not logs:
        raise FileNotFoundError(f"no log in {run} (logs/version_*/metrics.csv); pass a folder written by `fit`.")
    found: dict[str, dict[int, float]] = {}
    for log in logs:
        with log.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    if value and name.partition("/")[0] in SPLITS and (row.get("epoch") or "").isdigit():
                        found.setdefault(name, {})[int(row["epoch"])] = float(value)
    return {name: sorted(values.items()) for name, values in found.items()}


def training_figure(run: Path, coefficients: Mapping[str, float] | None = None) -> "Figure":
    """A figure with a panel for each scale: the loss, its terms, and metrics; training solid, validation dashed.

    Terms are drawn as they enter the loss, times their coefficients; a term whose coefficient is 0 is left out.
    Curves of one kind whose values differ by more than a factor of 20 get panels of their own.

    Args:
        run: folder written by `fit`.
        coefficients: of the loss terms by name; 1 for others.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
        FileNotFoundError: there is no log.
    """
    need("matplotlib", "plot")
    from matplotlib.figure import Figure

    panels = panels_of(training_curves(run), coefficients or {})
    columns = min(max(len(panels), 1), 3)
    rows = -(-max(len(panels), 1) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (title, curves) in zip(grid, panels, strict=False):
        _draw(axes, title, curves)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(run.name)
    return figure


def panels_of(curves: Mapping[str, Curve], coefficients: Mapping[str, float]) -> list[tuple[str, dict[str, Curve]]]:
    """Title and curves of each panel: the loss, terms by scale, metrics by scale.

    Args:
        curves: by column of the log.
        coefficients: of the loss terms.
    """
    total: dict[str, Curve] = {}
    terms: dict[str, dict[str, Curve]] = {}
    metrics: dict[str, dict[str, Curve]] = {}
    for column, points in curves.items():
        split, _, name = column.partition("/")
        if name == "loss":
            total[column] = points
        elif name.startswith("loss/"):
            term = name.removeprefix("loss/")
            weight = coefficients.get(term, 1.0)
            if weight:
                label = term if weight == 1 else f"{weight:g} × {term}"
                terms.setdefault(label, {})[split] = [(epoch, weight * value) for epoch, value in points]
        else:
            metrics.setdefault(name, {})[split] = points
    panels = [("loss", total)] if total else []
    for title, named in (("loss terms, weighted", terms), ("metrics", metrics)):
        groups = by_scale(named)
        for group in groups:
            shown = {f"{split} {name}": named[name][split] for name in group for split in named[name]}
            panels.append((title if len(group) > 1 else group[0], shown))
    return panels


def by_scale(named: Mapping[str, Mapping[str, Curve]]) -> list[list[str]]:
    """Names in groups whose largest absolute values are within a factor of 20 of the group's largest."""
    size = {name: max(abs(v) for c in curves.values() for _, v in c) for name, curves in named.items()}
    groups: list[list[str]] = []
    for name in sorted(size, key=lambda name: -size[name]):
        if groups and size[name] * APART >= size[groups[-1][0]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _draw(axes: "Axes", title: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    colours: dict[str, str] = {}
    for label, points in curves.items():
        split, _, name = label.replace("/", " ", 1).partition(" ")
        colour = colours.setdefault(name, f"C{len(colours) % 10}")
        mark = "o" if len(points) == 1 else ""
        axes.plot(*zip(*points, strict=True), SPLITS[split] + mark, color=colour, linewidth=1.4, label=label)
    axes.set(title=title, xlabel="epoch")
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=7, frameon=False)
    axes.grid(alpha=0.3)
