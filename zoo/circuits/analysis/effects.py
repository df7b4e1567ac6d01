"""Measurements of a circuit: sufficiency, necessity, and the effect of each of its nodes and edges."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.analysis.token_pair_task import (
    TokenPairTask,
    calibrated_loss,
    evaluate_task,
    logit_differences,
    task_loss,
)
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import Edges, edges_between, mean_ablation, weight_matrices
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer

ROWS = 4096  # prompts per pass when many ablations are measured together
SAMPLES = 8  # prompts whose activations are stored


@torch.no_grad()
def measure_report(
    model: SparseTransformer,
    train: TokenPairTask,
    held_out: TokenPairTask,
    mask: Tensor,
    edges: Edges,
    removed: Edges,
    target: float,
) -> dict[str, Any]:
    """The report of a circuit, without the effects of single nodes and edges, which take a pass each.

    It contains scores (see `scores_of`) on held-out prompts for the `whole` network, for the `circuit` (sufficiency)
    and for the network `without` the circuit's nodes (necessity: the accuracy must fall to chance). It also contains
    the `calibrated` loss, the scores on the `train` prompts, and sizes: nodes, edges, possible edges between the nodes,
    their ratio (`density`), and the numbers of all nodes and edges of the network. For the arguments see
    `measure_circuit`.
    """
    network = model.network
    ablation = mean_ablation(network, model.means, model.gathered, mask, removed)
    rest = Ablation(1 - mask.float(), model.means, network.layout)
    first = torch.arange(len(held_out), device=model.device) % 2 == 0
    possible = _possible_edges(model, mask)
    return {
        "target": target,
        "prompts": {"train": len(train), "held_out": len(held_out)},
        "whole": evaluate_task(network, held_out),
        "circuit": evaluate_task(network, held_out, ablation),
        "without": evaluate_task(network, held_out, rest),
        "calibrated": calibrated_loss(logit_differences(network, held_out, network.trace(ablation)), first),
        "train": evaluate_task(network, train, ablation),
        "nodes": int(mask.sum()),
        "edges": len(edges.source),
        "possible_edges": possible,
        "density": len(edges.source) / max(possible, 1),
        "all_nodes": mask.numel(),
        "all_edges": len(edges_between(network, torch.ones_like(mask)).source),
    }


@torch.no_grad()
def measure_circuit(
    model: SparseTransformer,
    name: str,
    train: TokenPairTask,
    held_out: TokenPairTask,
    mask: Tensor,
    edges: Edges,
    removed: Edges,
    target: float,
) -> Circuit:
    """Builds a circuit of the given nodes and edges and measures it; for its report see `measure_report`.

    Args:
        model: with measured means.
        name: name of the task.
        train: prompts of the search; the two of a pair are adjacent.
        held_out: other prompts.
        mask: (L, N) bool, nodes of the circuit.
        edges: between these nodes.
        removed: edges that carry their mean.
        target: task loss of the search.
    """
    network = model.network
    report = measure_report(model, train, held_out, mask, edges, removed, target)
    ablation = mean_ablation(network, model.means, model.gathered, mask, removed)
    some = held_out.rows(slice(SAMPLES))
    trace = network.trace(ablation, record=True)
    network.last_logits(some.tokens, trace)
    layout = network.layout
    values = torch.cat([trace.values[layer, site] for layer in range(layout.layers) for site in layout.sizes], -1)
    return Circuit(
        task=name,
        layout=layout,
        mask=mask.cpu(),
        edges=edges.to("cpu"),
        removed=removed.to("cpu"),
        means=model.means.cpu().clone(),
        gathered=model.gathered.cpu().clone(),
        node_effect=_node_effects(model, held_out, mask, ablation).cpu(),
        edge_effect=_edge_effects(model, held_out, mask, edges, removed).cpu(),
        samples=some.tokens.cpu(),
        activations=values[..., mask.flatten()].cpu(),
        report=report,
    )


def _possible_edges(model: SparseTransformer, mask: Tensor) -> int:
    """Number of weights between the nodes if all matrices were dense."""
    kept = mask.flatten()
    return sum(
        int(kept[m.rows.start : m.rows.stop].sum()) * int(kept[m.columns.start : m.columns.stop].sum())
        for m in weight_matrices(model.network)
    )


def _node_effects(model: SparseTransformer, task: TokenPairTask, mask: Tensor, ablation: Ablation) -> Tensor:
    """Increase (n,) of the task loss when a node is ablated too; many nodes are measured in one pass."""
    network, nodes = model.network, mask.flatten().nonzero().flatten()
    base = task_loss(logit_differences(network, task, network.trace(ablation)))
    found = []
    for some in nodes.split(max(1, ROWS // len(task))):
        masks = mask.float().expand(len(some), *mask.shape).clone()
        masks.flatten(1)[torch.arange(len(some)), some] = 0
        index = torch.arange(len(task), device=mask.device).repeat(len(some))
        each = Ablation(masks.repeat_interleave(len(task), 0), model.means, network.layout, ablation.rewired)
        difference = logit_differences(network, task.rows(index), network.trace(each)).view(len(some), -1)
        found.append(F.softplus(-difference).mean(1) - base)
    return torch.cat(found) if found else mask.new_zeros(0, dtype=torch.float)


def _edge_effects(model: SparseTransformer, task: TokenPairTask, mask: Tensor, edges: Edges, removed: Edges) -> Tensor:
    """Increase (E,) of the task loss when an edge is ablated too."""
    network = model.network

    def loss(ablated: Edges) -> Tensor:
        ablation = mean_ablation(network, model.means, model.gathered, mask, ablated)
        return task_loss(logit_differences(network, task, network.trace(ablation)))

    each = [loss(removed.concat(edges.select(slice(k, k + 1)))) for k in range(len(edges.source))]
    return torch.stack(each) - loss(removed) if each else edges.weight.new_zeros(0)
