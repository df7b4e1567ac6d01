"""`train.py list`: what there is."""

import argparse
from pathlib import Path

from zoo import config, registry
from zoo.checkpoint import CONFIG, read_config
from zoo.data.code_tasks import tasks


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
    rows = [(e.name, e.family, ", ".join(e.modality), e.paper, _summary(e.cls)) for e in registry.entries()]
    return [("NAME", "FAMILY", "READS", "PAPER", "WHAT"), *rows]


def _data() -> list[tuple[str, ...]]:
    return [("NAME", "WHAT"), *((name, _summary(cls)) for name, cls in config.data_modules().items())]


def _configs() -> list[tuple[str, ...]]:
    return [("CONFIG", "WHAT"), *((str(p), _first_comment(p)) for p in sorted(Path("configs").rglob("*.yaml")))]


def _tasks() -> list[tuple[str, ...]]:
    return [("TASK", "WHAT"), *((task.name, task.description) for task in tasks())]


def _checkpoints() -> list[tuple[str, ...]]:
    rows = []
    for file in sorted([*Path("checkpoints").glob(f"*/{CONFIG}"), *Path("runs").glob(f"*/checkpoint/{CONFIG}")]):
        about = read_config(file.parent)
        size = sum(p.stat().st_size for p in file.parent.iterdir()) / 2**20
        rows.append(
            (
                str(file.parent),
                about["model"],
                ", ".join(f"{k} {v:.4f}" for k, v in about["metrics"].items()),
                f"{size:.1f} MB",
            )
        )
    if not rows:
        rows = [("none in checkpoints/ and runs/", "", "", "")]
    return [("CHECKPOINT", "MODEL", "TEST", "SIZE"), *rows]


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


LISTS = {"models": _models, "data": _data, "configs": _configs, "checkpoints": _checkpoints, "tasks": _tasks}
