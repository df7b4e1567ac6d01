"""Tests of explanations of graphs: does the subgraph of the edges that count most tell the answer, or encode it?"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import GraphDomain
from zoo.metrics.faithfulness.graph_edges import (
    SHARE,
    edge_labels,
    edge_scores,
    edges_of,
    graphs_of,
    random_edges,
    subgraph,
    top_edges,
)
from zoo.metrics.faithfulness.recovery import average_precision
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.metrics.selection.report import SelectionReport
from zoo.metrics.selection.training import train_network
from zoo.training.batch import as_batch
from zoo.training.black_box import BlackBox
from zoo.training.modes import evaluating
from zoo.utils.functional import area_under_roc

GIN = {"name": "gin", "width": 32, "layers": 3, "hidden": [32]}  # of the two networks
STEPS = 300  # fewest batches that they learn from


def graph_selection_report(
    subject: Subject,
    train: Iterable[Any],
    test: Iterable[Any],
    epochs: int = 10,
    seed: int = 0,
    progress: bool = False,
    share: float = SHARE,
) -> SelectionReport:
    """Trains the networks that test explanations of graphs, and measures these.

    What is "selected" is the subgraph of the ⌈share · edges⌉ edges that score highest for the answer, none with a score
    of 0, and the nodes that they join: gates of a model with gates on edges, else by the contributions of nodes, see
    `zoo.metrics.faithfulness.graph_edges.edge_scores`. "Mask only" is a GIN that sees the topology of these subgraphs,
    without features of nodes and edges. Where the evidence is itself a shape, it can be right for an honest model; high
    accuracy with a low edge AUC says that the mask encodes the answer. EVAL-X is a GIN trained on random subgraphs, of
    a share of the edges that is uniform in [0, 1].

    Args:
        subject: a model of graphs with its explanations, or a control.
        train: batches with "input" and "target", read several times.
        test: likewise, once; with "regions" (B, R, n + m) if the evidence is known.
        epochs: of each of the two networks; more, if there are fewer than 300 batches in these.
        seed: of their weights and of random edges.
        progress: show bars.
        share: of the edges of a graph, in (0, 1].

    Raises:
        ValueError: not a classifier of graphs.
    """
    domain = graphs_of(subject.domain)
    if domain.task != "classification":
        raise ValueError("these tests compare accuracies; the task of this model is no classification.")
    plain = replace(domain, **dict.fromkeys(("features", "edge_features", "mean", "std", "edge_mean", "edge_std"), ()))
    device, counts = subject.model.device, torch.zeros(len(domain.classes))
    with torch.random.fork_rng(), evaluating(subject.model):
        torch.manual_seed(seed)
        judge, alone = BlackBox(domain, GIN).to(device), BlackBox(plain, GIN).to(device)

        def on_random_edges(x: Tensor) -> Tensor:
            drawn = torch.rand(len(x), domain.edges, device=x.device) < torch.rand(len(x), 1, device=x.device)
            return judge(subgraph(x, drawn & edges_of(x, domain)[0], domain))

        masks = [
            {"input": topology(subgraph(case.x, chosen, domain), domain), "target": target}
            for case, chosen, target in _chosen(subject, train, share, seed)
        ]
        epochs = max(epochs, -(-STEPS // max(len(masks), 1)))
        train_network(judge, on_random_edges, train, epochs, device, counts, "EVAL-X" if progress else "")
        train_network(alone, alone, masks, epochs, device, None, "topology alone" if progress else "")
        judge.eval()
        alone.eval()
        return _measure(subject, judge, alone, test, float(counts.max() / counts.sum()), share, seed)


def topology(x: Tensor, domain: GraphDomain) -> Tensor:
    """Graphs (B, n + m, W) without any features, (B, n + m, 3)."""
    nodes, edges = x[:, : domain.nodes, :1], x[:, domain.nodes :, :3]
    return torch.cat([F.pad(nodes, (0, 2)), edges], 1)


def _chosen(subject: Subject, batches: Iterable[Any], share: float, seed: int) -> Iterator[tuple[Case, Tensor, Tensor]]:
    """The case of each batch, the edges (B, m) bool that it selects, and the labels."""
    first, device = 0, subject.model.device
    for batch in map(as_batch, batches):
        x, target = batch["input"].to(device), batch["target"].to(device)
        regions = batch["regions"].to(device) if "regions" in batch else None
        case = Case(subject, x, first + torch.arange(len(x), device=device), None, target, regions)
        first += len(x)
        domain = graphs_of(subject.domain)
        yield case, top_edges(edge_scores(case), edges_of(x, domain)[0], case.ids, share, seed), target


@torch.no_grad()
def _measure(
    subject: Subject,
    judge: BlackBox,
    alone: BlackBox,
    test: Iterable[Any],
    commonest: float,
    share: float,
    seed: int,
) -> SelectionReport:
    domain = graphs_of(subject.domain)
    right = torch.zeros(5, dtype=torch.float64)  # subject, EVAL-X on three kinds of edges, topology alone
    rows, shown = 0, 0.0
    scores, labels, picked = [], [], []
    for case, chosen, target in _chosen(subject, test, share, seed):
        present = edges_of(case.x, domain)[0]
        kept = subgraph(case.x, chosen, domain)
        others = subgraph(case.x, random_edges(chosen, present, case.ids, seed), domain)
        answers = [case.explanation.scores, judge(kept), judge(others), judge(case.x), alone(topology(kept, domain))]
        right += torch.tensor([float((answer.argmax(1) == target).sum()) for answer in answers])
        shown += float((chosen.sum(1) / present.sum(1).clamp_min(1)).sum())
        rows += len(case)
        if (known := edge_labels(case)) is not None:
            scores.append(edge_scores(case).cpu())
            labels.append(known.cpu())
            picked.append(chosen.cpu())
    accuracy, evalx, evalx_random, evalx_complete, mask_only = (right / rows).tolist()
    report = SelectionReport(accuracy, shown / rows, evalx, evalx_random, evalx_complete, mask_only, commonest)
    if not labels:
        return report
    return replace(report, **_recovery(torch.cat(scores), torch.cat(labels), torch.cat(picked)))


def _recovery(scores: Tensor, labels: Tensor, chosen: Tensor) -> dict[str, float | None]:
    """How well scores (B, m) and chosen edges (B, m) find the edges that matter; labels in {0, 1, NaN}."""
    relevant, other = labels == 1, labels == 0
    both, false = float((chosen & relevant).sum()), float((chosen & other).sum())
    known = relevant.any(1) & other.any(1)
    precision = average_precision(scores.masked_fill(~(relevant | other), -1)[known], relevant[known])
    by_graph = area_under_roc(scores[known].T, labels[known].T)
    pooled = area_under_roc(scores.flatten()[:, None], labels.flatten()[:, None])
    return {
        "true_positive_rate": both / float(relevant.sum()) if relevant.any() else None,
        "false_positive_rate": false / float(other.sum()) if other.any() else None,
        "false_discovery_rate": false / (both + false) if both + false else None,
        "auprc": float(precision.mean()) if known.any() else None,
        "edge_auc": float(pooled) if relevant.any() and other.any() else None,
        "edge_auc_by_graph": float(by_graph.mean()) if known.any() else None,
    }
