"""`train.py serve`: answers requests over HTTP with scores and explanations."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from zoo.checkpoints.exported import ENDINGS, read_exported
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.explain import remark_of
from zoo.cli.explain_each import Question
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.reference import REFERENCES
from zoo.domain.inputs import Reading
from zoo.serving.limits import Limits
from zoo.serving.service import Service
from zoo.utils.optional import need
from zoo.views.language import languages, read_language

RUN = "checkpoint"  # folder of a run; its parent has the name


def serve(arguments: list[str]) -> int:
    """Answers requests over HTTP: POST /predict, /explain or /page with a file, a text or rows of a table.

    GET / is a page to drop a file on; GET /openapi.json describes all. Only bytes of requests are read: no paths, no
    addresses. There is no access control: listen on other than this computer only behind a proxy that has one.
    SIGTERM finishes the requests that have begun.
    """
    options = parse(arguments)
    for module in ("fastapi", "uvicorn", "python_multipart"):
        need(module, "serve")
    from zoo.serving.app import create_app
    from zoo.serving.server import bind, server_of

    limits, folder = limits_of(options), options.checkpoint.resolve()
    name = folder.parent.name if folder.name == RUN else folder.name
    with closing(bind(options.host, options.port)) as taken:
        service = exported_service(name, options) if is_exported(folder) else service_of(load(folder), name, options)
        service.warm()
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"{name} answers at http://{host}:{taken.getsockname()[1]}; stop it with Ctrl-C.", flush=True)
        server_of(create_app(service, limits, options.threads), limits).run(sockets=[taken])
    print("all requests are answered; stopped.", flush=True)
    return 0


def service_of(model: SelfInterpretable, name: str, options: argparse.Namespace) -> Service:
    """The answers of a checkpoint, with its certificate's remarks."""
    remark = remark_of(options.checkpoint, model)
    question = Question(model, reference=options.reference, remark=remark)

    def explain(readings: Sequence[Reading], target: int | None, every_class: bool, search: bool) -> Explanation:
        return replace(question, target=target).explain(readings, every_class, search)

    return Service(model, name, explain, options.top, options.locale)


def is_exported(path: Path) -> bool:
    """Whether a path names a file by `export` rather than a checkpoint."""
    return path.suffix in ENDINGS and not path.is_dir()


def exported_service(name: str, options: argparse.Namespace) -> Service:
    """The answers of a file by `export`, as far as it holds them.

    Raises:
        ValueError: it is damaged, or cannot be asked so.
    """
    if options.reference not in (None, "zero"):
        raise ValueError(
            f"--reference {options.reference} needs the checkpoint: an exported program has contributions to the score "
            "itself, --reference zero."
        )
    model = read_exported(options.checkpoint, options.threads)

    def explain(readings: Sequence[Reading], target: int | None, every_class: bool, search: bool) -> Explanation:
        told = model.explain(torch.stack([reading.x for reading in readings]), target)
        texts = tuple(reading.text for reading in readings)
        return replace(told, texts=texts, warnings=tuple(reading.warnings for reading in readings))

    return Service(model, name, explain, options.top, options.locale, f"{model.name} (exported)")


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits of the options."""
    return Limits(
        body=int(options.megabytes * 2**20),
        rows=options.rows,
        seconds=options.seconds,
        upload_seconds=min(options.upload_seconds, options.seconds),
        queue=options.queue,
        uploads=options.queue,
        batch=options.batch,
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser, standard = CommandParser("serve", serve.__doc__), Limits()
    parser.add_argument(
        "--checkpoint", required=True, type=find, help="name or folder of a checkpoint, or a file by export"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this computer)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on, 0 for a free one (default: 8000)")
    parser.add_argument("--threads", default=1, type=positive, help="threads of PyTorch (default: 1)")
    parser.add_argument(
        "--megabytes", default=standard.body / 2**20, type=float, help="largest request in MiB (default: 8)"
    )
    parser.add_argument(
        "--rows", default=standard.rows, type=positive, help=f"most inputs in a request (default: {standard.rows})"
    )
    parser.add_argument("--seconds", default=standard.seconds, type=float, help="for each request (default: 30)")
    parser.add_argument(
        "--upload-seconds",
        default=standard.upload_seconds,
        type=float,
        help="of these, for the body (default: 10)",
    )
    parser.add_argument(
        "--queue",
        default=standard.queue,
        type=positive,
        help=f"most requests that are received, and that are answered, at once (default: {standard.queue})",
    )
    parser.add_argument(
        "--batch",
        default=standard.batch,
        type=positive,
        help=f"most inputs in a pass of the model (default: {standard.batch})",
    )
    parser.add_argument("--top", default=8, type=positive, help="number of units in an explanation (default: 8)")
    parser.add_argument(
        "--reference", choices=REFERENCES, help="what contributions are relative to (default: the model's own)"
    )
    parser.add_argument(
        "--locale", default="en", help=f"language of the sentences: {', '.join(languages())}, or a YAML file"
    )
    options = parser.parse(arguments)
    read_language(options.locale)
    if not 0 <= options.port < 2**16:
        raise ValueError(f"--port must be from 0 to 65535; got {options.port}.")
    return options
