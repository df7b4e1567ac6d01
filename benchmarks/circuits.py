"""Circuits of all tasks in a sparse network and in dense networks: `python -m benchmarks.circuits`.

Trains the networks of the shipped configs that have no run yet, with each seed; finds the circuit of every task that a
network solves with the same search; writes benchmarks/CIRCUITS.md, .json and .png: nodes and edges before and after
unneeded edges are removed (the published circuits keep every edge between their nodes), sufficiency and necessity on
held-out prompts, and controls. A network solves a task if its loss on the prompts of the search is at most the target.

For the same nodes, a network of density f has about f times the edges of a dense one, so a part of the ratio of edges
follows from the density. The dense networks have the same loss as the sparse one: the narrow one, the fair comparison,
by its width, the other one by shorter training.

Each result is kept as soon as it is measured, and results in the JSON file are not measured again: an interrupted
benchmark goes on where it was, and needs no runs for what it has. Measured apart, with --output, results are merged by
--merge. All of it takes hours on two cores, most of them for the dense network.

    python -m benchmarks.circuits
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import zoo
from benchmarks.circuits_figure import draw
from benchmarks.circuits_page import page
from zoo.circuits import Circuit, Pruning
from zoo.circuits.analysis.controls import controls, partial_ablation
from zoo.circuits.analysis.effects import measure_report
from zoo.circuits.analysis.pruning import search
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.circuit import token_pairs, training_windows
from zoo.data.synthetic.code_tasks import find_task, tasks
from zoo.domain import CodeDomain
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json

HERE = Path(__file__).parent
CONFIGS = ("sparse_idioms_cpu", "narrow_idioms_cpu", "dense_idioms_cpu")
CONTROLLED = ("single_double_quote", "for_while", "bracket_counting")
PAIRS = 64  # of prompts, for the search and for the measurements
HALVES = 8  # random halves of the nodes outside a circuit, of which the worst is reported
# Larger steps than by default, and fewer of them: the circuits of quotes, in the sparse and the narrow network, are as
# small as by default, in a third of the time. The removal is limited because the dense network has tens of thousands of
# edges.
SEARCH = Pruning(lr=1e-2, steps=120, pairs=16, penalties=(3e-3, 6e-3), passes=2000)
Record = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), help="names in configs/circuits")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings (default: 0 1 2)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trained networks")
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in tasks()], help="names (default: all)")
    parser.add_argument(
        "--controls", nargs="*", default=list(CONTROLLED), help="tasks whose controls are all measured, with seed 0"
    )
    parser.add_argument("--output", type=Path, default=HERE / "CIRCUITS", help="path without an ending")
    parser.add_argument("--merge", type=Path, nargs="+", help="JSON files whose results are added; measures nothing")
    options = parser.parse_args()
    for name in [*options.tasks, *options.controls]:
        find_task(name)
    record = read(options.output.with_suffix(".json"))
    if options.merge:
        for path in options.merge:
            merge(record, read(path, missing_is_new=False))
    else:
        for seed in options.seeds:
            for name in options.configs:
                _complete(record, name, seed, options)
    save(record, options.output)
    draw(record["networks"], options.output.with_name("circuits.png"))
    print(page(record))
    return 0


def read(path: Path, missing_is_new: bool = True) -> Record:
    """The record in a file, or a new one.

    Raises:
        FileNotFoundError: no such file, unless that means a new record.
        ValueError: its circuits were found by another search, so that they cannot be compared.
    """
    how = json.loads(to_json({**dataclasses.asdict(SEARCH), "prompt_pairs": PAIRS}))
    if missing_is_new and not path.is_file():
        return {"search": how, "networks": {}}
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("search") != how:
        raise ValueError(
            f"the circuits in {path} were found by another search, {record.get('search')}; this one is {how}. Delete "
            "the file to measure all again, or choose another --output."
        )
    return record


def merge(record: Record, other: Record) -> None:
    """Adds the results of another record; where both have one, the first stays unless only the other has controls."""
    for name, runs in other["networks"].items():
        for seed, run in runs.items():
            mine = record["networks"].setdefault(name, {}).setdefault(seed, {**run, "tasks": {}})
            for task, found in run["tasks"].items():
                if task not in mine["tasks"] or ("controls" in found and _lacks_controls(mine["tasks"][task])):
                    mine["tasks"][task] = found


def save(record: Record, output: Path) -> None:
    """Writes the record and its page."""
    order = {task.name: number for number, task in enumerate(tasks())}
    for runs in record["networks"].values():
        for run in runs.values():
            run["tasks"] = dict(sorted(run["tasks"].items(), key=lambda found: order[found[0]]))
    first = {name: record["networks"][name] for name in CONFIGS if name in record["networks"]}
    record["networks"] = {name: dict(sorted(runs.items())) for name, runs in {**first, **record["networks"]}.items()}
    write_text(output.with_suffix(".json"), to_json(record, indent=1) + "\n")
    write_text(output.with_suffix(".md"), page(record))


def _complete(record: Record, name: str, seed: int, options: argparse.Namespace) -> None:
    """Measures the tasks of a network that the record does not have; it is trained first if it has no run."""
    controlled = set(options.controls) if seed == 0 else set()
    had = record["networks"].get(name, {}).get(str(seed), {"tasks": {}})["tasks"]
    missing = [task for task in options.tasks if task not in had or (task in controlled and _lacks_controls(had[task]))]
    if not missing:
        return
    folder = _trained(name, seed, options.runs)
    model = zoo.load(folder / "checkpoint")
    if not isinstance(model, SparseTransformer):
        raise ValueError(f"{folder} holds a {type(model).__name__}; the benchmark requires a sparse_transformer.")
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    nats = json.loads((folder / "metrics.json").read_text())["nats"]
    run = record["networks"].setdefault(name, {}).setdefault(str(seed), {"tasks": {}})
    run |= {"nats": nats, "density": model.density, "width": model.network.layout.width}
    for task in missing:
        run["tasks"][task] = measure(model, task, folder / "checkpoint" if task in controlled else None)
        save(record, options.output)
        print(f"{name} {seed} {task}: {_line(run['tasks'][task])}", flush=True)


def _lacks_controls(found: Mapping[str, Any]) -> bool:
    return found["solved"] and "controls" not in found


def _trained(name: str, seed: int, runs: Path) -> Path:
    """The run of a config and a seed; an interrupted training goes on where it was."""
    folder = runs / f"{name}-seed{seed}"
    if not (folder / "checkpoint").is_dir():
        command = [sys.executable, "train.py", "fit", "--config", f"configs/circuits/{name}.yaml"]
        resume = ["--ckpt_path", "last"] if (folder / "last.ckpt").exists() else []
        subprocess.run([*command, "--seed_everything", str(seed), "--output", str(folder), *resume], check=True)
    return folder


def measure(model: SparseTransformer, name: str, checkpoint: Path | None = None, how: Pruning = SEARCH) -> Record:
    """Scores of a network on a task and, if it solves it, the report of its circuit.

    Args:
        model: with measured means.
        name: of the task.
        checkpoint: of the model; if given, all controls are measured. Its training windows give the means of the
            control whose weights are shuffled.
        how: options of the search.
    """
    assert isinstance(model.domain, CodeDomain)
    try:
        sides = [token_pairs(find_task(name), model.domain, PAIRS, split, how.seed) for split in ("train", "held_out")]
    except ValueError as error:  # the tokenizer has no token to choose
        return {"solved": False, "reason": str(error)}
    train, held_out = (side.to(model.device) for side in sides)
    searched = evaluate_task(model.network, train)["loss"]
    if searched > how.target:
        return {"solved": False, "search_loss": searched, "whole": evaluate_task(model.network, held_out)}
    found = search(model, train, how, how.penalties)
    report = measure_report(model, train, held_out, found.mask, found.edges, found.removed, how.target)
    effect = model.means.new_full((0,), torch.nan)
    circuit = Circuit(  # only for its controls: effects and samples are not measured
        name, model.network.layout, found.mask, found.edges, found.removed, model.means, model.gathered,
        node_effect=effect, edge_effect=effect, samples=held_out.tokens[:0], activations=effect, report=report,
    )  # fmt: skip
    bound = (0.5 + report["circuit"]["accuracy"]) / 2
    kept = ("whole", "circuit", "without", "train", "nodes", "edges", "possible_edges", "density")
    record = {"solved": True, "search_loss": searched, **{key: report[key] for key in kept}}
    record |= {"before": found.before, "tested": found.complete}
    record["halves"] = _scores(partial_ablation(model, circuit, held_out, bound, HALVES))
    if checkpoint is not None:
        record["controls"] = _controls(model, circuit, train, held_out, checkpoint, how)
    return record


def _controls(
    model: SparseTransformer,
    circuit: Circuit,
    train: TokenPairTask,
    held_out: TokenPairTask,
    checkpoint: Path,
    how: Pruning,
) -> dict[str, Any]:
    """All controls of a circuit."""
    assert isinstance(model.domain, CodeDomain)
    task, domain = find_task(circuit.task), model.domain
    windows = training_windows(model, checkpoint, None, "python -m benchmarks.circuits")
    train_nonsense, held_out_nonsense = (
        token_pairs(task, domain, PAIRS, split, how.seed, nonsense=True) for split in ("train", "held_out")
    )
    return controls(model, circuit, train, held_out, (train_nonsense, held_out_nonsense), windows, how)


def _scores(found: Mapping[str, Any]) -> dict[str, float]:
    return {key: found[key] for key in ("loss", "accuracy", "worst_loss", "worst_accuracy")}


def _line(found: Mapping[str, Any]) -> str:
    if not found["solved"]:
        return found.get("reason", f"not solved, loss {found.get('search_loss', 0):.3f}")
    return f"{found['nodes']} nodes, {found['edges']} edges, held-out loss {found['circuit']['loss']:.3f}"


if __name__ == "__main__":
    sys.exit(main())
