"""`train.py certify`: bounds how far measured removals are from what the contributions of a checkpoint say."""

from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.save import attach_certificate
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import SPLITS, add_force, data_of, default_device, require_same_domain
from zoo.metrics.certificates import UNITS, certify
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.metrics.faithfulness.subject import Subject
from zoo.training.modes import evaluating
from zoo.utils.printable import printable


def certify_checkpoint(arguments: list[str]) -> int:
    """Bounds how far measured removals are from what contributions say, and finds which answers cover the truth.

    The bounds hold for new inputs like the rows used, with the probability --level (split conformal prediction). They
    are stored in the checkpoint and its model card, and `explain` prints what they mean for each input. The data is
    that of the run. --data.init_args.NAME VALUE overrides a value of it, such as its folder.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    if not 0 < options.level < 1:
        raise ValueError(f"--level must be between 0 and 1, such as 0.9; got {options.level}.")
    model = zoo.load(options.checkpoint)
    data = data_of(options.checkpoint, options.config, overrides, "certify")
    require_same_domain(model, data, f"certify {options.checkpoint}", options.force == "true")
    model.require_ready()
    model.to(options.device or default_device())
    data.prepare_data()
    data.setup("test" if options.split == "test" else "validate")
    dataset: Any = data.test_dataset() if options.split == "test" else data.val_dataset()
    reference = reference_inputs(data.projection_dataset())
    batches = NumberedBatches(dataset, options.limit, data.batch_size)
    with evaluating(model):
        found = certify(
            Subject(model), batches, reference, options.level, options.split, options.units, options.seed, progress=True
        )
    attach_certificate(options.checkpoint, found)
    for name, text in found.lines() or [("nothing", "no bound applies to this model")]:
        print(f"{name}: {text}")
    print(f"stored in {printable(options.checkpoint)}; `explain` prints what it means for each input.")
    return 0


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("certify", certify_checkpoint.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument(
        "--split", default="val", choices=SPLITS, help="rows that the model was not trained on (default: val)"
    )
    parser.add_argument("--level", type=float, default=0.9, help="share of inputs for which bounds hold (default: 0.9)")
    parser.add_argument(
        "--units", type=positive, default=UNITS, help=f"strongest units that are removed (default: {UNITS})"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="number of rows (default: all)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    parser.add_argument("--seed", type=int, default=0, help="of the random parts (default: 0)")
    return parser
