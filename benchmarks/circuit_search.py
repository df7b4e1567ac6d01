"""Methods that search for circuits, compared: `python -m benchmarks.circuit_search`.

The same task, prompts, target loss and removal of unneeded edges for every ranking of `prune --method`, and ACDC with
the same loss, whose paths between heads and MLPs are coarser. Two parts: networks with a planted circuit, whose edges
are known (`benchmarks.planted`), and language models, shipped ones and those that
`python -m benchmarks.circuits` has trained. Writes benchmarks/CIRCUIT_SEARCH.json and .md. Times are seconds of one CPU
core (process time). Results of a row that is in the JSON file are kept; delete the file to measure all again.

    python -m benchmarks.circuit_search --models sparse-idioms runs/narrow_idioms_cpu-seed0/checkpoint
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

import zoo
from benchmarks.planted import Planted, plant
from zoo.circuits import Pruning, SparseTransformer, TokenPairTask, acdc
from zoo.circuits.analysis.mask_search import METHODS
from zoo.circuits.analysis.pruning import Found, refine
from zoo.circuits.analysis.ranking import rank
from zoo.circuits.analysis.token_pair_task import evaluate_task
from zoo.circuits.network.edges import mean_ablation
from zoo.data.synthetic.code_tasks import encode, find_task
from zoo.domain import CodeDomain
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json

HERE = Path(__file__).parent
THRESHOLD = 0.01  # of ACDC, in nats
ACDC = "acdc"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="seeds of planted circuits")
    parser.add_argument("--models", nargs="*", default=["sparse-idioms"], help="shipped names, or folders of runs")
    parser.add_argument("--tasks", nargs="+", default=["single_double_quote"])
    parser.add_argument("--methods", nargs="+", default=[*METHODS, ACDC])
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--output", type=Path, default=HERE / "CIRCUIT_SEARCH")
    options = parser.parse_args()
    path = options.output.with_suffix(".json")
    record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def keep(group: str, name: str, method: str, measure: Callable[[], dict[str, Any]]) -> None:
        rows = record.setdefault(group, {}).setdefault(name, {})
        if method not in rows:
            rows[method] = measure()
            print(group, name, method, rows[method], flush=True)
            write_text(path, to_json(record, indent=1))
            write_text(options.output.with_suffix(".md"), page(record))

    domain = zoo.load("sparse-idioms").domain
    assert isinstance(domain, CodeDomain)
    for seed in options.planted:
        planted = plant(domain, seed=seed)
        for method in options.methods:
            keep("planted", str(seed), method, lambda one=planted, how=method: of_planted(one, how))
    for name in options.models:
        model = zoo.load(name)
        assert isinstance(model, SparseTransformer)
        for task in options.tasks:
            sides = [pairs(model, task, options.pairs, split) for split in ("train", "held_out")]
            for method in options.methods:
                label = f"{Path(name).parent.name if '/' in name else name}, {task}"
                keep("models", label, method, lambda m=model, s=sides, how=method: measure(m, s[0], s[1], how))
    print(page(record))


def pairs(model: SparseTransformer, name: str, count: int, split: str) -> TokenPairTask:
    """Pairs of prompts of a task."""
    assert isinstance(model.domain, CodeDomain)
    found = encode(find_task(name), model.domain, count, split)
    return TokenPairTask.of_pairs(found.prompts, found.answers)


def of_planted(planted: Planted, method: str) -> dict[str, Any]:
    """The measurements of a search in a network whose edges are known, with the recovery of nodes and edges."""
    true = set(zip(planted.source.tolist(), planted.destination.tolist(), strict=True))
    nodes = torch.zeros(planted.model.means.numel(), dtype=torch.bool)
    nodes[torch.cat([planted.source, planted.destination])] = True

    def recovery(found: Found, rankings: list[Tensor]) -> dict[str, float]:
        edges = set(zip(found.edges.source.tolist(), found.edges.destination.tolist(), strict=True))
        hits = len(edges & true)
        return {
            "true_edges": len(true),
            "recall": hits / len(true),
            "precision": hits / max(len(edges), 1),
            "f1": 2 * hits / (len(edges) + len(true)),
            "node_auc": max(_area(ranking.flatten(), nodes) for ranking in rankings),
        }

    return measure(planted.model, planted.train, planted.held_out, method, recovery)


def _area(score: Tensor, true: Tensor) -> float:
    """Area under the ROC curve; ties count half."""
    higher = (score[true][:, None] > score[~true]).double().mean()
    return float(higher + (score[true][:, None] == score[~true]).double().mean() / 2)


def measure(
    model: SparseTransformer,
    train: TokenPairTask,
    held_out: TokenPairTask,
    method: str,
    recovery: Callable[[Found, list[Tensor]], dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Sizes, seconds and held-out scores of one search."""
    model.requires_grad_(False)
    start = time.process_time()
    if method == ACDC:
        paths = acdc(model, train, THRESHOLD, metric="loss", ablation="mean")
        took = time.process_time() - start
        return {"paths": len(paths.paths), "seconds": took, "train_loss": paths.metric}
    options = Pruning(method=method)
    rankings = rank(model, train, options, options.penalties)
    ranked = time.process_time() - start
    found = refine(model, train, rankings, options.target)
    took = time.process_time() - start
    ablation = mean_ablation(model.network, model.means, model.gathered, found.mask, found.removed)
    scores = evaluate_task(model.network, held_out, ablation)
    return {
        "ranking_seconds": ranked,
        "seconds": took,
        "nodes_before": found.before["nodes"],
        "edges_before": found.before["edges"],
        "nodes": int(found.mask.sum()),
        "edges": len(found.edges.source),
        "held_out_loss": scores["loss"],
        "held_out_accuracy": scores["accuracy"],
        **({} if recovery is None else recovery(found, rankings)),
    }


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Methods that search for circuits",
        "",
        "`python -m benchmarks.circuit_search --models sparse-idioms runs/narrow_idioms_cpu-seed0/checkpoint`. "
        "The same prompts, target loss (0.15 nats on the prompts of the search) "
        "and removal of unneeded edges for each ranking of nodes (`prune --method`). Seconds are of one CPU core; "
        "*ranking* is the part in which the methods differ. ACDC removes paths between heads and MLPs at a threshold "
        f"of {THRESHOLD} nats, which are coarser than edges, so that its numbers cannot be compared with theirs.",
    ]
    if planted := record.get("planted"):
        lines += [
            "",
            f"## Planted circuits, whose edges are known: means of {len(planted)} networks",
            "",
            "| method | ranking s | all s | nodes | edges | true edges found | found edges true | F1 | node AUC | "
            "held-out loss |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for method in METHODS:
            rows = [found[method] for found in planted.values() if method in found]
            if rows:
                lines.append(f"| {method} | " + " | ".join(_means(rows)) + " |")
        rows = [found[ACDC] for found in planted.values() if ACDC in found]
        if rows:
            lines += [
                "",
                f"ACDC: {mean(r['paths'] for r in rows):.0f} paths in {mean(r['seconds'] for r in rows):.1f} s.",
            ]
    for name, found in record.get("models", {}).items():
        lines += [
            "",
            f"## {name}",
            "",
            "| method | ranking s | all s | nodes, edges before | nodes | edges | held-out loss, accuracy |",
            "|---|---|---|---|---|---|---|",
        ]
        for method in METHODS:
            if row := found.get(method):
                lines.append(
                    f"| {method} | {row['ranking_seconds']:.1f} | {row['seconds']:.1f} | {row['nodes_before']}, "
                    f"{row['edges_before']} | {row['nodes']} | {row['edges']} | {row['held_out_loss']:.3f}, "
                    f"{row['held_out_accuracy']:.0%} |"
                )
        if row := found.get(ACDC):
            lines += ["", f"ACDC: {row['paths']} paths in {row['seconds']:.1f} s, loss {row['train_loss']:.3f}."]
    return "\n".join(lines) + "\n"


def _means(rows: list[dict[str, Any]]) -> list[str]:
    """Means of the columns of the table of planted circuits."""
    formats = {
        "ranking_seconds": ".2f",
        "seconds": ".1f",
        "nodes": ".0f",
        "edges": ".0f",
        "recall": ".1%",
        "precision": ".1%",
        "f1": ".1%",
        "node_auc": ".3f",
        "held_out_loss": ".3f",
    }
    return [format(mean(row[name] for row in rows), how) for name, how in formats.items()]


if __name__ == "__main__":
    main()
