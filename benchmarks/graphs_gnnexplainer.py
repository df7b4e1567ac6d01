"""GNNExplainer of torch_geometric beside the models of graphs. `python -m benchmarks.graphs_gnnexplainer`.

Explains the black boxes of `python -m benchmarks.graphs`, which runs first, on the first test graphs, and adds a row to
benchmarks/GRAPHS.md and .json. Needs the extra `graph`. Finished measurements are kept.

Ying, Bourgeois, You, Zitnik, Leskovec: "GNNExplainer: Generating Explanations for Graph Neural Networks", NeurIPS 2019,
arXiv 1903.03894.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor

from benchmarks.graphs import BLACK_BOX, WORLDS, Plain, black_box, kept, ready, run_of
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.graph_edges import edge_labels, edge_scores
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.metrics.faithfulness.subject import Case
from zoo.metrics.faithfulness.suite import measure
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch
from zoo.training.black_box import BlackBox
from zoo.utils.functional import area_under_roc

NAME = "GNNExplainer"
WHERE = ("BA-2motifs", "rule molecules")


class Messages(MessagePassing):
    """Sums over neighbours, as `zoo.networks.graph_batch.aggregate`, which GNNExplainer can mask."""

    def __init__(self) -> None:
        super().__init__(aggr="add")

    def forward(self, h: Tensor, edge_index: Tensor, edges: OptTensor) -> Tensor:
        return self.propagate(edge_index, h=h, edges=edges)

    def message(self, h_j: Tensor, edges: OptTensor) -> Tensor:  # of the names that it reads
        return h_j if edges is None else (h_j + edges).relu()


class Adapter(nn.Module):
    """A black box of graphs with a GIN in the form of torch_geometric; the weights are shared."""

    def __init__(self, model: BlackBox) -> None:
        super().__init__()
        assert isinstance(model.backbone, GIN)
        self.gin, self.head = model.backbone, model.head
        self.messages = nn.ModuleList(Messages() for _ in self.gin.layers)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: GraphBatch) -> Tensor:
        """Scores (B, C) of features (N, 1 + F), edges (2, 2 E) in both directions, and their features (2 E, A)."""
        h = self.gin.embed(x)
        edges = None if self.gin.edges is None else self.gin.edges(edge_attr)
        for layer, messages in zip(self.gin.layers, self.messages, strict=True):
            h = layer(h + messages(h, edge_index, edges))
        return self.head(self.gin.after(batch.pool(h)))


class Together(GNNExplainer):
    """GNNExplainer of B graphs that are not connected, each as if it were alone.

    The objective is a mean over the graphs, and Adam's steps of a mask do not depend on the other masks nor on its
    scale. So the weight of the sum of all masks is divided by B, and masks start as widely spread as those of a graph
    of the mean size. The mean entropy of the masks is over the edges of all graphs instead of each one's.
    """

    def __init__(self, graphs: int, epochs: int) -> None:
        super().__init__(epochs, edge_size=GNNExplainer.default_coeffs["edge_size"] / graphs)
        self.graphs = graphs

    def _initialize_masks(self, x: Tensor, edge_index: Tensor) -> None:
        super()._initialize_masks(x, edge_index)
        self.edge_mask.data *= self.graphs**0.5


class Explained(Plain):
    """A black box whose edges are scored by GNNExplainer, all graphs of a batch together.

    Args:
        model: the black box.
        epochs: steps of an explanation; 100 at the rate 0.01 are the defaults of torch_geometric.
        seed: of the masks.
    """

    def __init__(self, model: BlackBox, epochs: int = 100, seed: int = 0) -> None:
        super().__init__(model)
        self.additive, self.epochs, self.seed, self.name = False, epochs, seed, NAME
        self.adapter = Adapter(model).eval()
        self.graphs = self.adapter.gin.domain
        self.units = tuple(Unit(f"edge {i}", "edge") for i in range(self.graphs.edges))

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.scores(x)
        target = scores.argmax(1) if target is None else target
        masks = self.masks(x, target)
        places = nn.functional.pad(torch.eye(self.graphs.edges), (self.graphs.nodes, 0)).expand(len(x), -1, -1)
        return Explanation(scores, target, None, None, masks, places, self.units, self.domain, x, reference="mean")

    def masks(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, m) the mean over both directions of the mask of each edge."""
        batch = GraphBatch.of(x, self.graphs)
        if not batch.ends.shape[1]:
            return x.new_zeros(len(x), self.graphs.edges)
        explainer = Explainer(
            self.adapter,
            Together(len(x), self.epochs),
            explanation_type="phenomenon",
            edge_mask_type="object",
            model_config={"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"},
        )
        both = torch.cat([batch.ends, batch.ends.flip(0)], 1)
        edges = batch.attributes.repeat(2, 1)
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(self.seed)
            found = explainer(batch.features, both, target=target, edge_attr=edges, batch=batch)
        return batch.per_edge(found.edge_mask.view(2, -1).mean(0).detach())


def measured(model: BlackBox, folder: Path, seed: int, limit: int, epochs: int) -> dict[str, Any]:
    """Areas and tests of the explanations of `limit` random test graphs of a run."""
    data, subject = ready(folder), Explained(model, epochs, seed)
    batches = NumberedBatches(data.test_dataset(), limit, data.batch_size)
    results = measure(subject, batches, reference_inputs(data.projection_dataset()), ("M16", "M17"), seed=seed)
    found = {name: value.value for result in results.values() for name, value in result.values.items()}
    right, scores, labels = 0, [], []
    for batch in batches:
        case = Case(subject, batch["input"], batch["ids"], regions=batch["regions"])
        right += int((case.explanation.scores.argmax(1) == batch["target"]).sum())
        scores.append(edge_scores(case))
        labels.append(edge_labels(case))
    values, known = torch.cat(scores), torch.cat(labels)
    pooled, each = (
        area_under_roc(values.flatten()[:, None], known.flatten()[:, None]),
        area_under_roc(values.T, known.T),
    )
    found |= {"edge_auc": float(pooled), "edge_auc_by_graph": float(each[each.isfinite()].mean())}
    found = {name: None if value != value else value for name, value in found.items()}  # NaN
    return {**found, "accuracy": right / len(batches.rows), "graphs": len(batches.rows)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the black boxes (default: 0 1 2)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WHERE), metavar="NAME")
    parser.add_argument("--limit", type=int, default=50, help="test graphs (default: 50)")
    parser.add_argument("--epochs", type=int, default=100, help="steps of each explanation (default: 100)")
    parser.add_argument("--runs", type=Path, default=Path("runs/graphs"), help="folder of the trained models")
    options = parser.parse_args()
    for seed in options.seeds:
        for world in options.worlds:
            key = f"{world}, {BLACK_BOX}, seed {seed}"
            record = kept()
            if key not in record.found:
                raise SystemExit(f"{key} is not in {record.file}: run `python -m benchmarks.graphs` first.")
            if NAME in record.found[key]:
                continue
            folder = run_of(world, BLACK_BOX, seed, options.runs)
            found = measured(black_box(folder), folder, seed, options.limit, options.epochs)
            record = kept()  # again: others may have added to it
            record.found[key][NAME] = found
            record.write()
            print(f"{key}: {found}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
