"""What a test or a validation leaves in the folder of a run: metrics as JSON, the confusion matrix, the concepts."""

import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning import Trainer
from torch import Tensor

from zoo.training.fit import metrics_of
from zoo.training.report import ClassificationReport, most_confused
from zoo.training.staged_module import StagedModule
from zoo.utils.atomic import write_text

PREFIX = {"test": "", "val": "validation_"}  # of the files of a split
METRICS = "metrics.json"


def write_metrics(trainer: Trainer, model: StagedModule, folder: Path, split: str = "test") -> dict[str, float | None]:
    """Writes metrics.json, confusion.csv, confusion.png and concepts.csv of a test that has just ended.

    The files of a validation have the prefix `validation_`. The matrix needs at most 1,000 classes, and the figure the
    extra `plot`. With several processes, only the first one writes.

    Args:
        trainer: that ran the test.
        model: that was tested.
        folder: of the run.
        split: "test" or "val".

    Returns:
        the metrics by name; None for an undefined one, such as the AUROC of a single class.
    """
    metrics = metrics_of(trainer, split)
    if not trainer.is_global_zero:
        return metrics
    folder.mkdir(parents=True, exist_ok=True)
    prefix = PREFIX[split]
    write_text(folder / f"{prefix}{METRICS}", json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    print(f"\n{'validation' if split == 'val' else split} " + " · ".join(map(shown, metrics, metrics.values())))
    if isinstance(model.report, ClassificationReport):
        write_confusion(model.report, model.domain.classes, folder, prefix)
        if model.report.ranking.binned:
            print("note: there were too many rows for exact rankings; auroc and average_precision are from histograms")
    return metrics


def write_confusion(report: ClassificationReport, classes: tuple[str, ...], folder: Path, prefix: str) -> None:
    """Writes the matrix as CSV, true classes in rows, and as a figure if matplotlib is installed."""
    confusion = report.confusion.cpu()
    if not confusion.numel():
        return
    rows = [[name, *counts] for name, counts in zip(classes, confusion.tolist(), strict=True)]
    write_text(folder / f"{prefix}confusion.csv", table([["true \\ predicted", *classes], *rows]))
    if pairs := most_confused(confusion, classes, 3):
        print("confused " + " · ".join(f"{p.true} as {p.predicted} {p.times} of {p.of}" for p in pairs))
    if find_spec("matplotlib") is None:
        print("note: no confusion.png without matplotlib: pip install self-interpretable-zoo[plot]")
        return
    from zoo.views.confusion import confusion_figure

    confusion_figure(confusion, classes).savefig(folder / f"{prefix}confusion.png", dpi=150)


def confused_pairs(model: StagedModule) -> list[dict[str, Any]]:
    """The most confused pairs of classes of the last test, as plain data for the model card."""
    report = model.report
    if not isinstance(report, ClassificationReport) or not report.confusion.numel():
        return []
    return [pair._asdict() for pair in most_confused(report.confusion.cpu(), model.domain.classes)]


def chosen_threshold(folder: Path) -> float | None:
    """The threshold of two classes that an earlier test or validation of a run wrote down."""
    for name in (METRICS, f"{PREFIX['val']}{METRICS}"):
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")).get("threshold") if path.is_file() else None
        if isinstance(found, int | float):
            return float(found)
    return None


def table(rows: list[list[Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def shown(name: str, value: float | Tensor | None) -> str:
    """A metric for the terminal."""
    return f"{name} {'n/a' if value is None else f'{value:.4f}'}"
