"""`train.py list`: what there is."""

import argparse
from pathlib import Path

from zoo.checkpoints.config_file import ABOUT, CONFIG, read_config
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.shipped import list_checkpoints
from zoo.core import registry


def list_things(arguments: list[str]) -> int:
    """Lists models, data modules, configs or checkpoints. Returns the exit code."""
    parser = argparse.ArgumentParser("train.py list", description=list_things.__doc__)
    parser.add_argument("what", nargs="?", default="models", choices=sorted(LISTS), help="default: models")
    rows = LISTS[parser.parse_args(arguments).what]()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _models() -> list[tuple[str, ...]]:
    rows = [(e.name, e.family, ", ".join(e.modality), e.paper, e.summary) for e in registry.entries()]
    return [("NAME", "FAMILY", "READS", "PAPER", "WHAT"), *rows]


def _data() -> list[tuple[str, ...]]:
    from zoo.cli.classes import data_modules, summary

    return [("NAME", "WHAT"), *((name, summary(module, name)) for name, module in data_modules().items())]


def _configs() -> list[tuple[str, ...]]:
    return [("CONFIG", "WHAT"), *((str(p), _first_comment(p)) for p in sorted(Path("configs").rglob("*.yaml")))]


def _tasks() -> list[tuple[str, ...]]:
    from zoo.data.synthetic.code_tasks import tasks

    return [("TASK", "WHAT"), *((task.name, task.description) for task in tasks())]


def _checkpoints() -> list[tuple[str, ...]]:
    shipped = [(name, find(name)) for name in list_checkpoints()]
    runs = [(str(file.parent), file.parent) for file in sorted(Path("runs").glob(f"*/checkpoint/{CONFIG}"))]
    rows = [_checkpoint(name, folder) for name, folder in (*shipped, *runs)]
    if not rows:
        rows = [("none comes with this installation, and none is in runs/", "", "", "", "", "")]
    return [("CHECKPOINT", "FAMILY", "MODEL", "DATA", "TEST", "SIZE"), *rows]


def _checkpoint(name: str, folder: Path) -> tuple[str, ...]:
    size = f"{sum(p.stat().st_size for p in folder.iterdir()) / 1e6:.1f} MB"
    try:
        told = read_config(folder)
    except (ValueError, OSError):
        return name, "", "", "", f"damaged, see `python train.py check {name}`", size
    data = told.get(ABOUT, {}).get("data", "").split(";")[0].split(" (")[0]
    test = ", ".join(f"{k} {v:.4f}" for k, v in told["metrics"].items())
    family = told.get(ABOUT, {}).get("family", "")  # of own runs nobody wrote it down, and to look it up takes torch
    return name, family, told["model"], data, test, size


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


LISTS = {"models": _models, "data": _data, "configs": _configs, "checkpoints": _checkpoints, "tasks": _tasks}
