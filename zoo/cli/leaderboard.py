"""`train.py leaderboard`: every checkpoint at hand, measured on the same world, side by side."""

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

import zoo
from zoo.cli.evaluate_faithfulness import REFERENCE, Numbered, spread_inputs, to_dict, world_of, write_json
from zoo.cli.settings import create_data, read_settings
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import Subject
from zoo.metrics.faithfulness.encoding import Evaluator, train_evaluator
from zoo.metrics.faithfulness.funnybirds import protocol
from zoo.metrics.faithfulness.part_reactions import react
from zoo.metrics.faithfulness.posthoc import POSTHOC
from zoo.metrics.faithfulness.suite import choose, measure
from zoo.training.batch import as_batch
from zoo.training.black_box import BlackBox
from zoo.training.modes import evaluating
from zoo.training.staged_module import StagedModule
from zoo.views.leaderboard_table import markdown

WORLD = Path("configs/worlds/blackbox_part_birds.yaml")


@dataclass(frozen=True)
class Candidate:
    """A trained model that may be measured.

    Attributes:
        name: of its folder, without the seed.
        seed: of its training, from the folder's name; "" if that says none.
        folder: of the run.
        twin: whether it is a black box.
        mark: tells whether it has changed since it was measured.
    """

    name: str
    seed: str
    folder: Path
    twin: bool
    mark: str


def leaderboard(arguments: list[str]) -> int:
    """Measures every trained model of a world, and writes LEADERBOARD.md and leaderboard.json. Returns the exit code.

    Folders are runs of `fit`, or checkpoints; of these the ones are measured whose classes are those of the world. What
    leaderboard.json already holds is not measured again, unless the checkpoint or the options have changed.
    """
    options = _parser().parse_args(arguments)
    names = choose(options.metrics.split(","))
    data = create_data(options.config)
    data.prepare_data()
    data.setup("test")
    found = list(candidates(options.folders))
    if not found:
        places = ", ".join(map(str, options.folders))
        raise FileNotFoundError(f"no trained model in {places}; train some with `train.py fit`, or name their folders.")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "leaderboard.json"
    asked = {"metrics": names, "limit": options.limit, "compare": options.compare, "split": "test"}
    asked |= {"world": options.config.stem, "seed": options.seed}
    record, evaluator = _kept(path, asked), None
    for candidate in tqdm(found, "leaderboard"):
        key = f"{candidate.folder}"
        if record["models"].get(key, {}).get("mark") != candidate.mark:
            try:
                model = load_any(candidate)
            except (ValueError, FileNotFoundError, SafetensorError, RuntimeError) as error:
                print(f"{candidate.folder} is left out: {error}", file=sys.stderr)
                continue
            if model.domain.classes != tuple(data.domain["classes"]):
                continue
            if "M10" in names and evaluator is None:
                evaluator = evaluator_of(found, data, options)
            record["models"][key] = measured(candidate, model, data, names, evaluator, options)
            write_json(path, record)
    shown = {key: one for key, one in record["models"].items() if Path(key) in {c.folder for c in found}}
    if not shown:
        raise ValueError(
            f"none of the {len(found)} trained models has the classes of {options.config}; name a config of the world "
            "that they were trained on with --config FILE."
        )
    text = markdown(list(shown.values()), asked)
    (options.output / "LEADERBOARD.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"table {options.output / 'LEADERBOARD.md'} · numbers {path}")
    return 0


def candidates(folders: Iterable[Path]) -> Iterator[Candidate]:
    """Trained models in folders, or in the folders in them, by name."""
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}.")
        for run in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
            weights = next((run / name for name in ("checkpoint/model.safetensors", "model.safetensors", "best.ckpt")
                            if (run / name).is_file()), None)  # fmt: skip
            if weights is None or (run.name == "checkpoint" and run is not folder):
                continue
            name, seed = re.fullmatch(r"(.*?)(?:_seed(\d+))?", run.resolve().name).groups()  # pyright: ignore
            mark = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
            yield Candidate(name, seed or "", run, weights.name == "best.ckpt", mark)


def load_any(candidate: Candidate) -> StagedModule:
    """The model of a run: a checkpoint, or a black box's best epoch.

    Raises:
        ValueError: neither; a damaged or foreign file.
    """
    if not candidate.twin:
        inner = candidate.folder / "checkpoint"
        return zoo.load(inner if inner.is_dir() else candidate.folder)
    settings = read_settings(["--config", str(candidate.folder / "config.yaml")], "leaderboard")
    part, data = settings.require("model"), settings.require("data").build()
    if part.cls is not BlackBox:
        raise ValueError("it has weights but no checkpoint; let `train.py fit` finish.")
    model = part.build(domain=data.domain)
    state = torch.load(candidate.folder / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict(state)
    return model.eval()


def evaluator_of(found: list[Candidate], data: Any, options: argparse.Namespace) -> Evaluator:
    """One evaluator for all models: a copy of the first black box, trained on masks; without one a small network."""
    twin = None
    for candidate in found:
        if candidate.twin and twin is None:
            model = load_any(candidate)
            twin = model if model.domain.classes == tuple(data.domain["classes"]) else None
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return train_evaluator(data, None, twin, 10, options.seed, "evaluator of M10", device=device)


def measured(
    candidate: Candidate,
    model: StagedModule,
    data: Any,
    names: tuple[str, ...],
    evaluator: Evaluator | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """What one model reaches: its accuracy on all test rows, and the metrics on `limit` of them."""
    start = time.perf_counter()
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataset, reference = data.test_dataset(), spread_inputs(data.projection_dataset(), REFERENCE)
    shown = {"name": candidate.name, "seed": candidate.seed, "mark": candidate.mark, "twin": candidate.twin}
    shown |= {"model": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
    with evaluating(model):
        shown["accuracy"] = accuracy(model, DataLoader(dataset, data.batch_size))
        subjects: dict[str, Subject] = {} if candidate.twin else {"": Subject(model, options.limit_memory * 2**20)}  # pyright: ignore
        if candidate.twin and options.compare:
            blank = reference.mean(0)
            subjects = {k: make(model, blank, limit=options.limit_memory * 2**20) for k, make in POSTHOC.items()}
        limit = options.compare if candidate.twin else options.limit
        for method, subject in subjects.items():
            batches = Numbered(dataset, limit, data.batch_size)
            world = world_of(data, "test")
            results = measure(subject, batches, reference, names, (), options.seed, True, *world, evaluator)
            told = {key: to_dict(result) for key, result in results.items()}
            if hasattr(data, "subsets"):
                told["FunnyBirds"] = parts_protocol(subject, data, limit)
            if method:
                shown.setdefault("methods", {})[method] = told
            else:
                shown["metrics"] = told
    return shown | {"seconds": round(time.perf_counter() - start, 1)}


def parts_protocol(subject: Subject, data: Any, limit: int) -> dict[str, Any]:
    """The FunnyBirds protocol, with the threshold of the validation rows."""
    told = []
    for split, dataset in (("test", data.test_dataset()), ("val", data.val_dataset())):
        batches = Numbered(dataset, limit, data.batch_size)
        if subject.explain(next(iter(batches))["input"][:1].to(subject.model.device)).support is None:
            return {
                "title": "FunnyBirds protocol",
                "not applicable": "needs units with a place in the input (supports)",
            }
        told.append(react(subject, data, split, batches, progress=True))
    sufficient = [data.minimal_sufficient(c) for c in range(len(data.domain["classes"]))]
    found = protocol(*told, data.class_parts, sufficient)
    values = {name: {"value": plain(v), "low": plain(v), "high": plain(v), "direction": 1} for name, v in found.items()}
    return {"title": "FunnyBirds protocol", "values": values}


@torch.no_grad()
def accuracy(model: StagedModule, batches: DataLoader) -> float:
    """The share of rows that are predicted right."""
    right, rows = torch.zeros(()), 0
    for batch in map(as_batch, batches):
        scores: Tensor = model(batch["input"].to(model.device))
        right += (scores.argmax(1).cpu() == batch["target"]).sum()
        rows += len(scores)
    return (right / rows).item()


def _kept(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call has measured with the same options."""
    fresh = {"asked": json.loads(json.dumps(asked)), "models": {}}
    if not path.is_file():
        return fresh
    old = json.loads(path.read_text(encoding="utf-8"))
    return old if old.get("asked") == fresh["asked"] else fresh


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("train.py leaderboard", description=leaderboard.__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[Path("runs")], help="of trained models (default: runs)"
    )
    parser.add_argument("--config", type=Path, default=WORLD, help=f"whose data is the world (default: {WORLD})")
    parser.add_argument("--metrics", default="all", metavar="NAME,NAME", help="by key or title (default: all)")
    parser.add_argument("--limit", type=int, default=300, help="test rows for the metrics (default: 300)")
    parser.add_argument(
        "--compare", type=int, metavar="N", help="also post-hoc methods of captum on the black boxes, on N rows"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder (default: benchmarks)")
    parser.add_argument("--device", help="such as cpu or cuda (default: cuda if there is one)")
    parser.add_argument("--limit-memory", type=int, default=512, metavar="MIB", help="of one pass (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: 0)")
    return parser
