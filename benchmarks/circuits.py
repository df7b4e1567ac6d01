"""Circuits of a sparse network compared with those of dense networks: `python -m benchmarks.circuits`.

Trains the networks of the shipped configs that have no run yet, with each seed, prunes the same tasks in each network
with the same search, and writes benchmarks/CIRCUITS.md and .json: nodes and edges before and after unneeded edges are
removed (the published circuits keep every edge between their nodes), sufficiency and necessity on held-out prompts, and
controls. For the same nodes, a network of density f has about f times the edges of a dense one, so a part of the ratio
of edges follows from the density. The dense networks have the same loss as the sparse one: the narrow one, the fair
comparison, by its width, the other one by shorter training.

An interrupted benchmark goes on where it was: a circuit is reused as long as its checkpoint and the options of the
search are the same. Controls are measured with the first seed. Three seeds of all tasks take hours on two cores.

    python -m benchmarks.circuits --seeds 0 1 2 --tasks all
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import zoo
from benchmarks.circuits_page import page
from zoo.circuits import Circuit, Pruning
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.checkpoint_data import data_of
from zoo.cli.prune import search, write
from zoo.data.synthetic.code_tasks import find_task, tasks
from zoo.training.projection_set import ProjectionSet

HERE = Path(__file__).parent
CONFIGS = ("sparse_idioms_cpu", "narrow_idioms_cpu", "dense_idioms_cpu")
TASKS = ("single_double_quote", "for_while", "bracket_counting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--configs", nargs="+", default=list(CONFIGS), help="names in configs/circuits: sparse, narrow, others"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the trainings (default: 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="names, or all")
    parser.add_argument("--target-loss", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="networks measured at the same time")
    parser.add_argument("--output", type=Path, default=HERE / "CIRCUITS")
    options = parser.parse_args()
    how = Pruning(target=options.target_loss, steps=options.steps)
    chosen = [task.name for task in tasks()] if options.tasks == ["all"] else options.tasks
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        jobs = {
            (name, seed): pool.submit(
                _measure, name, seed, options.runs, chosen, how, options.pairs, seed == options.seeds[0]
            )
            for name in options.configs
            for seed in options.seeds
        }
        record: dict[str, dict[str, Any]] = {}
        for (name, seed), job in jobs.items():
            record.setdefault(name, {})[str(seed)] = job.result()
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    options.output.with_suffix(".md").write_text(page(record, options.target_loss), encoding="utf-8")
    print(page(record, options.target_loss))


def _measure(
    name: str, seed: int, runs: Path, chosen: Sequence[str], how: Pruning, pairs: int, tested: bool
) -> dict[str, Any]:
    """Loss and circuits of a network, which is trained first if it has no run."""
    run = runs / f"{name}-seed{seed}"
    if not (run / "checkpoint").is_dir():
        command = [sys.executable, "train.py", "fit", "--config", f"configs/circuits/{name}.yaml"]
        resume = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
        subprocess.run([*command, "--seed_everything", str(seed), "--output", str(run), *resume], check=True)
    model = zoo.load(run / "checkpoint")
    assert isinstance(model, SparseTransformer)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    windows = ProjectionSet(data_of(run / "checkpoint", None, [], "").projection_dataset(), device=model.device)
    nats = json.loads((run / "metrics.json").read_text())["nats"]
    record: dict[str, Any] = {"nats": nats, "density": model.density, "tasks": {}}
    what = (run / "checkpoint" / "config.yaml").read_bytes() + repr((how, pairs, tested)).encode()
    folder = run / f"circuits-{hashlib.sha256(what).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    for task in chosen:
        if (folder / f"{task}.safetensors").is_file():
            record["tasks"][task] = dict(Circuit.load(folder / task).report)
            continue
        try:
            circuit = search(model, find_task(task), how, pairs, windows, quiet=True, tested=tested)
        except (RuntimeError, ValueError) as error:
            print(f"{name} {seed} {task}: no circuit ({error})", flush=True)
            continue
        print(f"{name} {seed} {task}: {write(model, circuit, windows, folder)}", flush=True)
        record["tasks"][task] = dict(circuit.report)
    return record


if __name__ == "__main__":
    main()
