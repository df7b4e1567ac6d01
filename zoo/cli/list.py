"""`train.py list`: lists models, data modules, configs, checkpoints, tasks or pretrained weights."""

from pathlib import Path

from zoo.checkpoints.config_file import ABOUT, CONFIG, read_config
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.shipped import list_checkpoints
from zoo.cli.arguments import CommandParser
from zoo.cli.classes import data_modules, summary
from zoo.core import registry
from zoo.utils.printable import printable

Row = tuple[str, ...]


def list_things(arguments: list[str]) -> int:
    """Lists models, data modules, configs, checkpoints, tasks for `prune`, or pretrained weights."""
    parser = CommandParser("list", list_things.__doc__)
    parser.add_argument("what", nargs="?", default="models", choices=sorted(LISTS), help="default: models")
    rows = [tuple(map(printable, row)) for row in LISTS[parser.parse(arguments).what]()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def models() -> list[Row]:
    """The registered models."""
    rows = [(e.name, e.family, ", ".join(e.modality), e.paper, e.summary) for e in registry.entries()]
    return [("NAME", "FAMILY", "INPUT", "PAPER", "DESCRIPTION"), *rows]


def data() -> list[Row]:
    """The data modules."""
    return [("NAME", "DESCRIPTION"), *((name, summary(module, name)) for name, module in data_modules().items())]


def configs() -> list[Row]:
    """The configs in the folder `configs`, by their first comment."""
    return [("CONFIG", "DESCRIPTION"), *((str(p), first_comment(p)) for p in sorted(Path("configs").rglob("*.yaml")))]


def tasks() -> list[Row]:
    """The tasks whose circuits `prune` finds."""
    from zoo.data.synthetic.code_tasks import tasks

    return [("TASK", "DESCRIPTION"), *((task.name, task.description) for task in tasks())]


def weights() -> list[Row]:
    """The pretrained weights at hand, and the ways to get others."""
    from zoo.cli import list_weights

    return list_weights.weights()


def checkpoints() -> list[Row]:
    """The shipped checkpoints, and those of the runs in the folder `runs`."""
    shipped = [(name, find(name)) for name in list_checkpoints()]
    runs = [(str(file.parent), file.parent) for file in sorted(Path("runs").glob(f"*/checkpoint/{CONFIG}"))]
    rows = [checkpoint(name, folder) for name, folder in (*shipped, *runs)]
    if not rows:
        rows = [("none: this installation ships none, and runs/ has none", "", "", "", "", "")]
    return [("CHECKPOINT", "FAMILY", "MODEL", "DATA", "TEST", "SIZE"), *rows]


def checkpoint(name: str, folder: Path) -> Row:
    """Family, model, data, test metrics and size of a checkpoint."""
    size = ""
    try:
        size = f"{sum(p.stat().st_size for p in folder.iterdir()) / 1e6:.1f} MB"
        config = read_config(folder)
        family = registry.find(config["model"]).family
    except (ValueError, OSError):
        return name, "", "", "", f"damaged, see `python train.py check {name}`", size
    data = str(config.get(ABOUT, {}).get("data", "")).split(";")[0].split(" (")[0]
    test = ", ".join(f"{metric} {value:.4f}" for metric, value in config["metrics"].items())
    return name, family, config["model"], data, test, size


def first_comment(path: Path) -> str:
    """The comment on the first line of a file."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


LISTS = {
    "models": models,
    "data": data,
    "configs": configs,
    "checkpoints": checkpoints,
    "tasks": tasks,
    "weights": weights,
}
