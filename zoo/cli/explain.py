"""`train.py explain`: explains the predictions for files, as pages and as lines of JSON."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.explanation_log import ExplanationLog
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.domain.inputs import Input, Literal, inputs_of, modified, read, unique_stems
from zoo.views.html import index_page, page

BATCH = 32
WHAT_IF = 400  # maximum number of classes whose scores a page recomputes
LOGGED = ("checkpoint", "target", "versus", "set", "circuit", "top")  # options that determine an explanation


def explain(arguments: list[str]) -> int:
    """Explains the predictions for files. Each input is appended to explanations.jsonl; the first also get a page.

    Inputs are images; .txt files or a text in quotes; .py files or a prompt in quotes; .csv files of tables, each row
    of which is an input; or .csv or .npy files of series. If interrupted, rerun the command to resume.
    """
    options = parse(arguments)
    model = load(options.checkpoint)
    choose_classes(options, model)
    adjusted = settings_of(options)
    files = list(inputs_of(options.input, model.domain))
    if not files:
        endings = ", ".join(sorted(model.domain.endings))
        raise ValueError(f"--input names folders without a file to explain; this model reads {endings}.")
    options.output.mkdir(parents=True, exist_ok=True)
    log = ExplanationLog(options.output, {name: str(getattr(options, name)) for name in LOGGED}, options.again)
    rest = [file for file in files if str(file) not in log.records]
    if len(rest) < len(files):
        print(f"{len(files) - len(rest)} of {len(files)} inputs are explained already; --again explains them anew.")
    stems, start = unique_stems(files), time.perf_counter()
    failed = explain_files(model, files, rest, stems, log, options, adjusted)
    if not log.records:
        raise ValueError("none of the inputs could be read, so there is nothing to explain.")
    report(log, len(rest) - failed, time.perf_counter() - start, options.output)
    if failed:
        print(f"{failed} of {len(files)} inputs could not be read.", file=sys.stderr)
    return 1 if failed else 0


def choose_classes(options: argparse.Namespace, model: SelfInterpretable) -> None:
    """Replaces the names or numbers of classes in the options by their index.

    Raises:
        ValueError: an unknown class, or `--versus` for a model that is not additive.
    """
    for name in ("target", "versus"):
        if (given := getattr(options, name)) is not None:
            number = given not in model.domain.classes and given.isdigit()
            setattr(options, name, model.domain.class_index(int(given) if number else given))
    if options.versus is not None and not model.additive:
        raise ValueError(f"--versus requires an additive model; {type(model).__name__} is not additive.")


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Options of the explanation itself: NAME=NUMBER of `--set`, and the circuit.

    Raises:
        ValueError: a value is not a number.
    """
    settings: dict[str, Any] = {}
    for pair in options.set:
        name, _, value = pair.partition("=")
        try:
            settings[name] = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise ValueError(f"--set takes NAME=NUMBER, such as groups=5; got '{pair}'.") from None
    if options.circuit is not None:
        from zoo.circuits.network.circuit import Circuit  # here, because other models do not need this family

        settings["circuit"] = Circuit.load(options.circuit)
    return settings


def explain_files(
    model: SelfInterpretable,
    files: list[Input],
    rest: list[Input],
    stems: dict[Input, str],
    log: ExplanationLog,
    options: argparse.Namespace,
    adjusted: dict[str, Any],
) -> int:
    """Explains the `rest` of the files in batches; returns the number of those that could not be read."""
    paged, failed = set(files[: options.pages]), 0
    with (
        log.path.open("a", encoding="utf-8") as opened,
        tqdm(total=len(rest), unit="input", disable=len(rest) < 2) as bar,
    ):
        for chunk in chunks(rest, BATCH):
            inputs = []
            for file in chunk:
                try:
                    inputs.append((file, read(file, model.domain)))
                except (OSError, ValueError) as error:
                    failed += 1
                    tqdm.write(f"skipped: {error}", file=sys.stderr)
            if inputs:
                for record in explain_batch(model, inputs, options, adjusted, stems, paged):
                    log.write(record, opened)
                opened.flush()
            bar.update(len(chunk))
    return failed


def explain_batch(
    model: SelfInterpretable,
    inputs: list[tuple[Input, Tensor]],
    options: argparse.Namespace,
    adjusted: dict[str, Any],
    stems: dict[Input, str],
    paged: set[Input],
) -> Iterator[dict[str, Any]]:
    """The record of each input; writes the page and the complete JSON of the inputs in `paged`."""
    x, shown = torch.stack([x for _, x in inputs]), any(file in paged for file, _ in inputs)
    every = shown and model.additive and len(model.domain.classes) <= WHAT_IF
    batch = model.explain(x, options.target, every, **adjusted)
    if model.additive:
        batch.check()
    if options.versus is not None:
        batch = batch.versus(model.explain(x, options.versus, **adjusted))
    for (file, _), one in zip(inputs, batch, strict=True):
        stem, answer = stems[file], answer_of(one)
        title = stem if isinstance(file, Literal) else file.name
        record = {"input": str(file), "checkpoint": str(options.checkpoint), "title": title, "answer": answer}
        if file in paged:
            target = options.output / f"{stem}.html"
            target.write_text(page(one, [title], top=options.top), encoding="utf-8")
            complete = json.dumps({**record, **one.to_dict()[0]}, ensure_ascii=False, indent=1)
            target.with_name(f"{stem}.json").write_text(complete, encoding="utf-8")
            tqdm.write(f"{file} -> {answer} -> {target}")
            record["page"] = target.name
        yield record | {"modified": modified(file)} | one.to_dict(options.top)[0]


def report(log: ExplanationLog, count: int, seconds: float, output: Path) -> None:
    """Writes the index of the pages, and prints where it is and how fast `count` inputs were explained."""
    if len(pages := log.pages()) > 1:
        (output / "index.html").write_text(index_page(pages), encoding="utf-8")
        print(f"index of all pages: {output / 'index.html'}")
    if count > 1:
        print(f"{count:,} inputs in {seconds:.1f} s, {count / seconds:.0f} per second · {log.path}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = CommandParser("explain", explain.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--input", required=True, nargs="+", help="files, folders, or texts in quotes")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the results (default: out)")
    parser.add_argument("--top", default=8, type=positive, help="number of units to show (default: 8)")
    parser.add_argument("--pages", default=100, type=int, help="number of inputs with a page (default: 100)")
    parser.add_argument("--target", metavar="CLASS", help="explain this class instead of the predicted one")
    parser.add_argument("--versus", metavar="CLASS", help="explain the difference to the score of this class")
    parser.add_argument("--again", action="store_true", help="explain all inputs again")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=NUMBER", help="options of the model, such as groups=5 size=0.3"
    )
    parser.add_argument(
        "--circuit", type=Path, help="explain this circuit by `prune`, with all other nodes at their means"
    )
    options = parser.parse(arguments)
    if options.pages < 0:
        raise ValueError(f"--pages must be at least 0; got {options.pages}.")
    if options.output.is_file():
        raise ValueError(f"--output must be a folder; {options.output} is a file.")
    return options


def answer_of(one: Explanation) -> str:
    """The explained class, and its probability if there is one."""
    probability = "" if one.probability is None else f" ({one.probability.item():.1%})"
    return f"{one.target_names[0]}{probability}"


def chunks(items: Iterable[Input], size: int) -> Iterator[list[Input]]:
    """Lists of at most `size` consecutive items."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
