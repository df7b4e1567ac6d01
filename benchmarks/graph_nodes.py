"""Questions about nodes: accuracy, and whether explanations find the evidence. `python -m benchmarks.graph_nodes`.

Trains models with `train.py fit` on networks whose evidence is known, and measures them on the test nodes. Finished
runs and measurements are kept: an interrupted command resumes. Writes benchmarks/GRAPH_NODES.md and .json.
"""

import argparse
import sys
from pathlib import Path

import zoo
from benchmarks.graphs import areas, ready
from benchmarks.graphs_page import spread
from benchmarks.runs import Record, trained
from zoo.metrics.faithfulness.subject import Subject

MODELS = {  # configs of Tree-Cycles, in configs/graphs
    "SumGIN": "sum_gin_tree_cycles",
    "GNAN": "gnan_tree_cycles",
    "GSAT": "gsat_tree_cycles",
    "KNNGraph": "knn_graph_tree_cycles",
}
WORLDS = {"BA-Shapes": "BAShapes", "Tree-Cycles": "TreeCycles", "Infection": "Infection"}
CHANGES = {"BA-Shapes": {"data.init_args.batch_size": "32"}}  # of a world, for all models
COLUMNS = (("accuracy", "accuracy", 100), ("edge AUC", "edge_auc", 1), ("by node", "edge_auc_by_graph", 1))
ABOUT = """Mean over training seeds, with the standard deviation where there are several; accuracy in %. A seed draws
the network, its split, and the training. An input is the part of a network around a node. *Edge AUC*: area under the
ROC curve of the scores of edges by those that make the class, over the edges of all test nodes whose evidence is known
(nodes of houses, of rings, and with a single shortest path from an infected node), and, *by node*, as a mean over these
nodes. Scores of edges: gates of models that have some, else what the contributions say, see `edge_scores` in
`zoo.metrics.faithfulness.graph_edges`; a high area does not show that a model uses these edges."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/graph_nodes"), help="folder of the trained models")
    options = parser.parse_args()
    record = Record("GRAPH_NODES", page)
    for seed in options.seeds:
        for world in options.worlds:
            for model in options.models:
                key = f"{world}, {model}, seed {seed}"
                record.keep(key, measured, key, world, model, seed, options.runs)
    return 0


def measured(key: str, world: str, model: str, seed: int, runs: Path) -> dict[str, float]:
    """The accuracy and the edge AUC of a model, which is trained if it has no run."""
    changes = {"data.class_path": WORLDS[world], "data.init_args.seed": str(seed)} | CHANGES.get(world, {})
    folder = runs / key.replace(", ", "_").replace(" ", "")
    trained(folder, f"graphs/{MODELS[model]}", seed, key, changes)
    return areas(Subject(zoo.load(folder / "checkpoint")), ready(folder))


def page(record: dict[str, dict[str, float]]) -> str:
    """The Markdown page of measurements by "world, model, seed N"."""
    parts = ["# Graphs: questions about nodes", ABOUT]
    for world in WORLDS:
        lines = [f"| model | seeds | {' | '.join(heading for heading, _, _ in COLUMNS)} |", "|---|---:|---:|---:|---:|"]
        for model in MODELS:
            runs = [found for key, found in record.items() if key.startswith(f"{world}, {model}, ")]
            if runs:
                cells = [spread([run[key] for run in runs], factor) for _, key, factor in COLUMNS]
                lines.append(f"| {model} | {len(runs)} | {' | '.join(cells)} |")
        parts += [f"## {world}", "\n".join(lines)]
    return "\n\n".join([*parts, "Created by `python -m benchmarks.graph_nodes`."]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
