"""`train.py edit`: changes the curves of an additive model, and measures the model before and after."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser
from zoo.cli.checkpoint_data import add_force, data_of, loader_of, require_same_domain
from zoo.core.curves import HasCurves
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.training.batch import as_batch
from zoo.training.projection_set import ProjectionSet
from zoo.training.tasks import metrics_of, report_of
from zoo.utils.collate import collate
from zoo.utils.printable import printable
from zoo.utils.yaml_files import ConfigLoader, read_yaml

SPLITS = ("train", "val", "test")
SHOWN = ("accuracy", "auroc", "brier", "calibration_error", "r2", "rmse", "mae")


@runtime_checkable
class Editable(Protocol):
    """A model whose curves can be changed."""

    edits: tuple[dict[str, Any], ...]

    def edited(self, edits: list[dict[str, Any]]) -> "Editable":
        """A copy with changes to the original curves."""
        ...

    def refit(self, projection_set: ProjectionSet) -> SelfInterpretable:
        """A copy whose other curves are fitted again."""
        ...


def edit(arguments: list[str]) -> int:
    """Changes curves of an additive model as a YAML file says, and saves the changed model as a checkpoint.

    The changes are applied after those that the checkpoint already has. They are kept in the new checkpoint with the
    original curves: --undo gives these back. With --refit all other curves are fitted to the training data again, while
    edited ones and pairs of their columns are held; the result is a new original. Prints metrics on training,
    validation and test data before and after each step. --data.init_args.NAME VALUE overrides a value of the data, such
    as its folder.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    model = zoo.load(options.checkpoint)
    if not isinstance(model, Editable):
        raise ValueError(
            f"{options.checkpoint} is a {type(model).__name__}, whose curves cannot be edited; use a ga2m model."
        )
    if (options.edits is None) == (not options.undo):
        raise ValueError("edit needs --edits FILE, or --undo.")
    if (options.output / "config.yaml").exists():
        raise FileExistsError(f"{options.output} holds a checkpoint already; choose another --output.")
    changes = [] if options.undo else read_yaml(options.edits, ConfigLoader)
    if not isinstance(changes, list):
        raise ValueError(f"{options.edits} must be a list such as [{{unit: age, remove: true}}].")
    if options.undo and options.refit:
        raise ValueError("--refit holds edits, and --undo removes them; give one of them.")
    edited: Any = model.edited([] if options.undo else [*model.edits, *changes])
    data = data_of(options.checkpoint, options.config, overrides, "edit")
    require_same_domain(model, data, f"edit {options.checkpoint}", options.force == "true")
    before, after = (measured(one, data) for one in (model, edited))
    print_table("edited", before, after)
    count = len(edited.edits)
    if options.refit:
        edited = edited.refit(ProjectionSet(data.projection_dataset(), batch_size=data.batch_size))
        before, after = after, measured(edited, data)
        print_table("fitted again", before, after)
    for warning in still_read(edited, changes):
        print(f"note: {printable(warning)}")
    metrics = {f"test/{name}": value for name, value in after["test"].items()}
    print(f"{count} edits; saved {printable(zoo.save(edited, options.output, metrics=metrics))}")
    return 0


def still_read(model: SelfInterpretable, changes: list[Any]) -> list[str]:
    """What removed columns still contribute, in pairs."""
    if not isinstance(model, HasCurves):
        return []
    removed = {change["unit"] for change in changes if change.get("remove")}
    pairs = [curve for curve in model.curves() if len(curve.axes) == 2 and bool(curve.values.any())]
    found = {unit: [p.unit for p in pairs if unit in {axis.column for axis in p.axes}] for unit in sorted(removed)}
    return [
        f"'{unit}' is removed by itself, but still counts in {', '.join(names)}; remove these units too, if the score "
        f"must not depend on it."
        for unit, names in found.items()
        if names
    ]


def measured(model: SelfInterpretable, data: DataModule) -> dict[str, dict[str, float]]:
    """The metrics of a model on each split."""
    found = {}
    for split in SPLITS:
        loader = DataLoader(data.projection_dataset(), data.batch_size, collate_fn=collate)
        found[split] = metrics(model, loader if split == "train" else loader_of(data, split))
    return found


@torch.no_grad()
def metrics(model: SelfInterpretable, batches: DataLoader) -> dict[str, float]:
    """The metrics of a model on batches."""
    report, others = report_of(model.domain, model.space), metrics_of(model.domain)
    for batch in map(as_batch, batches):
        scores = model(batch["input"].to(model.device)).cpu()
        report.update(scores, batch["target"].cpu())
        others.update(scores, batch["target"].cpu())
    found = {**report.compute(), **others.compute()}
    return {name: float(found[name]) for name in SHOWN if name in found}


def print_table(step: str, before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> None:
    """Prints the metrics before and after a step."""
    print(f"{step:<18}" + "".join(f"{split:^24}" for split in SPLITS))
    for name in before["test"]:
        cells = "".join(f"{before[s][name]:>10.4f} -> {after[s][name]:<10.4f}" for s in SPLITS)
        print(f"{name:<18}{cells}")


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("edit", edit.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of an additive model")
    parser.add_argument("--edits", type=Path, help="YAML file with a list of changes")
    parser.add_argument("--undo", action="store_true", help="give back the original curves")
    parser.add_argument("--refit", action="store_true", help="then fit all other curves again")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder of the new checkpoint")
    return parser
