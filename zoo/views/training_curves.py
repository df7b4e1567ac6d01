"""Training curves: losses and accuracies by epoch, from the log of `fit`."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.utils.optional import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {"loss": "loss", "accuracy": "accuracy"}
SPLITS = {"train": "-", "val": "--"}


def training_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
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


def training_figure(run: Path) -> "Figure":
    """A figure with losses and accuracies: solid lines for training, dashed for validation.

    Args:
        run: folder written by `fit`.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
        FileNotFoundError: there is no log.
    """
    need("matplotlib", "plot")
    from matplotlib.figure import Figure

    curves = training_curves(run)
    chosen = {
        panel: {name: points for name, points in curves.items() if name.rpartition("/")[2].endswith(end)}
        for panel, end in PANELS.items()
    }
    chosen["loss"] |= {name: points for name, points in curves.items() if name.count("/") == 2 and "/loss/" in name}
    drawn = {panel: lines for panel, lines in chosen.items() if lines}
    figure = Figure(figsize=(5.2 * max(len(drawn), 1), 3.8), layout="constrained")
    panels = figure.subplots(1, max(len(drawn), 1), squeeze=False)[0]
    for axes, (panel, lines) in zip(panels, drawn.items(), strict=True):
        colours: dict[str, str] = {}
        for name, points in lines.items():
            split, _, what = name.partition("/")
            colour = colours.setdefault(what, f"C{len(colours) % 10}")
            width = 1.8 if what == panel else 0.9
            axes.plot(*zip(*points, strict=True), SPLITS[split], color=colour, linewidth=width, label=name)
        axes.set(title=panel, xlabel="epoch")
        axes.legend(fontsize=7, frameon=False)
        axes.grid(alpha=0.3)
    figure.suptitle(run.name)
    return figure
