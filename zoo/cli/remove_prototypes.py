"""`train.py remove-prototypes`: removes prototypes from a model and refits its head."""

import argparse
from typing import Any

from zoo.cli.change_prototypes import Change, change_prototypes, make_parser
from zoo.data.base.module import DataModule


def remove_prototypes(arguments: list[str]) -> int:
    """Removes prototypes, such as those of the background, and saves the model without them as a checkpoint.

    With --refit, the head is then trained further on the data of the run. Prints the accuracy on validation and test
    data before and after. --data.init_args.NAME VALUE overrides a value of the data, such as its folder.
    """
    parser = make_parser("remove-prototypes", remove_prototypes.__doc__)
    parser.add_argument("--units", required=True, nargs="+", help="names of prototypes, as in explanations")
    return change_prototypes(parser, arguments, "remove_prototypes", removal)


def removal(options: argparse.Namespace, model: Any) -> Change:
    """Removes the prototypes that the options name.

    Raises:
        ValueError: the model has no such prototype.
    """
    for unit in options.units:
        model.unit_index(unit)

    def change(model: Any, data: DataModule) -> str:
        model.remove_prototypes(options.units)
        return f"without {len(options.units)} prototypes"

    return change
