"""`train.py shrink`: stores a checkpoint in half precision or int8, and measures what that changes."""

from pathlib import Path
from typing import Any

from zoo.checkpoints.config_file import ABOUT, GOLDEN, SHARED, STORAGE, read_config
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.save import attach_effect, save
from zoo.checkpoints.tensor_files import read_tensors
from zoo.cli.arguments import CommandParser
from zoo.cli.checkpoint_data import SPLITS, add_force, data_of, default_device, require_same_domain
from zoo.core.storage import Effect, Storage
from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness.rows import NumberedBatches
from zoo.metrics.stored_weights import storage_effect
from zoo.utils.printable import printable
from zoo.utils.small_tensors import FORMS

ROWS = 1000


def shrink(arguments: list[str]) -> int:
    """Stores the weights of a checkpoint in half precision or int8, and measures what that changes.

    The new checkpoint is loaded like any other; it computes in float32 with the rounded weights, so explanations add up
    to its scores. Its card tells the size, the accuracy before and after, and the largest change of a contribution on
    data of the run; `explain` repeats it. --data.init_args.NAME VALUE overrides a value of the data.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    folder, output = options.checkpoint, options.output
    if options.limit < 0:
        raise ValueError(f"--limit must be at least 0; got {options.limit}.")
    config = read_config(folder)
    if STORAGE in config:
        raise ValueError(
            f"the weights of {folder} are stored as {Storage.from_dict(config[STORAGE]).form} already; give the "
            "checkpoint that it was made of."
        )
    if output.resolve() == folder.resolve():
        raise ValueError("--output must be another folder than the checkpoint, which keeps the weights in float32.")
    model = load(folder)
    data = data_of(folder, options.config, overrides, "shrink") if options.limit else None
    if data is not None:
        require_same_domain(model, data, f"shrink {folder}", options.force == "true")
    about = {key: value for key, value in config.get(ABOUT, {}).items() if key != "name"}
    save(
        model,
        output,
        metrics=config["metrics"],
        golden=read_tensors(folder / GOLDEN)["inputs"],
        share_backbone=SHARED in config and output.resolve().parent == folder.resolve().parent,
        about=about or None,
        storage=options.storage,
    )
    if data is not None:
        attach_effect(output, measured(folder, output, data, options))
    for name, text in Storage.from_dict(read_config(output)[STORAGE]).lines():
        print(f"{name}: {text}")
    print(f"written to {printable(output)}; it has no certificate, as that of float32 may not hold: see `certify`.")
    return 0


def measured(before: Path, after: Path, data: DataModule, options: Any) -> Effect:
    """What the rounded weights of a checkpoint change on data."""
    data.prepare_data()
    data.setup("test" if options.split == "test" else "validate")
    dataset: Any = data.test_dataset() if options.split == "test" else data.val_dataset()
    device = options.device or default_device()
    first, second = (load(folder).to(device) for folder in (before, after))
    return storage_effect(first, second, NumberedBatches(dataset, options.limit, data.batch_size), options.split)


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("shrink", shrink.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--storage", required=True, choices=FORMS[1:], help="how to store weights")
    parser.add_argument("--output", required=True, type=Path, help="folder of the new checkpoint")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--split", default="test", choices=SPLITS, help="rows to measure on (default: test)")
    parser.add_argument(
        "--limit", default=ROWS, type=int, metavar="N", help=f"number of rows, 0 to measure nothing (default: {ROWS:,})"
    )
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
