"""`train.py remove-prototypes`: removes prototypes from a model and refits its head."""

from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser
from zoo.cli.checkpoint_data import SPLITS, accuracy, add_force, data_of, loader_of, require_same_domain
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.training.refit import refit


def remove_prototypes(arguments: list[str]) -> int:
    """Removes prototypes, such as those of the background, and saves the model without them as a checkpoint.

    With --refit, the head is then trained further on the data of the run. Prints the accuracy on validation and test
    data before and after. --data.init_args.NAME VALUE overrides a value of the data, such as its folder.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    model: Any = zoo.load(options.checkpoint)
    name = type(model).__name__
    if not hasattr(model, "remove_prototypes"):
        raise ValueError(f"{options.checkpoint} is a {name}, which has no prototypes to remove.")
    if options.refit < 0:
        raise ValueError(f"--refit must be a number of epochs, at least 0; got {options.refit}.")
    if options.refit and "head" not in model.groups():
        raise ValueError(f"{name} has no head to refit; leave out --refit.")
    if (options.output / "config.yaml").exists():
        raise FileExistsError(f"{options.output} holds a checkpoint already; choose another --output.")
    data = data_of(options.checkpoint, options.config, overrides, "remove-prototypes")
    require_same_domain(model, data, f"change {options.checkpoint}", options.force == "true")
    rows = [("original", *accuracies(model, data))]
    model.remove_prototypes(options.units)
    rows.append((f"without {len(options.units)} prototypes", *accuracies(model, data)))
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


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("remove-prototypes", remove_prototypes.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a prototype model")
    parser.add_argument("--units", required=True, nargs="+", help="names of prototypes, as in explanations")
    parser.add_argument("--refit", default=0, type=int, metavar="EPOCHS", help="train the head further (default: 0)")
    parser.add_argument("--lr", type=float, help="learning rate of the refit (default: that of the recipe)")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder of the new checkpoint")
    return parser
