"""Circuits of a sparse network compared with those of dense networks: `python -m benchmarks.circuits`.

Trains the networks of the shipped configs that are not in the folder of runs yet, prunes the same tasks in each network
with the same search, and writes benchmarks/CIRCUITS.md and .json: nodes and edges before and after unneeded edges are
removed (the published circuits keep every edge between their nodes), sufficiency and necessity on held-out prompts, and
controls. For the same nodes, a network of density f has about f times the edges of a dense one; nodes are reported too,
since a part of the ratio of edges follows from this. The dense networks have the same loss as the sparse one: one by
shorter training, one by a smaller width.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.circuits import Circuit, Pruning, SparseTransformer
from zoo.cli.checkpoint_data import data_of
from zoo.cli.prune import search, write
from zoo.data.synthetic.code_tasks import find_task
from zoo.training.projection_set import ProjectionSet

HERE = Path(__file__).parent
CONFIGS = ("sparse_idioms_cpu", "dense_idioms_cpu", "narrow_idioms_cpu")
TASKS = ("single_double_quote", "for_while", "bracket_counting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--configs", nargs="+", default=list(CONFIGS), help="names in configs/circuits, the sparse one first"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--target-loss", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument(
        "--keep", action="store_true", help="reuse circuits that an interrupted benchmark saved in the runs"
    )
    parser.add_argument("--workers", type=int, default=2, help="networks measured at the same time")
    parser.add_argument("--output", type=Path, default=HERE / "CIRCUITS")
    options = parser.parse_args()
    search_options = Pruning(target=options.target_loss, steps=options.steps)
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        jobs = {
            n: pool.submit(_measure, n, options.runs, options.tasks, search_options, options.pairs, options.keep)
            for n in options.configs
        }
        record = {name: job.result() for name, job in jobs.items()}
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    options.output.with_suffix(".md").write_text(table(record, options.target_loss), encoding="utf-8")
    print(table(record, options.target_loss))


def _measure(name: str, runs: Path, tasks: Sequence[str], options: Pruning, pairs: int, keep: bool) -> dict[str, Any]:
    """Loss and circuits of a network, which is trained first if it has no run."""
    run = runs / name
    if not (run / "checkpoint").is_dir():
        command = [sys.executable, "train.py", "fit", "--config", f"configs/circuits/{name}.yaml", "--output", str(run)]
        resume = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
        subprocess.run([*command, *resume], check=True)
    model = zoo.load(run / "checkpoint").to("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(model, SparseTransformer)
    windows = ProjectionSet(data_of(run / "checkpoint", None, [], "").projection_dataset(), device=model.device)
    nats = json.loads((run / "metrics.json").read_text())["nats"]
    record: dict[str, Any] = {"nats": nats, "density": model.density, "tasks": {}}
    folder = run / "circuits"
    folder.mkdir(exist_ok=True)
    for task in tasks:
        if keep and (folder / f"{task}.safetensors").is_file():
            record["tasks"][task] = dict(Circuit.load(folder / task).report)
            continue
        try:
            circuit = search(model, find_task(task), options, pairs, windows, quiet=True)
        except RuntimeError as error:
            print(f"{name} {task}: no circuit ({error})", flush=True)
            continue
        print(f"{name} {task}: {write(circuit, model.domain, folder)}", flush=True)
        record["tasks"][task] = dict(circuit.report)
    return record


def ratios(sparse: dict[str, Any], dense: dict[str, Any]) -> dict[str, float]:
    """Geometric means, over the tasks that both networks solve, of the ratio of dense to sparse sizes."""
    both = [(r, dense["tasks"][task]) for task, r in sparse["tasks"].items() if task in dense["tasks"]]

    def mean(size: Callable[[dict[str, Any]], int]) -> float:
        return math.exp(sum(math.log(size(d) / max(size(s), 1)) for s, d in both) / len(both)) if both else math.nan

    return {
        "edges": mean(lambda r: r["edges"]),
        "nodes": mean(lambda r: r["nodes"]),
        "edges before removal": mean(lambda r: r["before_refinement"]["edges"]),
        "nodes before removal": mean(lambda r: r["before_refinement"]["nodes"]),
    }


def table(record: dict[str, Any], target: float) -> str:
    """The record as Markdown."""
    losses = ", ".join(f"{name} {run['nats']:.3f}" for name, run in record.items())
    lines = [
        "# Circuits of a sparse network and of dense networks",
        "",
        f"Held-out language loss in nats per token: {losses}. Each circuit reaches a task loss of {target} on the "
        "prompts of the search; all values below are measured on other prompts. Chance is a loss of 0.693 and an "
        "accuracy of 50 %. *Before*: nodes and edges before unneeded edges are removed. *Of possible*: edges divided "
        "by the possible edges between the nodes. *Without*: the network without the circuit. The last five columns "
        "are controls, see `zoo.circuits.analysis.controls`.",
        "",
        "| task | network | nodes | edges | before | of possible | loss | accuracy | without: loss | accuracy | "
        "random nodes | half ablated | frozen norms | nonsense task | shuffled weights |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(task for run in record.values() for task in run["tasks"]):
        for name, run in record.items():
            if task in run["tasks"]:
                r = run["tasks"][task]
                c, before = r["controls"], r["before_refinement"]
                lines.append(
                    f"| {task} | {name} | {r['nodes']} | {r['edges']} | {before['nodes']}, {before['edges']} | "
                    f"{r['density']:.0%} | {r['circuit']['loss']:.3f} | {r['circuit']['accuracy']:.0%} | "
                    f"{r['without']['loss']:.2f} | {r['without']['accuracy']:.0%} | {c['random_nodes']['loss']:.2f} | "
                    f"{c['partial_ablation']['loss']:.3f} | {c['frozen_norms']['loss']:.3f} | "
                    f"{_control(c['nonsense_task'])} | {_control(c['shuffled_weights'])} |"
                )
    (_, sparse), *others = record.items()
    for name, run in others:
        means = ", ".join(f"{what} {value:.1f}x" for what, value in ratios(sparse, run).items())
        lines += ["", f"{name} relative to the sparse network, geometric means over the tasks: {means}."]
    return "\n".join(lines) + "\n"


def _control(found: dict[str, Any]) -> str:
    if found["reached"]:
        return f"{found['edges']} edges, held-out loss {found['held_out']['loss']:.2f}"
    return f"not found (fitted mask: loss {found['fitted_loss']:.2f}, held-out {found['held_out_loss']:.2f})"


if __name__ == "__main__":
    main()
