"""`train.py leaderboard`: compares trained models on the same data."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch.utils.data import DataLoader

from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import accuracy, default_device
from zoo.cli.evaluate_faithfulness import to_dict, write_json
from zoo.cli.faithfulness_data import NumberedBatches, factors_of, reference_inputs
from zoo.cli.leaderboard_models import Candidate, candidates
from zoo.cli.settings import create_data
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import Subject
from zoo.metrics.faithfulness.encoding import Evaluator, train_evaluator
from zoo.metrics.faithfulness.funnybirds import protocol
from zoo.metrics.faithfulness.part_reactions import react
from zoo.metrics.faithfulness.posthoc import POSTHOC
from zoo.metrics.faithfulness.suite import choose, measure
from zoo.training.modes import evaluating
from zoo.training.staged_module import StagedModule
from zoo.utils.atomic import write_text
from zoo.utils.collate import collate
from zoo.utils.printable import printable
from zoo.utils.progress import track
from zoo.views.leaderboard_table import markdown

CONFIG = Path("configs/worlds/blackbox_part_birds.yaml")
UNREADABLE = (ValueError, FileNotFoundError, SafetensorError, RuntimeError)


def leaderboard(arguments: list[str]) -> int:
    """Evaluates all trained models that fit the data of a config; writes LEADERBOARD.md and leaderboard.json.

    The folders hold runs of `fit` or checkpoints; models with other classes than the data are skipped. Results in
    leaderboard.json are reused unless the weights or the options have changed.
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
    settings = {"metrics": list(names), "limit": options.limit, "compare": options.compare, "split": "test"}
    settings |= {"benchmark": options.config.stem, "seed": options.seed}
    record = earlier(path, settings)
    evaluate_all(found, data, names, options, record, path)
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
    options: argparse.Namespace,
    record: dict[str, Any],
    path: Path,
) -> None:
    """Adds the results of all models that `record` lacks, and writes it after each."""
    evaluator = None
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
        if "M10" in names and evaluator is None:
            evaluator = make_evaluator(found, data, options)
        record["models"][key] = results_of(candidate, model, data, names, evaluator, options)
        write_json(path, record)


def make_evaluator(found: list[Candidate], data: DataModule, options: argparse.Namespace) -> Evaluator:
    """The evaluator of M10 for all models: the first black box, trained further on masked inputs; or a new network."""
    box = next((candidate.load() for candidate in found if candidate.black_box), None)
    fits = box is not None and box.domain.classes == tuple(data.domain["classes"])
    device = options.device or default_device()
    return train_evaluator(data, None, box if fits else None, 10, options.seed, "evaluator of M10", device=device)


def results_of(
    candidate: Candidate,
    model: StagedModule,
    data: DataModule,
    names: tuple[str, ...],
    evaluator: Evaluator | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The accuracy of a model on all test rows, and its metrics on `limit` of them."""
    start = time.perf_counter()
    model.to(options.device or default_device())
    dataset, reference = data.test_dataset(), reference_inputs(data.projection_dataset())
    result: dict[str, Any] = {
        "name": candidate.name,
        "seed": candidate.seed,
        "mark": candidate.mark,
        "twin": candidate.black_box,
        "model": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    memory = options.limit_memory * 2**20
    with evaluating(model):
        result["accuracy"] = accuracy(model, DataLoader(dataset, data.batch_size, collate_fn=collate))
        if isinstance(model, SelfInterpretable):
            found = metrics_of(Subject(model, memory), data, reference, names, evaluator, options.limit, options.seed)
            result["metrics"] = found
        elif options.compare:
            subjects = {key: make(model, reference.mean(0), limit=memory) for key, make in POSTHOC.items()}
            result["methods"] = {
                key: metrics_of(subject, data, reference, names, evaluator, options.compare, options.seed)
                for key, subject in subjects.items()
            }
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def metrics_of(
    subject: Subject,
    data: DataModule,
    reference: Any,
    names: tuple[str, ...],
    evaluator: Evaluator | None,
    limit: int,
    seed: int,
) -> dict[str, Any]:
    """The faithfulness metrics of explanations, and the FunnyBirds protocol where the data has removable parts."""
    batches = NumberedBatches(data.test_dataset(), limit, data.batch_size)
    factors, remove_factor = factors_of(data, "test")
    results = measure(
        subject,
        batches,
        reference,
        names,
        seed=seed,
        progress=True,
        factors=factors,
        remove_factor=remove_factor,
        evaluator=evaluator,
    )
    found = {key: to_dict(result) for key, result in results.items()}
    return found | ({"FunnyBirds": parts_protocol(subject, data, limit)} if hasattr(data, "subsets") else {})


def parts_protocol(subject: Subject, data: Any, limit: int) -> dict[str, Any]:
    """The FunnyBirds protocol, with the threshold chosen on validation rows."""
    title = "FunnyBirds protocol"
    test = NumberedBatches(data.test_dataset(), limit, data.batch_size)
    validation = NumberedBatches(data.val_dataset(), limit, data.batch_size)
    if subject.explain(next(iter(test))["input"][:1].to(subject.model.device)).support is None:
        return {"title": title, "not applicable": "needs units with a location in the input (supports)"}
    sufficient = [data.minimal_sufficient(c) for c in range(len(data.domain["classes"]))]
    found = protocol(
        react(subject, data, "test", test, progress=True),
        react(subject, data, "val", validation, progress=True),
        data.class_parts,
        sufficient,
    )
    values = {name: {"value": plain(v), "low": plain(v), "high": plain(v), "direction": 1} for name, v in found.items()}
    return {"title": title, "values": values}


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
    parser.add_argument("--limit", type=positive, default=300, help="test rows for the metrics (default: 300)")
    parser.add_argument(
        "--compare", type=positive, metavar="N", help="also evaluate post-hoc methods on the black boxes, on N rows"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder (default: benchmarks)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    parser.add_argument(
        "--limit-memory", type=positive, default=512, metavar="MIB", help="of one forward pass (default: 512)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    return parser
