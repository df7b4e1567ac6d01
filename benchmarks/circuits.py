"""Circuits of sparse networks against those of dense twins: `python -m benchmarks.circuits --sparse RUN --dense RUN`.

Prunes the same tasks in both by the same search, and writes benchmarks/CIRCUITS.md and .json: nodes, edges and density
side by side, before and after single edges are dropped (the published circuits keep every edge between their nodes),
what is enough and what is needed, on held-out prompts, and the controls. Of the same nodes, a network of density f has
about f times the edges of a dense one, so that part of a ratio of edges is built in: hence the nodes beside them.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.circuits import Choice, Circuit, Pruning, SparseTransformer
from zoo.circuits.choice import score
from zoo.data.code_tasks import encode, find_task
from zoo.evaluation import data_of
from zoo.pruning import search, write
from zoo.reference import Reference

HERE = Path(__file__).parent
TASKS = ("single_double_quote", "for_while", "bracket_counting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparse", type=Path, default=Path("runs/sparse_idioms_cpu"), help="run, with its checkpoint")
    parser.add_argument("--dense", type=Path, default=Path("runs/dense_idioms_cpu"), help="run of the dense twin")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--target-loss", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--output", type=Path, default=HERE / "CIRCUITS")
    options = parser.parse_args()
    how = Pruning(target=options.target_loss, steps=options.steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    record: dict[str, Any] = {"tasks": {}, "nats": {}, "target": options.target_loss}
    for name, run in (("sparse", options.sparse), ("dense", options.dense)):
        model = zoo.load(run / "checkpoint").to(device)
        assert isinstance(model, SparseTransformer)
        record["nats"][name] = json.loads((run / "metrics.json").read_text())["nats"]
        record.setdefault("density", {})[name] = model.density
        windows = Reference(data_of(run / "checkpoint", None, []).reference_dataset(), device=device)
        for task in options.tasks:
            circuit = _search(model, task, how, options.pairs, windows)
            record["tasks"].setdefault(task, {})[name] = circuit
            print(f"{name} {task}: {circuit}", flush=True)
    record["ratios"] = ratios(record)
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    options.output.with_suffix(".md").write_text(table(record), encoding="utf-8")
    print(table(record))


def _search(model: SparseTransformer, name: str, how: Pruning, pairs: int, windows: Reference) -> dict[str, Any] | None:
    """The report of a task's circuit; None, and the whole network's loss told, where it does not solve the task."""
    task = find_task(name)
    found = encode(task, model.domain, pairs, "train")
    whole = score(model.network, Choice.of_pairs(found.prompts, found.answers).to(model.device))
    if whole["loss"] > how.target:
        print(f"{name}: the whole network's loss is {whole['loss']:.3f}, so it has no circuit")
        return None
    circuit: Circuit = search(model, task, how, pairs, windows, quiet=True)
    write(circuit, model.domain, _folder(model))
    return dict(circuit.report)


def _folder(model: SparseTransformer) -> Path:
    folder = Path("out") / ("dense" if model.density == 1 else "sparse")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ratios(record: dict[str, Any]) -> dict[str, float]:
    """Geometric means over the tasks that both solve: dense edges and nodes for each sparse one."""
    both = [pair for pair in record["tasks"].values() if pair["sparse"] and pair["dense"]]
    if not both:
        return {}

    def mean(size: Callable[[dict[str, Any]], int]) -> float:
        return math.exp(sum(math.log(size(pair["dense"]) / max(size(pair["sparse"]), 1)) for pair in both) / len(both))

    return {
        "edges": mean(lambda r: r["edges"]),
        "nodes": mean(lambda r: r["nodes"]),
        "edges between the nodes that pruning by gradient leaves": mean(lambda r: r["before_refinement"]["edges"]),
        "such nodes": mean(lambda r: r["before_refinement"]["nodes"]),
    }


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Circuits of a sparse network and of its dense twin",
        "",
        f"Held-out language loss: sparse {record['nats']['sparse']:.3f} nats a token, dense "
        f"{record['nats']['dense']:.3f}. Each circuit reaches a task loss of {record['target']} on the prompts that it "
        "is searched on; all below is measured on others. Chance is 0.693, or 50 %.",
        "",
        "| task | network | nodes | edges | before | of possible | loss | accuracy | without it | accuracy | "
        "random nodes | half ablated | frozen norms | nonsense task | shuffled weights |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, pair in record["tasks"].items():
        for name, r in pair.items():
            if r is None:
                lines.append(f"| {task} | {name} | not solved |" + " |" * 12)
                continue
            c = r["controls"]
            lines.append(
                f"| {task} | {name} | {r['nodes']} | {r['edges']} | "
                f"{r['before_refinement']['nodes']}, {r['before_refinement']['edges']} | {r['density']:.0%} | "
                f"{r['circuit']['loss']:.3f} | "
                f"{r['circuit']['accuracy']:.0%} | {r['without']['loss']:.2f} | {r['without']['accuracy']:.0%} | "
                f"{c['random_nodes']['loss']:.2f} | {c['partial_ablation']['loss']:.3f} | "
                f"{c['frozen_norms']['loss']:.3f} | "
                f"{_control(c['nonsense_task'])} | {_control(c['shuffled_weights'])} |"
            )
    if record["ratios"]:
        told = ", ".join(f"{name} {value:.1f}x" for name, value in record["ratios"].items())
        lines += ["", f"Dense for each sparse one, geometric mean: {told}."]
    return "\n".join(lines) + "\n"


def _control(found: dict[str, Any]) -> str:
    if found["reached"]:
        return f"{found['edges']} edges, held-out loss {found['held_out']['loss']:.2f}"
    return f"not found (fitted mask: {found['fitted_loss']:.2f}, held out {found['held_out_loss']:.2f})"


if __name__ == "__main__":
    main()
