"""`train.py explain`: raw files in, explanations out, as pages and as lines of JSON."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import zoo
from zoo.checkpoints.pretrained import find
from zoo.circuits import Circuit
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.domain.inputs import Input, Literal, inputs_of, last_change, modified, read, unique_stems
from zoo.views.html import index_page, page

BATCH = 32
WHAT_IF = 400  # classes whose scores a page recomputes; of more it shows the answer alone
LINES = "explanations.jsonl"


def explain(arguments: list[str]) -> int:
    """Explains files: a line of JSON for each, for the first also a page and all evidence. Returns the exit code.

    Images; .txt files, or a text itself in quotes, for models of texts; .py files, or a prompt itself in quotes, of one
    or more lines, for models of code; .csv files for models of tables, each row an input, or of a line for each step,
    or .npy files, for models of series. Lines are written as inputs are explained; after an interruption the same
    command goes on where it was.
    """
    options = _parse(arguments)
    model = zoo.load(options.checkpoint)
    for name in ("target", "versus"):
        if (given := getattr(options, name)) is not None:
            number = given not in model.domain.classes and given.isdigit()
            setattr(options, name, model.domain.class_index(int(given) if number else given))
    if options.versus is not None and not model.additive:
        raise ValueError(f"--versus needs scores that are sums; those of {type(model).__name__} are none.")
    if options.output.is_file():
        raise ValueError(f"--output names a folder for the pages; {options.output} is a file.")
    files = list(inputs_of(options.input, model.domain))
    if not files:
        endings = ", ".join(sorted(model.domain.endings))
        raise ValueError(f"--input names folders without a file to explain; this model reads {endings}.")
    options.output.mkdir(parents=True, exist_ok=True)
    asked = {name: str(getattr(options, name)) for name in ("checkpoint", "target", "versus", "set", "circuit", "top")}
    records = {} if options.again else _done(options.output / LINES, asked)
    stems = unique_stems(files)
    rest = [file for file in files if str(file) not in records]
    if len(rest) < len(files):
        print(f"{len(files) - len(rest)} of {len(files)} inputs are explained already; --again explains them anew.")
    paged, failed, start = set(files[: options.pages]), 0, time.perf_counter()
    with (
        (options.output / LINES).open("a" if records else "w", encoding="utf-8") as lines,
        tqdm(total=len(rest), unit="input", disable=len(rest) < 2) as bar,
    ):
        for chunk in _chunks(rest, BATCH):
            inputs = []
            for file in chunk:
                try:
                    inputs.append((file, read(file, model.domain)))
                except (OSError, ValueError) as error:
                    failed += 1
                    tqdm.write(f"skipped: {error}", file=sys.stderr)
            if inputs:
                for record in _explain_batch(model, inputs, options, stems, paged):
                    records[record["input"]] = _listed(record)
                    lines.write(json.dumps({**record, "asked": asked}, ensure_ascii=False) + "\n")
                lines.flush()
            bar.update(len(chunk))
    if not records:
        raise ValueError("none of the inputs could be read, so there is nothing to explain.")
    seconds, shown = time.perf_counter() - start, [r for r in records.values() if "page" in r]
    if len(shown) > 1:
        titles = [(record["page"], f"{record['title']}: {record['answer']}") for record in shown]
        (options.output / "index.html").write_text(index_page(titles), encoding="utf-8")
        print(f"all of them: {options.output / 'index.html'}")
    if len(rest) - failed > 1:
        count = len(rest) - failed
        print(f"{count:,} inputs in {seconds:.1f} s, {count / seconds:.0f} a second · {options.output / LINES}")
    if failed:
        print(f"{failed} of {len(files)} inputs could not be read.", file=sys.stderr)
    return 1 if failed else 0


def _explain_batch(
    model: SelfInterpretable,
    inputs: list[tuple[Input, torch.Tensor]],
    options: argparse.Namespace,
    stems: dict[Input, str],
    paged: set[Input],
) -> Iterator[dict[str, Any]]:
    """A record for each input, after its page and its whole JSON where it has them."""
    x, shown = torch.stack([x for _, x in inputs]), any(file in paged for file, _ in inputs)
    every = shown and model.additive and len(model.domain.classes) <= WHAT_IF
    batch = model.explain(x, options.target, every, **options.adjusted)
    if model.additive:
        batch.check()
    if options.versus is not None:
        batch = batch.versus(model.explain(x, options.versus, **options.adjusted))
    for (file, _), one in zip(inputs, batch, strict=True):
        stem, answer = stems[file], _answer(one)
        title = stem if isinstance(file, Literal) else file.name
        record = {"input": str(file), "checkpoint": str(options.checkpoint), "title": title, "answer": answer}
        if file in paged:
            target = options.output / f"{stem}.html"
            target.write_text(page(one, [title], top=options.top), encoding="utf-8")
            whole = json.dumps({**record, **one.to_dict()[0]}, ensure_ascii=False, indent=1)
            (options.output / f"{stem}.json").write_text(whole, encoding="utf-8")
            tqdm.write(f"{file} -> {answer} -> {target}")
            record["page"] = target.name
        yield record | {"modified": modified(file)} | one.to_dict(options.top)[0]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("train.py explain", description=explain.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="folder written by fit, or by zoo.save()")
    parser.add_argument("--input", required=True, nargs="+", help="files, or folders of them; or a text in quotes")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the pages (default: out)")
    parser.add_argument("--top", default=8, type=int, help="units to show on a page (default: 8)")
    parser.add_argument("--pages", default=100, type=int, help="inputs that get a page, from the first (default: 100)")
    parser.add_argument("--target", help="explain this class instead of the predicted one")
    parser.add_argument("--versus", metavar="CLASS", help="explain why the answer rather than this class")
    parser.add_argument("--again", action="store_true", help="explain anew what is explained already")
    several = {"nargs": "+", "default": [], "metavar": "NAME=VALUE"}
    parser.add_argument("--set", **several, help="of the model, for this time: groups=5 size=0.3")
    parser.add_argument("--circuit", type=Path, help="explain with the rest held at its means: a file by `prune`")
    options = parser.parse_args(arguments)
    options.adjusted = _settings(options.set)
    if options.circuit is not None:
        options.adjusted["circuit"] = Circuit.load(options.circuit)
    if options.top < 1 or options.pages < 0:
        raise ValueError(f"--top must be at least 1 and --pages at least 0; got {options.top} and {options.pages}.")
    return options


def _listed(record: dict[str, Any]) -> dict[str, Any]:
    """What the index needs of a record; the evidence is on disk."""
    return {name: record[name] for name in ("page", "title", "answer") if "page" in record}


def _done(path: Path, asked: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Records of an earlier call with the same options, by input; without lines that were cut off and changed files."""
    if not path.is_file():
        return {}
    found, whole = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record.get("asked") != asked:
            return {}
        if record.get("modified") is None or record["modified"] != last_change(record["input"]):
            continue
        found[record["input"]] = _listed(record)
        whole.append(line)
    path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    return found


def _settings(given: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE pairs with numbers as values."""
    settings: dict[str, Any] = {}
    for pair in given:
        name, _, value = pair.partition("=")
        try:
            settings[name] = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise ValueError(f"--set takes NAME=NUMBER, such as groups=5; got '{pair}'.") from None
    return settings


def _answer(one: Explanation) -> str:
    share = "" if one.probability is None else f" ({one.probability.item():.1%})"
    return f"{one.target_names[0]}{share}"


def _chunks(items: list[Input], size: int) -> Iterator[list[Input]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
