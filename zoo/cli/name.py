"""`train.py name`: names the units of a model by annotated attributes, for the pages of `explain` and `show`."""

from dataclasses import replace
from pathlib import Path

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import add_force, data_of, default_device, require_same_domain
from zoo.cli.names_file import CHECKPOINT, checkpoint_hash
from zoo.core.unit_names import UnitNames
from zoo.metrics.concepts.unit_names import SOURCES, name_units
from zoo.utils.printable import printable

PRINTED = 20  # units


def name(arguments: list[str]) -> int:
    """Names each unit by the logical combination of attributes that describes best when it fires.

    Formulas are searched on training data. The file has their intersection over union there, on validation data, and
    what the same search finds with shuffled attributes; names that are not better than that are not used. The data is
    that of the run; --data.init_args.NAME VALUE overrides a value of it, such as its folder. Then:
    explain --checkpoint CHECKPOINT --names FILE.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    if options.output.is_dir():
        raise ValueError(f"--output must be a JSON file; {options.output} is a folder.")
    model = zoo.load(options.checkpoint)
    data = data_of(options.checkpoint, options.config, overrides, "name")
    require_same_domain(model, data, f"name {options.checkpoint}", options.force == "true")
    model.to(options.device or default_device())
    given = (options.by, options.length, options.beam, options.share, options.limit, options.shuffles, options.seed)
    found = name_units(model, data, *given)
    found = replace(found, about={CHECKPOINT: checkpoint_hash(options.checkpoint), **found.about})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found.write(options.output)
    print_table(found)
    print(f"{printable(options.output)}: use it with explain or show --names {printable(options.output)}")
    return 0


def print_table(found: UnitNames) -> None:
    """Prints the best names, with their support in the held-out rows."""
    used = [one for one in found.names if one.credible]
    print("IoU: search, held out, shuffled; support: both of unit and formula")
    for one in sorted(used, key=lambda one: -one.held_out)[:PRINTED]:
        numbers = f"{one.iou:.2f}  {one.held_out:.2f}  {one.shuffled:.2f}  {one.both:>4} of {one.fires} and {one.holds}"
        print(f"  {numbers}  {printable(one.unit)}: {printable(one.formula)}")
    silent = sum(not one.formula for one in found.names)
    print(
        f"{len(used)} of {len(found.names)} units have a name better than those for shuffled attributes"
        f"{f'; {silent} never fire more than usual' if silent else ''}."
    )


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("name", name.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--output", default=Path("names.json"), type=Path, help="JSON file (default: names.json)")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--by", choices=SOURCES, help="kind of attributes (default: the first that the data have)")
    parser.add_argument("--length", type=positive, default=3, help="attributes of a formula at most (default: 3)")
    parser.add_argument("--beam", type=positive, default=20, help="formulas kept in each step (default: 20)")
    parser.add_argument("--share", type=float, default=0.1, help="of the rows in which a unit fires (default: 0.1)")
    parser.add_argument("--limit", type=positive, default=2000, help="inputs of each split (default: 2000)")
    parser.add_argument("--shuffles", type=positive, default=3, help="searches with shuffled attributes (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffles (default: 0)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
