"""`train.py explain` and `train.py list`: what Lightning's command line lacks."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import zoo
from zoo import config, registry
from zoo.checkpoint import CONFIG, read_config
from zoo.circuits import Circuit
from zoo.data.code_tasks import tasks
from zoo.data.folder import ENDINGS
from zoo.domain import Domain
from zoo.explanation import Explanation
from zoo.module import SelfInterpretable
from zoo.views.html import index_page, page

BATCH = 32
ENDINGS_OF = {"image": ENDINGS, "text": {".txt"}, "code": {".py", ".txt"}, "table": {".csv"}, "series": {".csv"}}


class Literal(str):
    """A text given on the command line instead of a file."""

    stem = "text"


Input = Path | Literal
WHAT_IF = 400  # classes whose scores a page recomputes; of more it shows the answer alone


def explain(arguments: list[str]) -> int:
    """Explains files: for each an HTML page and a JSON with the whole evidence. Returns the exit code.

    Images; .txt files, or a text itself in quotes, for models of texts; .py files, or a prompt itself in quotes, of one
    or more lines, for models of code; .csv files of one row for models of tables, or of a line for each step for models
    of series.
    """
    parser = argparse.ArgumentParser("train.py explain", description=explain.__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, help="folder written by fit, or by zoo.save()")
    parser.add_argument("--input", required=True, nargs="+", help="files, or folders of them; or a text in quotes")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the pages (default: out)")
    parser.add_argument("--top", default=8, type=int, help="units to show on a page (default: 8)")
    parser.add_argument("--target", help="explain this class instead of the predicted one")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="of the model, for this time: groups=5 size=0.3",
    )
    parser.add_argument("--circuit", type=Path, help="explain with the rest held at its means: a file by `prune`")
    options = parser.parse_args(arguments)
    options.adjusted = _settings(options.set)
    if options.circuit is not None:
        options.adjusted["circuit"] = Circuit.load(options.circuit)
    if options.top < 1:
        raise ValueError(f"--top must be at least 1; got {options.top}.")
    model = zoo.load(options.checkpoint)
    if options.target is not None:
        if options.target not in model.domain.classes and options.target.isdigit():
            options.target = int(options.target)
        model.domain.class_index(options.target)
    if options.output.is_file():
        raise ValueError(f"--output names a folder for the pages; {options.output} is a file.")
    files = list(_files(options.input, model.domain))
    if not files:
        endings = ", ".join(sorted(ENDINGS_OF[model.domain.modality]))
        raise ValueError(f"--input names folders without a file to explain; this model reads {endings}.")
    options.output.mkdir(parents=True, exist_ok=True)
    pages: list[tuple[str, str]] = []
    failed = 0
    stems = _unique_stems(files)
    with tqdm(total=len(files), unit="input", disable=len(files) < 2) as bar:
        for chunk in _chunks(files, BATCH):
            inputs = []
            for file in chunk:
                try:
                    read = model.domain.preprocess if isinstance(file, Literal) else model.domain.read
                    inputs.append((file, read(str(file))))
                except (OSError, ValueError) as error:
                    failed += 1
                    tqdm.write(f"skipped: {error}", file=sys.stderr)
            if inputs:
                pages += _explain_batch(model, inputs, options, stems)
            bar.update(len(chunk))
    if not pages:
        raise ValueError("none of the inputs could be read, so there is nothing to explain.")
    if len(pages) > 1:
        (options.output / "index.html").write_text(index_page(pages), encoding="utf-8")
        print(f"all of them: {options.output / 'index.html'}")
    if failed:
        print(f"{failed} of {len(files)} inputs could not be read.", file=sys.stderr)
    return 1 if failed else 0


def _explain_batch(
    model: SelfInterpretable,
    inputs: list[tuple[Input, torch.Tensor]],
    options: argparse.Namespace,
    stems: dict[Input, str],
) -> list[tuple[str, str]]:
    every = model.additive and len(model.domain.classes) <= WHAT_IF
    batch = model.explain(torch.stack([x for _, x in inputs]), options.target, every, **options.adjusted)
    if model.additive:
        batch.check()
    pages = []
    for (file, _), one in zip(inputs, batch, strict=True):
        stem = stems[file]
        target = options.output / f"{stem}.html"
        title = stem if isinstance(file, Literal) else file.name
        target.write_text(page(one, [title], top=options.top), encoding="utf-8")
        record = {"input": str(file), "checkpoint": str(options.checkpoint), **one.to_dict()[0]}
        (options.output / f"{stem}.json").write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
        answer = _answer(one)
        tqdm.write(f"{file} -> {answer} -> {target}")
        pages.append((target.name, f"{title}: {answer}"))
    return pages


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


def _files(inputs: Iterable[str], domain: Domain) -> Iterator[Input]:
    for given in inputs:
        path = Path(given)
        if _is_dir(path):
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS_OF[domain.modality])
        elif domain.modality in ("text", "code") and path.suffix.lower() not in ENDINGS_OF[domain.modality]:
            # A word with a dot inside is no text, but may well be code.
            if " " not in given and (_is_file(path) or (domain.modality == "text" and path.suffix)):
                endings = " and ".join(sorted(ENDINGS_OF[domain.modality]))
                raise ValueError(
                    f"{given} looks like a file; {domain.noun} are read from {endings} files, or given in quotes."
                )
            yield Literal(given)
        else:
            yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a text may be longer than any path
        return False


def _unique_stems(files: list[Input]) -> dict[Input, str]:
    """A name for each input's page; inputs of one name from different folders get numbers."""
    stems: dict[Input, str] = {}
    taken: set[str] = {"index"}
    for file in files:
        stem, n = file.stem, 2
        while stem in taken:
            stem, n = f"{file.stem}-{n}", n + 1
        taken.add(stem)
        stems[file] = stem
    return stems


def _chunks(items: list[Input], size: int) -> Iterator[list[Input]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def list_things(arguments: list[str]) -> int:
    """Lists models, data modules, configs or checkpoints. Returns the exit code."""
    parser = argparse.ArgumentParser("train.py list", description=list_things.__doc__)
    parser.add_argument("what", nargs="?", default="models", choices=sorted(LISTS), help="default: models")
    rows = LISTS[parser.parse_args(arguments).what]()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _models() -> list[tuple[str, ...]]:
    rows = [(e.name, e.family, ", ".join(e.modality), e.paper, _summary(e.cls)) for e in registry.entries()]
    return [("NAME", "FAMILY", "READS", "PAPER", "WHAT"), *rows]


def _data() -> list[tuple[str, ...]]:
    return [("NAME", "WHAT"), *((name, _summary(cls)) for name, cls in config.data_modules().items())]


def _configs() -> list[tuple[str, ...]]:
    return [("CONFIG", "WHAT"), *((str(p), _first_comment(p)) for p in sorted(Path("configs").rglob("*.yaml")))]


def _tasks() -> list[tuple[str, ...]]:
    return [("TASK", "WHAT"), *((task.name, task.description) for task in tasks())]


def _checkpoints() -> list[tuple[str, ...]]:
    rows = []
    for file in sorted([*Path("checkpoints").glob(f"*/{CONFIG}"), *Path("runs").glob(f"*/checkpoint/{CONFIG}")]):
        about = read_config(file.parent)
        size = sum(p.stat().st_size for p in file.parent.iterdir()) / 2**20
        rows.append(
            (
                str(file.parent),
                about["model"],
                ", ".join(f"{k} {v:.4f}" for k, v in about["metrics"].items()),
                f"{size:.1f} MB",
            )
        )
    if not rows:
        rows = [("none in checkpoints/ and runs/", "", "", "")]
    return [("CHECKPOINT", "MODEL", "TEST", "SIZE"), *rows]


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


LISTS = {"models": _models, "data": _data, "configs": _configs, "checkpoints": _checkpoints, "tasks": _tasks}
