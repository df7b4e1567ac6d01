"""Are explanations of graphs true? `python -m benchmarks.graphs`.

For each world and seed, trains models of graphs and a black box with `train.py fit`, and measures them on the test
graphs: how well scores of edges find those that matter, and the tests of `train.py evaluate --metrics M16,M17` and
`--selection`. The black box is explained by integrated gradients over how much of each edge is used; the "planted
encoder" has the answers of the black box and shows c + 1 fixed edges for class c. Finished runs and measurements are
kept: an interrupted command resumes. Writes benchmarks/GRAPHS.md and .json.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import zoo
from benchmarks.graphs_page import page
from benchmarks.runs import Record, ordered, read, trained
from zoo.cli.checkpoint_data import data_of
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness.controls import EncoderCheat
from zoo.metrics.faithfulness.graph_edges import edge_labels, edge_scores
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.metrics.faithfulness.subject import LIMIT, Case, Subject, centred
from zoo.metrics.faithfulness.suite import measure
from zoo.metrics.selection.graphs import graph_selection_report
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import FILE, load_network
from zoo.utils.collate import collate
from zoo.utils.functional import area_under_roc

BLACK_BOX = "black box"
CONFIGS = {  # of BA-2motifs, in configs/graphs
    "SumGIN": "sum_gin_ba2motifs",
    "GNAN": "gnan_ba2motifs",
    "GSAT": "gsat_ba2motifs",
    "InvariantRationale": "invariant_rationale_ba2motifs",
    "ProtGNN": "protgnn_ba2motifs",
    "KNNGraph": "knn_graph_ba2motifs",
    "KerGNN": "kergnn_ba2motifs",
    "GraphConcepts": "graph_concepts_ba2motifs",
    "GraphConcepts with logic": "graph_concepts_logic_ba2motifs",
    BLACK_BOX: "blackbox_ba2motifs",
}
FASTER = {"model.init_args.recipe.lr": "0.003"}
WORLDS: dict[str, dict[str, str]] = {  # what a world changes of these configs
    "BA-2motifs": {},
    "rule molecules": {"data.class_path": "RuleMolecules", "data.init_args.count": "1000"},
    "SPMotif-0.9": {"data.class_path": "SPMotif", "data.init_args.count": "1200", "data.init_args.test_count": "300"},
}
BIASED = {"SPMotif-0.9": "0.9", "rule molecules": "0.9"}  # `test_bias` of a test like the training data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of all trainings (default: 0)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/graphs"), help="folder of the trained models")
    options = parser.parse_args()
    record = kept()
    for seed in options.seeds:
        for world in options.worlds:
            for model in options.models:
                record.keep(f"{world}, {model}, seed {seed}", measured, world, model, seed, options.runs)
    return 0


def kept() -> Record:
    """The measurements, in the order of the options."""
    return Record("GRAPHS", page, lambda found: ordered(found, list(WORLDS), list(CONFIGS)))


def run_of(world: str, model: str, seed: int, runs: Path) -> Path:
    """The folder of a run, which is trained if it is missing."""
    faster = world != "BA-2motifs" and model in ("SumGIN", "GSAT", BLACK_BOX)
    folder = runs / f"{world}_{model}_seed{seed}".replace(" ", "_")
    changes = WORLDS[world] | (FASTER if faster else {})
    return trained(folder, f"graphs/{CONFIGS[model]}", seed, f"{world}, {model}, seed {seed}", changes)


def measured(world: str, model: str, seed: int, runs: Path) -> dict[str, Any]:
    """The measurements of each explanation of a model, by name."""
    folder = run_of(world, model, seed, runs)
    data = ready(folder)
    if model == BLACK_BOX:
        network = black_box(folder)
        subjects = {"integrated gradients": EdgeGradients(network), "planted encoder": EncoderCheat(Plain(network))}
    else:
        subjects = {"its own": Subject(zoo.load(folder / "checkpoint"))}
    found = {name: truth(subject, data, seed) for name, subject in subjects.items()}
    if model == "GSAT":
        found["its own"]["curve"] = curve(folder)
    if world in BIASED:
        biased = ready(folder, ["--data.init_args.test_bias", BIASED[world]])
        for name, subject in subjects.items():
            found[name] |= {f"{key}, biased": value for key, value in areas(subject, biased).items()}
    return found


def black_box(folder: Path) -> BlackBox:
    """The black box of a run."""
    trained = load_network(folder / FILE)
    options = read(folder / "run.json")["config"]["model"]["init_args"]
    network = BlackBox(trained.domain, options["backbone"]).eval()
    network.load_state_dict(trained.state_dict())
    return network


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """Epochs of a run, from 1, with the accuracy and the pooled edge AUC on the validation graphs."""
    (path,) = (folder / "logs").glob("*/metrics.csv")
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/edge_auc")]
    return [(int(r["epoch"]) + 1, float(r["val/accuracy"]), float(r["val/edge_auc"])) for r in rows]


def ready(folder: Path, overrides: list[str] | None = None) -> DataModule:
    """The data of a run."""
    data = data_of(folder / "checkpoint", folder / "config.yaml", overrides or [], "evaluate")
    data.prepare_data()
    data.setup("test")
    return data


def truth(subject: Subject, data: DataModule, seed: int) -> dict[str, Any]:
    """Accuracy, areas and all tests of one explanation on the test graphs."""
    reference = reference_inputs(data.projection_dataset())
    batches = NumberedBatches(data.test_dataset(), None, data.batch_size)
    results = measure(subject, batches, reference, ("M16", "M17"), seed=seed)
    found = {name: value.value for result in results.values() for name, value in result.values.items()}
    found = {name: None if value != value else value for name, value in found.items()}  # NaN
    train_loader = DataLoader(data.projection_dataset(), data.batch_size, shuffle=True, collate_fn=collate)
    return found | vars(graph_selection_report(subject, train_loader, data.test_dataloader(), 10, seed))


def areas(subject: Subject, data: DataModule) -> dict[str, float]:
    """Accuracy, and the areas under the ROC curve of the scores of edges: of all together, and by graph."""
    right, rows, scores, labels = 0, 0, [], []
    for batch in NumberedBatches(data.test_dataset(), None, data.batch_size):
        case = Case(subject, batch["input"], batch["ids"], regions=batch["regions"])
        known = edge_labels(case)
        assert known is not None
        right += int((case.explanation.scores.argmax(1) == batch["target"]).sum())
        rows += len(case)
        scores.append(edge_scores(case))
        labels.append(known)
    score, label = torch.cat(scores), torch.cat(labels)
    pooled = area_under_roc(score.flatten()[:, None], label.flatten()[:, None])
    by_graph = area_under_roc(score.T, label.T).nanmean()
    return {"accuracy": right / rows, "edge_auc": float(pooled), "edge_auc_by_graph": float(by_graph)}


class Plain(Subject):
    """A black box of graphs, which explains nothing."""

    def __init__(self, model: BlackBox, limit: int = LIMIT) -> None:
        self.model, self.domain, self.limit, self.additive = model.eval(), model.domain, limit, True
        self.name = type(self).__name__


class EdgeGradients(Plain):
    """Integrated gradients of a GIN over how much of each edge is used, from none to all of every edge.

    Units are edges. The contributions add up to the centred score minus that of the graph without edges.
    """

    steps = 20

    def __init__(self, model: BlackBox) -> None:
        super().__init__(model)
        assert isinstance(model.backbone, GIN)
        self.gin, self.graphs = model.backbone, model.backbone.domain
        self.units = tuple(Unit(f"edge {i}", "edge") for i in range(self.graphs.edges))

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        batch = GraphBatch.of(x, self.graphs)
        total = torch.zeros(len(batch.place))
        with torch.enable_grad():
            for step in range(self.steps):
                gates = torch.full_like(total, (step + 0.5) / self.steps).requires_grad_()
                pooled = batch.pool(self.gin.nodes(batch, gates))
                score = centred(self.model.head(self.gin.after(pooled)), target).sum()
                total += torch.autograd.grad(score, gates)[0]
        return batch.per_edge(total / self.steps)

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.scores(x)
        target = scores.argmax(1) if target is None else target
        parts = self.margins(x, target)
        places = nn.functional.pad(torch.eye(self.graphs.edges), (self.graphs.nodes, 0)).expand(len(x), -1, -1)
        bias = centred(scores, target) - parts.sum(1)
        return Explanation(scores, target, parts, bias, parts, places, self.units, self.domain, x, reference="mean")


if __name__ == "__main__":
    sys.exit(main())
