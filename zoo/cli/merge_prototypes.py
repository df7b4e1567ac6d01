"""`train.py merge-prototypes`: merges prototypes of a model that fire alike, and refits its head."""

import argparse
from typing import Any

from zoo.cli.arguments import positive
from zoo.cli.change_prototypes import Change, change_prototypes, make_parser
from zoo.data.base.module import DataModule
from zoo.training.projection_set import ProjectionSet


def merge_prototypes(arguments: list[str]) -> int:
    """Merges prototypes that fire alike on the training images, so that classes share them (ProtoPShare).

    With --refit, the head is then trained further on the data of the run. Prints the accuracy on validation and test
    data before and after. --data.init_args.NAME VALUE overrides a value of the data, such as its folder.
    """
    parser = make_parser("merge-prototypes", merge_prototypes.__doc__)
    parser.add_argument("--to", required=True, type=positive, metavar="N", help="number of prototypes that remain")
    return change_prototypes(parser, arguments, "merge_prototypes", merging)


def merging(options: argparse.Namespace, model: Any) -> Change:
    """Merges prototypes until as many remain as the options say.

    Raises:
        ValueError: the model does not have more.
    """
    model.check_merge(options.to)

    def change(model: Any, data: DataModule) -> str:
        data.prepare_data()
        data.setup("fit")
        images = ProjectionSet(
            data.projection_dataset(), batch_size=data.batch_size, device=model.device, workers=data.workers
        )
        model.merge_prototypes(images, options.to)
        return f"merged to {options.to} prototypes"

    return change
