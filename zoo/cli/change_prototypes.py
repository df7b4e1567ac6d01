"""What remove-prototypes and merge-prototypes share: change a prototype model, refit its head, compare, and save."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser
from zoo.cli.checkpoint_data import SPLITS, accuracy, add_force, data_of, loader_of, require_same_domain
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.training.refit import refit

Change = Callable[[Any, DataModule], str]  # changes a model, given its data, and says what it did


def change_prototypes(
    parser: CommandParser, arguments: list[str], method: str, change: Callable[[Any, Any], Change]
) -> int:
    """Runs a command that changes the prototypes of a checkpoint.

    Prints the accuracy on validation and test data before and after the change and the refit, and saves the model.

    Args:
        parser: see `make_parser`.
        arguments: of the command.
        method: of the model, without which it cannot be changed.
        change: from the parsed options and the model to what is done to it; raises a ValueError if they do not fit.

    Raises:
        ValueError: the model cannot be changed, or its head cannot be refitted.
        FileExistsError: the output is a checkpoint already.
    """
    options, overrides = parser.parse_with_overrides(arguments)
    model: Any = zoo.load(options.checkpoint)
    name = type(model).__name__
    if not hasattr(model, method):
        raise ValueError(f"{options.checkpoint} is a {name}, which has no prototypes to {method.partition('_')[0]}.")
    if options.refit < 0:
        raise ValueError(f"--refit must be a number of epochs, at least 0; got {options.refit}.")
    if options.refit and "head" not in model.groups():
        raise ValueError(f"{name} has no head to refit; leave out --refit.")
    if (options.output / "config.yaml").exists():
        raise FileExistsError(f"{options.output} holds a checkpoint already; choose another --output.")
    make = change(options, model)
    data = data_of(options.checkpoint, options.config, overrides, parser.command)
    require_same_domain(model, data, f"change {options.checkpoint}", options.force == "true")
    rows = [("original", *accuracies(model, data))]
    rows.append((make(model, data), *accuracies(model, data)))
    if options.refit:
        refit(model, data, ("head",), options.refit, options.lr)
        rows.append((f"head refitted for {options.refit} epochs", *accuracies(model, data)))
    width = max(len(row[0]) for row in rows)
    print(f"{'accuracy':<{width}}  validation    test")
    for label, validation, test in rows:
        print(f"{label:<{width}}  {validation:>10.1%}  {test:>6.1%}")
    print(f"saved {zoo.save(model, options.output)}")
    return 0


def accuracies(model: SelfInterpretable, data: DataModule) -> tuple[float, float]:
    """Accuracy on validation and on test data."""
    test, validation = (accuracy(model, loader_of(data, split)) for split in SPLITS)
    return validation, test


def make_parser(command: str, description: str | None) -> CommandParser:
    """The options that these commands share."""
    parser = CommandParser(command, description)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a prototype model")
    parser.add_argument("--refit", default=0, type=int, metavar="EPOCHS", help="train the head further (default: 0)")
    parser.add_argument("--lr", type=float, help="learning rate of the refit (default: that of the recipe)")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder of the new checkpoint")
    return parser
