"""`train.py leaderboard`: compares trained models on the same data."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.cli.evaluate_faithfulness import write_json
from zoo.cli.leaderboard_models import Candidate, candidates
from zoo.cli.leaderboard_results import Measurement
from zoo.cli.settings import create_data
from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness.encoding import Evaluator, train_evaluator
from zoo.metrics.faithfulness.posthoc_methods import POSTHOC
from zoo.metrics.faithfulness.suite import choose
from zoo.utils.atomic import write_text
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need
from zoo.utils.printable import printable
from zoo.utils.progress import track
from zoo.views.leaderboard_table import markdown

CONFIG = Path("configs/worlds/blackbox_part_birds.yaml")
UNREADABLE = (ValueError, FileNotFoundError, SafetensorError, RuntimeError)


def leaderboard(arguments: list[str]) -> int:
    """Evaluates all trained models that fit the data of a config; writes LEADERBOARD.md and leaderboard.json.

    The folders hold runs of `fit` or checkpoints; models with other classes than the data are skipped. Post-hoc methods
    explain the same models and rows. Results in leaderboard.json are reused unless the weights or the options have
    changed.
    """
    options = make_parser().parse(arguments)
    names = choose(options.metrics.split(","))
    data = create_data(options.config)
    data.prepare_data()
    data.setup("test")
    found = list(candidates(options.folders))
    if not found:
        places = ", ".join(map(str, options.folders))
        raise FileNotFoundError(f"no trained model in {places}; train one with `train.py fit`, or give other folders.")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "leaderboard.json"
    methods = chosen_methods(options.compare)
    settings = {"metrics": list(names), "limit": options.limit, "methods": list(methods), "split": "test"}
    settings |= {"benchmark": options.config.stem, "seed": options.seed}
    record = earlier(path, settings)
    evaluate_all(found, data, names, methods, options, record, path)
    folders = {str(candidate.folder) for candidate in found}
    shown = [one for folder, one in record["models"].items() if folder in folders]
    if not shown:
        raise ValueError(
            f"none of the {len(found)} trained models has the classes of {options.config}; give the config that they "
            "were trained with, --config FILE."
        )
    text = markdown(shown, settings)
    write_text(options.output / "LEADERBOARD.md", text)
    print(text)
    print(f"table {options.output / 'LEADERBOARD.md'} · numbers {path}")
    return 0


def evaluate_all(
    found: list[Candidate],
    data: DataModule,
    names: tuple[str, ...],
    methods: tuple[str, ...],
    options: argparse.Namespace,
    record: dict[str, Any],
    path: Path,
) -> None:
    """Adds the results of all models that `record` lacks, and writes it after each."""
    device, measurement = options.device or default_device(), None
    memory = 2**20 * (options.limit_memory or (64 if torch.device(device).type == "cpu" else 512))
    for candidate in track(found, "leaderboard"):
        key = str(candidate.folder)
        if record["models"].get(key, {}).get("mark") == candidate.mark:
            continue
        try:
            model = candidate.load()
        except UNREADABLE as error:
            print(f"{printable(candidate.folder)} is skipped: {printable(error)}", file=sys.stderr)
            continue
        if model.domain.classes != tuple(data.domain["classes"]):
            continue
        if measurement is None:
            evaluator = make_evaluator(found, data, options) if "M10" in names else None
            measurement = Measurement(data, names, methods, options.limit, options.seed, memory, evaluator)
        record["models"][key] = measurement.results(candidate, model.to(device))
        write_json(path, record)


def chosen_methods(text: str) -> tuple[str, ...]:
    """The post-hoc methods of a list of names; "all" and "none" are allowed.

    Raises:
        ImportError: captum is not installed.
        ValueError: an unknown method.
    """
    if text == "none":
        return ()
    try:
        need("captum", "compare")
    except ImportError as error:
        raise ImportError(f"{error}; or leave out post-hoc methods, --compare none") from error
    names = {name.lower(): name for name in POSTHOC}
    asked = list(names) if text == "all" else [name.strip().lower() for name in text.split(",")]
    for name in asked:
        if name not in names:
            known = ["all", "none", *POSTHOC]
            raise ValueError(f"no post-hoc method named '{name}'; {did_you_mean(name, known)}")
    return tuple(names[name] for name in names if name in asked)


def make_evaluator(found: list[Candidate], data: DataModule, options: argparse.Namespace) -> Evaluator:
    """The evaluator of M10 for all models: the first black box, trained further on masked inputs; or a new network."""
    box = next((candidate.load() for candidate in found if candidate.black_box), None)
    fits = box is not None and box.domain.classes == tuple(data.domain["classes"])
    device = options.device or default_device()
    return train_evaluator(data, None, box if fits else None, 10, options.seed, "evaluator of M10", device=device)


def earlier(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The results of an earlier call with the same options; empty if there are none."""
    fresh = {"options": dict(settings), "models": {}}
    if not path.is_file():
        return fresh
    old = json.loads(path.read_text(encoding="utf-8"))
    return old if old.get("options") == fresh["options"] else fresh


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("leaderboard", leaderboard.__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], help="of models (default: runs)")
    parser.add_argument("--config", type=Path, default=CONFIG, help=f"whose data to use (default: {CONFIG})")
    parser.add_argument("--metrics", default="all", metavar="NAME,NAME", help="by key or title (default: all)")
    parser.add_argument("--limit", type=positive, default=100, help="test rows for the metrics (default: 100)")
    parser.add_argument(
        "--compare",
        default="all",
        metavar="NAME,NAME",
        help=f"post-hoc methods: {', '.join(POSTHOC)}; or none (default: all)",
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder (default: benchmarks)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    parser.add_argument(
        "--limit-memory",
        type=positive,
        metavar="MIB",
        help="of one forward pass (default: 64 on a CPU, which is fastest, else 512)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    return parser
