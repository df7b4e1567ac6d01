"""`train.py diff`: compares two versions of a model on the same inputs."""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.audit.versions import Comparison, compare_models
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import SPLITS, add_force, data_of, default_device, loader_of, require_same_domain
from zoo.core.asking import MOST_CLASSES, ask
from zoo.core.module import SelfInterpretable
from zoo.domain.inputs import inputs_of, read
from zoo.training.batch import as_batch
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json, without_nan
from zoo.utils.printable import printable
from zoo.views.html import page
from zoo.views.versions import versions_page

BATCH = 32
LISTED = 30  # inputs on the page


class Example(NamedTuple):
    """One input.

    Attributes:
        name: for people.
        before: as the first model reads it.
        after: as the second model reads it.
    """

    name: str
    before: Tensor
    after: Tensor


Inputs = list[Example]
SIDES = ("before", "after")


def diff(arguments: list[str]) -> int:
    """Compares two versions of a model on the same inputs: which answers changed, and which reasons did.

    The inputs are files (--input) or the data of the first checkpoint's run; --data.init_args.NAME VALUE overrides a
    value of the data. Writes index.html with links to the explanations by both versions, diff.json, inputs.csv and
    units.csv. With --max-answers or --max-reasons, the exit code is 1 if more changed, for continuous integration.
    """
    options, overrides = parse(arguments)
    models = [load(folder) for folder in (options.before, options.after)]
    inputs = read_inputs(options, overrides, models)
    for model in models:
        model.to(options.device or default_device())
    batches = [[torch.stack([getattr(one, side) for one in rows]) for rows in chunks(inputs)] for side in SIDES]
    found = compare_models(
        models[0], models[1], batches[0], batches[1], overlap=options.overlap, similarity=options.similarity
    )
    verdicts = exceeded(found, options)
    options.output.mkdir(parents=True, exist_ok=True)
    write(options, found, inputs, models, verdicts)
    print(f"{outcome(found)} -> {printable(options.output / 'index.html')}")
    if not found.changed.any():
        print(printable(moved(found, inputs)))
    for text in verdicts:
        print(f"FAILED {text}", file=sys.stderr)
    return 1 if verdicts else 0


def outcome(found: Comparison) -> str:
    """How many answers and reasons changed."""
    answers = f"{found.answers_share:.1%} of the answers changed" if found.changed.any() else "no answer changed"
    reasons = f"{found.reasons_share:.1%} kept" if found.reasons_changed.any() else "none kept"
    return f"{len(found.changed):,} inputs: {answers}; {reasons} the answer for other reasons"


def moved(found: Comparison, inputs: Inputs) -> str:
    """What changed most, in answers that are the same."""
    i, unit, sides = found.strongest_move, found.movers[0], (found.first, found.second)
    before, after = (side.strengths[i].item() for side in sides)
    if before == after and unit.moved == 0:
        return "All answers are equally strong, and no unit moved."
    shown = [_strength(value, found.first.task) for value in (before, after)]
    if shown[0] == shown[1]:  # closer than the digits
        shown = [f"{value:.6g}" for value in (before, after)]
    return (
        f"The strongest change of an answer: {inputs[i].name}, {shown[0]} -> {shown[1]}. The unit that moved most: "
        f"{unit.second or unit.first}, mean size {unit.before:.4g} -> {unit.after:.4g}."
    )


def exceeded(found: Comparison, options: argparse.Namespace) -> list[str]:
    """Sentences about the thresholds that are exceeded."""
    cases = (
        ("answers changed", found.answers_share, options.max_answers),
        ("answers have other reasons", found.reasons_share, options.max_reasons),
    )
    return [f"{found:.1%} of the {what}; allowed: {most:.1%}." for what, found, most in cases if most < found]


def read_inputs(options: argparse.Namespace, overrides: list[str], models: Sequence[SelfInterpretable]) -> Inputs:
    """The inputs that both models explain.

    Raises:
        OSError, ValueError: an input cannot be read by both, or data are not those of both models.
    """
    first, second = (model.domain for model in models)
    if options.input:
        if overrides or options.config:
            raise ValueError("--input and --config both name inputs; give one of them.")
        files = list(islice(dict.fromkeys(inputs_of(options.input, first)), options.limit))
        if not files:
            raise ValueError(f"--input names folders without a file; these models read {', '.join(first.endings)}.")
        return [Example(str(file), read(file, first), read(file, second)) for file in files]
    data = data_of(options.before, options.config, overrides, "diff")
    for model, folder in zip(models, (options.before, options.after), strict=True):
        require_same_domain(model, data, f"compare {folder}", options.force == "true")
    rows = (x for batch in loader_of(data, options.split) for x in as_batch(batch)["input"])
    return [Example(f"{options.split} {i}", x, x) for i, x in enumerate(islice(rows, options.limit))]


def write(
    options: argparse.Namespace,
    found: Comparison,
    inputs: Inputs,
    models: Sequence[SelfInterpretable],
    verdicts: Sequence[str],
) -> None:
    """Writes all results."""
    worst = found.worst(len(inputs))
    pages = {i: f"{place + 1}.html" for place, i in enumerate(worst[: options.pages])}
    for side, model in zip(SIDES, models, strict=True):
        folder = options.output / side
        folder.mkdir(exist_ok=True)
        for i, name in pages.items():
            every = model.additive and len(model.domain.classes) <= MOST_CLASSES
            x = getattr(inputs[i], side)[None].to(model.device)
            told = ask(model, x, every_class=every, search=True)
            write_text(folder / name, page(told, [inputs[i].name]))
    rows = [row_of(found, i, inputs[i].name, pages.get(i, "")) for i in worst]
    summary = without_nan(found.to_dict())
    about = {"before": str(options.before), "after": str(options.after), "exceeded": list(verdicts)}
    write_text(options.output / "diff.json", to_json(about | summary, indent=1) + "\n")
    write_text(options.output / "inputs.csv", table_of(rows))
    write_text(options.output / "units.csv", table_of(summary["units"]))
    names = (str(options.before), str(options.after))
    note = "" if found.changed.any() else moved(found, inputs)
    write_text(options.output / "index.html", versions_page(summary, names, rows[:LISTED], verdicts, note))


def row_of(found: Comparison, i: int, name: str, link: str) -> dict[str, Any]:
    """What is said about an input."""
    answers = [
        f"{side.answers[i]} ({_strength(side.strengths[i].item(), side.task)})" for side in (found.first, found.second)
    ]
    return {
        "input": name,
        "before": answers[0],
        "after": answers[1],
        "overlap": found.overlap[i].item(),
        "changed": bool(found.changed[i]),
        "reasons changed": bool(found.reasons_changed[i]),
        "page": link,
    }


def _strength(value: float, task: str) -> str:
    return f"{value:.4g}" if task == "regression" or not 0 <= value <= 1 else f"{value:.1%}"


def table_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV."""
    rows, text = list(rows), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def chunks(inputs: Inputs) -> Iterator[Inputs]:
    """The inputs in batches."""
    return (inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH))


def share(text: str) -> float:
    """The type of an option that is a share from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1; got {text}")
    return value


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command, and the overrides of the data."""
    parser = CommandParser("diff", diff.__doc__)
    parser.add_argument("before", type=find, help="name or folder of a checkpoint, such as the one in use")
    parser.add_argument("after", type=find, help="name or folder of the other one")
    parser.add_argument("--input", nargs="+", help="files, folders, or texts in quotes")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the first run)")
    parser.add_argument("--split", default="test", choices=SPLITS, help="of the data (default: test)")
    add_force(parser)
    parser.add_argument("--limit", type=positive, default=1000, metavar="N", help="number of inputs (default: 1000)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the results (default: out)")
    parser.add_argument(
        "--overlap", type=share, default=0.5, help="below which reasons count as changed (default: 0.5)"
    )
    parser.add_argument(
        "--similarity", type=share, default=0.5, help="from which two units count as the same (default: 0.5)"
    )
    parser.add_argument("--pages", type=int, default=10, help="inputs with a page by each version (default: 10)")
    parser.add_argument("--max-answers", type=share, default=1.0, metavar="SHARE", help="fail if more answers changed")
    parser.add_argument("--max-reasons", type=share, default=1.0, metavar="SHARE", help="fail if more reasons changed")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    options, overrides = parser.parse_with_overrides(arguments)
    if options.pages < 0:
        raise ValueError(f"--pages must be at least 0; got {options.pages}.")
    return options, overrides
