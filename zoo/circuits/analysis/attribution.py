"""Effects of nodes on a task, estimated from gradients."""

import torch
from torch import Tensor

from zoo.circuits.analysis.intervene import check_lengths, swapped_pairs
from zoo.circuits.analysis.read_nodes import Probes
from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences, task_loss
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer


def rank_nodes(model: SparseTransformer, task: TokenPairTask, circuit: Circuit | None = None) -> Tensor:
    """First-order estimate (L, N) of what the interchange of each node takes from the logit difference.

    For the arguments see `zoo.circuits.analysis.intervene.intervene`. Nodes outside the circuit have 0.
    """
    check_lengths(task)
    network, task = model.network, task.to(model.device)
    probes = Probes(network.layout.layers, SITES)
    ablation = None if circuit is None else circuit.ablation(network)
    trace = network.trace(ablation, record=True, changes=probes.changes)
    with torch.enable_grad():
        difference = logit_differences(network, task, trace).sum()
        gradients = torch.autograd.grad(difference, list(probes.values()))
    found = torch.zeros_like(model.means)
    for (layer, site), gradient in zip(probes, gradients, strict=True):
        value = trace.values[layer, site].detach()
        change = (value - swapped_pairs(value)) * gradient
        found[layer, network.layout.part(site)] = change.sum((0, 1)) / len(task)
    return found if circuit is None else found * circuit.mask.to(found)


def integrated_gates(
    model: SparseTransformer, task: TokenPairTask, mask: Tensor | None = None, steps: int = 5
) -> Tensor:
    """Estimated increase (L, N) of the task loss when a node is ablated, by integrated gradients of gates (EAP-IG).

    A gate m mixes a node with its mean, m x + (1 - m) mean. The effect of a node is the integral of the gradient of its
    gate, while all gates of the mask go together from 0 to 1; in a network without AbsTopK, which jumps on this path,
    the effects of all nodes add up to the difference in loss between none and all of them. Nodes outside the mask
    have 0.

    Hanna, Pezzelle, Belinkov: "Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms",
    COLM 2024, arXiv 2403.17806. Differs from it: the path leads from means to values and not from one prompt to
    another one, because circuits are ablated to means.

    Args:
        model: with measured means.
        task: prompts.
        mask: (L, N) bool, nodes that are not ablated; by default all.
        steps: points on the path.
    """
    model.require_means()
    network, task = model.network, task.to(model.device)
    kept = torch.ones_like(model.means) if mask is None else mask.to(model.means)
    total = torch.zeros_like(kept)
    for step in range(steps):
        gate = (kept * ((step + 0.5) / steps)).requires_grad_()
        with torch.enable_grad():
            trace = network.trace(Ablation(gate, model.means, network.layout))
            total -= torch.autograd.grad(task_loss(logit_differences(network, task, trace)), gate)[0]
    return total * kept / steps
