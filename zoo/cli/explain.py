"""`train.py explain`: explains the predictions for files, as pages and as lines of JSON."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zoo.audit.record import Recorder
from zoo.audit.recorded_input import KEEPS
from zoo.audit.signature import read_key
from zoo.checkpoints.config_file import CERTIFICATE, STORAGE, content_hash, file_hash, read_config, recover
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.explain_each import Fault, Question, guarded
from zoo.cli.explanation_files import Results, short
from zoo.cli.explanation_log import LOG, ExplanationLog
from zoo.cli.names_file import add_names, names_for
from zoo.core.certificate import Certificate
from zoo.core.curves import HasCurves
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.reference import REFERENCES
from zoo.core.storage import Storage
from zoo.domain.inputs import Literal, inputs_of, unique_stems
from zoo.utils.atomic import write_text
from zoo.utils.printable import printable
from zoo.utils.progress import track
from zoo.utils.shards import Shard
from zoo.views.html import index_page
from zoo.views.language import languages, read_language

BATCH = 32
WHAT_IF = 400  # maximum number of classes whose scores a page recomputes
WARNED = 20  # inputs whose warnings are printed
ASKED = ("target", "versus", "reference")  # options of the question
LOGGED = (*ASKED, "set", "top", "locale", "record", "key", "regions")  # options that the results depend on


def explain(arguments: list[str]) -> int:
    """Explains the predictions for files. Each input is appended to explanations.jsonl; the first also get a page.

    Inputs are what the model reads: images; .txt files or a text in quotes; .py files or a prompt in quotes; .csv files
    of tables, each row of which is an input; .csv, .npy, .tsv, .ts or .arff files of series; sound files; graphs
    (.json) and molecules (.smi, or SMILES in quotes). If interrupted, rerun the command to resume. Processes that
    torchrun starts share the inputs.
    """
    options = parse(arguments)
    settings = settings_of(options)
    identity = identity_of(options)  # before the model is read: should both differ, it is explained again, not never
    model = load(options.checkpoint)
    choose_classes(options, model)
    changed = settings or options.versus or options.regions
    remark = None if changed else remark_of(options.checkpoint, model)
    names = names_for(options.names, options.checkpoint)
    asked = (options.target, options.versus, settings, options.reference)
    question = Question(model, *asked, remark, names, options.regions)
    files = list(dict.fromkeys(inputs_of(options.input, model.domain)))
    if not files:
        endings = ", ".join(sorted(model.domain.endings))
        raise ValueError(f"--input names folders without a file to explain; this model reads {endings}.")
    options.output.mkdir(parents=True, exist_ok=True)
    shard = Shard.of_environment()
    log = ExplanationLog(options.output, identity, files, BATCH, shard, options.again)
    known = sum(str(file) in log.records for file in files)
    if known and shard.first:
        print(f"{known} of {len(files)} inputs are explained already; --again explains them anew.")
    start, paged = time.perf_counter(), frozenset(files[: options.pages])
    recorder = recorder_of(options, model, settings)
    named = [file for file in files if recorder is not None or file in paged or isinstance(file, Literal)]
    curves = model.curves() if isinstance(model, HasCurves) and options.versus is None else ()
    about = (options.output, str(options.checkpoint), options.top)
    results = Results(*about, unique_stems(named, log.stems()), paged, curves, options.locale, recorder)
    every_class = model.additive and len(model.domain.classes) <= WHAT_IF
    done, failed = explain_files(question, log, results, every_class)
    if (total := shard.finish(LOG, done=done, failed=failed)) is None:
        return 0  # the last process joins the results, and says how many inputs failed in all of them
    log.join()
    if not log.records:
        raise ValueError("none of the inputs could be explained.")
    report(log, total["done"], time.perf_counter() - start, options.output)
    if total["failed"]:
        print(f"{total['failed']} of {len(files)} inputs could not be explained.", file=sys.stderr)
    return 1 if total["failed"] else 0


def remark_of(checkpoint: Path, model: SelfInterpretable) -> Callable[[Explanation], Sequence[str]] | None:
    """What certificate and storage of a checkpoint mean for an explanation; None if nothing."""
    config = read_config(checkpoint)
    stored = Storage.from_dict(config[STORAGE]).sentence if STORAGE in config else ""
    if CERTIFICATE not in config:
        return (lambda told: (stored,) * len(told)) if stored else None
    from zoo.metrics.certificates import Certifier  # here, because few checkpoints need the metrics

    certifier = Certifier(model, Certificate.from_dict(config[CERTIFICATE]))
    return lambda told: [f"{said} {stored}".strip() for said in certifier.sentences(told)]


def identity_of(options: argparse.Namespace) -> dict[str, str]:
    """What determines an explanation of an unchanged input: the content of checkpoint and circuit, and the options."""
    recover(options.checkpoint)
    files = {"checkpoint": content_hash(read_config(options.checkpoint))}
    if options.circuit is not None:
        files["circuit"] = file_hash(options.circuit.with_suffix(".safetensors"))
    if options.names is not None:
        files["names"] = file_hash(options.names)
    return files | {name: str(getattr(options, name)) for name in LOGGED}


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


def recorder_of(options: argparse.Namespace, model: SelfInterpretable, settings: dict[str, Any]) -> Recorder | None:
    """What makes the decision records; None if none are asked for.

    Raises:
        OSError, ValueError: the key cannot be read.
    """
    if options.record is None:
        return None
    question = {name: getattr(options, name) for name in ASKED} | {"settings": settings}
    key = None if options.key is None else read_key(options.key)
    name = str(options.checkpoint)
    return Recorder(model, options.checkpoint, name, question, options.locale, options.record, key)


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


def explain_files(question: Question, log: ExplanationLog, results: Results, every_class: bool) -> tuple[int, int]:
    """Explains the inputs of this process in batches; returns how many were explained, and how many could not be."""
    batches = log.rest()
    count = sum(map(len, batches))
    failed = doubtful = 0
    with track(None, "explain", count, unit="input", shown=count > 1 and log.shard.first) as bar:
        for batch in batches:
            paged, records = any(map(results.has_page, batch)), []
            for answer in question.answers(batch, every_class and paged, search=paged):
                if not isinstance(answer, Fault):
                    answer = guarded(answer[0], partial(results.record, *answer))
                if isinstance(answer, Fault):
                    failed += 1
                    tqdm.write(f"skipped: {printable(answer.reason)}", file=sys.stderr)
                    continue
                doubtful += bool(answer.warnings)
                for text in answer.warnings if doubtful <= WARNED else ():
                    tqdm.write(f"warning: {short(answer.input)}: {printable(text)}", file=sys.stderr)
                if said := results.write(answer):
                    tqdm.write(said)
                records.append(answer.record)
            log.write(records)
            bar.update(len(batch))
    if doubtful > WARNED:
        print(f"warning: {doubtful - WARNED} more inputs have `warnings` in {printable(log.whole)}.", file=sys.stderr)
    return count - failed, failed


def report(log: ExplanationLog, count: int, seconds: float, output: Path) -> None:
    """Writes the index of the pages, and prints where it is and how fast `count` inputs were explained."""
    if len(pages := log.pages()) > 1:
        write_text(output / "index.html", index_page(pages))
        print(f"index of all pages: {printable(output / 'index.html')}")
    if count > 1:
        print(f"{count:,} inputs in {seconds:.1f} s, {count / seconds:.0f} per second · {printable(log.whole)}")


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
    parser.add_argument(
        "--reference",
        choices=REFERENCES,
        help="what contributions are relative to: the score itself, the mean score of all classes, or the score of the "
        "runner-up (default: the model's own)",
    )
    parser.add_argument(
        "--regions",
        type=positive,
        metavar="N",
        help="join units that lie together into N regions, exactly",
    )
    parser.add_argument("--again", action="store_true", help="explain all inputs again")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=NUMBER", help="options of the model, such as groups=5 size=0.3"
    )
    parser.add_argument(
        "--circuit", type=Path, help="explain this circuit by `prune`, with all other nodes at their means"
    )
    parser.add_argument(
        "--record",
        nargs="?",
        const="path",
        choices=KEEPS,
        help="also write a decision record of each input, with the path of the input (default) or its content",
    )
    add_names(parser)
    parser.add_argument("--key", type=Path, help="file with a key, to sign the records (HMAC-SHA256)")
    parser.add_argument(
        "--locale",
        default="en",
        help=f"language of the sentences: {', '.join(languages())}, or a YAML file with other texts (default: en)",
    )
    options = parser.parse(arguments)
    read_language(options.locale)
    if options.pages < 0:
        raise ValueError(f"--pages must be at least 0; got {options.pages}.")
    if options.versus is not None and options.reference is not None:
        raise ValueError("--versus explains the difference of two scores, so it takes no --reference; leave out one.")
    if options.key is not None and options.record is None:
        raise ValueError("--key signs decision records; add --record.")
    if options.record is not None and options.circuit is not None:
        raise ValueError("--record describes the model of a checkpoint, without --circuit; leave out one.")
    if options.record is not None and options.names is not None:
        raise ValueError("--record keeps the names of the model's own units, so it takes no --names; leave out one.")
    if options.regions is not None and not (options.record is None and options.names is None):
        raise ValueError("--record and --names concern the model's own units, which --regions joins; leave out one.")
    if options.output.is_file():
        raise ValueError(f"--output must be a folder; {options.output} is a file.")
    return options
