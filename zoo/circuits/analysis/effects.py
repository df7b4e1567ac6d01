"""What is measured of a circuit: is it enough, is it needed, and what does each of its nodes and edges do."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.analysis.circuit import Circuit, Edges, edges_of, hold, places
from zoo.circuits.analysis.token_pair_task import Choice, calibrated, margins, score, task_loss
from zoo.circuits.network.transformer import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer

ROWS = 4096  # prompts in one pass, when many ablations are measured at once
SAMPLES = 8  # prompts whose activations are kept


@torch.no_grad()
def describe(
    model: SparseTransformer,
    task: str,
    train: Choice,
    held_out: Choice,
    mask: Tensor,
    edges: Edges,
    removed: Edges,
    target: float,
) -> Circuit:
    """A circuit of these nodes and edges with all that is measured of it.

    The report has, as {"loss", "accuracy"} on held-out prompts: the `whole` network; the `circuit` (sufficiency);
    `without` it, everything else kept (necessity: the loss must rise to chance); also the loss `calibrated` by a scale
    and a shift, and on the `train` prompts. And its size: nodes, edges, possible edges between its nodes, the density
    (their ratio), and all nodes and edges of the network.

    Args:
        model: with measured means.
        task: name.
        train, held_out: prompts, two of each pair in a row.
        mask: (L, N) bool.
        edges: between its nodes.
        removed: edges that carry their mean.
        target: task loss that was asked for.
    """
    network = model.network
    ablation = hold(network, model.means, model.gathered, mask, removed)
    rest = Ablation(1 - mask.float(), model.means, network.layout)
    first = torch.arange(len(held_out), device=model.device) % 2 == 0
    possible = _possible(model, mask)
    report = {
        "target": target,
        "prompts": {"train": len(train), "held_out": len(held_out)},
        "whole": score(network, held_out),
        "circuit": score(network, held_out, ablation),
        "without": score(network, held_out, rest),
        "calibrated": calibrated(margins(network, held_out, ablation), first),
        "train": score(network, train, ablation),
        "nodes": int(mask.sum()),
        "edges": len(edges.source),
        "possible_edges": possible,
        "density": len(edges.source) / max(possible, 1),
        "all_nodes": mask.numel(),
        "all_edges": len(edges_of(network, torch.ones_like(mask)).source),
    }
    some = held_out.rows(slice(SAMPLES))
    visit = network.visit(ablation, record=True)
    network.last_logits(some.tokens, visit)
    values = torch.cat([_by_layer(model, visit.values, layer) for layer in range(network.layout.layers)], -1)
    return Circuit(
        task=task,
        layout=network.layout,
        mask=mask.cpu(),
        edges=Edges(*(t.cpu() for t in edges)),
        removed=Edges(*(t.cpu() for t in removed)),
        means=model.means.cpu().clone(),
        gathered=model.gathered.cpu().clone(),
        node_effect=_node_effects(model, held_out, mask, ablation).cpu(),
        edge_effect=_edge_effects(model, held_out, mask, edges, removed).cpu(),
        samples=some.tokens.cpu(),
        activations=values[..., mask.flatten()].cpu(),
        report=report,
    )


def _possible(model: SparseTransformer, mask: Tensor) -> int:
    """How many weights there could be between the nodes, were no matrix sparse."""
    kept = mask.flatten()
    return sum(
        int(kept[p.rows.start : p.rows.stop].sum()) * int(kept[p.columns.start : p.columns.stop].sum())
        for p in places(model.network)
    )


def _by_layer(model: SparseTransformer, values: dict[tuple[int, str], Tensor], layer: int) -> Tensor:
    """(S, T, N) of one block."""
    return torch.cat([values[layer, site] for site in model.network.layout.sizes], -1)


def _node_effects(model: SparseTransformer, choice: Choice, mask: Tensor, ablation: Ablation) -> Tensor:
    """(n,) rise of the task loss when a node is ablated too; many nodes in one pass."""
    network, nodes = model.network, mask.flatten().nonzero().flatten()
    base = task_loss(margins(network, choice, ablation))
    found = []
    for some in nodes.split(max(1, ROWS // len(choice))):
        masks = mask.float().expand(len(some), *mask.shape).clone()
        masks.flatten(1)[torch.arange(len(some)), some] = 0
        index = torch.arange(len(choice), device=mask.device).repeat(len(some))
        each = Ablation(masks.repeat_interleave(len(choice), 0), model.means, network.layout, ablation.rewired)
        margin = margins(network, choice.rows(index), each).view(len(some), -1)
        found.append(F.softplus(-margin).mean(1) - base)
    return torch.cat(found) if found else mask.new_zeros(0, dtype=torch.float)


def _edge_effects(model: SparseTransformer, choice: Choice, mask: Tensor, edges: Edges, removed: Edges) -> Tensor:
    """(E,) rise of the task loss when an edge is ablated too."""
    found = []
    for k in range(-1, len(edges.source)):  # first the circuit as it is
        more = removed.and_(edges.chosen(slice(k, k + 1))) if k >= 0 else removed
        ablation = hold(model.network, model.means, model.gathered, mask, more)
        found.append(task_loss(margins(model.network, choice, ablation)))
    return torch.stack(found[1:]) - found[0] if len(found) > 1 else edges.weight.new_zeros(0)
