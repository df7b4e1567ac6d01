"""Controls beside every circuit: what numbers of this size mean when there is nothing to find.

Small circuits alone prove little: a mask can be fitted to much (Drori, 2026, on weight-sparse circuits). Every control
is measured on the same held-out prompts, by the same search.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.analysis.circuit import Circuit
from zoo.circuits.analysis.pruning import Pruning, fit_mask, prune
from zoo.circuits.analysis.token_pair_task import Choice, margins, score, task_loss
from zoo.circuits.network.transformer import SITES, Ablation
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.training.projection_set import ProjectionSet


def controls(
    model: SparseTransformer,
    circuit: Circuit,
    train: Choice,
    held_out: Choice,
    nonsense: tuple[Choice, Choice] | None = None,
    projection_set: ProjectionSet | None = None,
    how: Pruning | None = None,
    draws: int = 16,
) -> dict[str, Any]:
    """All controls of a circuit, by name; see the functions of this module.

    Args:
        model: whose circuit it is.
        circuit: found by `prune`.
        train, held_out: the prompts of the task.
        nonsense: the same prompts, train and held out, with answers by the toss of a coin; left out without.
        reference: windows to measure the means of a network of shuffled weights on; that control is left out without.
        how: the search that found the circuit.
        draws: of random circuits and random subsets.
    """
    how = how or Pruning(target=circuit.report["target"])
    train, held_out = train.to(model.device), held_out.to(model.device)
    found: dict[str, Any] = {
        "random_nodes": random_nodes(model, circuit, held_out, draws),
        "partial_ablation": partial_ablation(model, circuit, held_out, draws),
        "frozen_norms": frozen_norms(model, circuit, held_out),
    }
    if nonsense is not None:
        found["nonsense_task"] = searched(model, *(c.to(model.device) for c in nonsense), how)
    if projection_set is not None:
        found["shuffled_weights"] = searched(shuffled(model, projection_set, how.seed), train, held_out, how)
    return found


@torch.no_grad()
def random_nodes(model: SparseTransformer, circuit: Circuit, choice: Choice, draws: int = 16) -> dict[str, float]:
    """Circuits of as many random nodes at each site of each layer, with all edges between them: mean and best."""
    mask, layout = circuit.mask, circuit.layout
    losses, right = [], []
    draw = torch.Generator().manual_seed(0)
    for _ in range(draws):
        other = torch.zeros_like(mask)
        for layer in range(layout.layers):
            for site in SITES:
                part = layout.part(site)
                size, count = part.stop - part.start, int(mask[layer, part].sum())
                other[layer, part.start + torch.randperm(size, generator=draw)[:count]] = True
        found = score(model.network, choice, Ablation(other.float().to(model.device), model.means, layout))
        losses.append(found["loss"])
        right.append(found["accuracy"])
    return {"loss": sum(losses) / draws, "best_loss": min(losses), "accuracy": sum(right) / draws}


@torch.no_grad()
def partial_ablation(model: SparseTransformer, circuit: Circuit, choice: Choice, draws: int = 16) -> dict[str, float]:
    """The task loss when a random half of the nodes outside are ablated: a true circuit does not mind which."""
    ablation, draw = circuit.ablation(model.network), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(draws):
        stays = (torch.rand(ablation.mask.shape, generator=draw) < 0.5).to(ablation.mask.device)
        half = replace(ablation, mask=torch.maximum(ablation.mask, stays.float()), rewired={})
        losses.append(score(model.network, choice, half)["loss"])
    return {"loss": sum(losses) / draws, "worst_loss": max(losses)}


@torch.no_grad()
def frozen_norms(model: SparseTransformer, circuit: Circuit, choice: Choice) -> dict[str, float]:
    """The circuit with the scales of all norms as they are in the whole network: does it lean on its own norms?"""
    network = model.network
    visit = network.visit(record=True)
    network.last_logits(choice.tokens, visit)
    margin = margins(network, choice, circuit.ablation(network), scales=visit.scales)
    return {"loss": task_loss(margin).item(), "accuracy": (margin > 0).float().mean().item()}


def searched(model: SparseTransformer, train: Choice, held_out: Choice, how: Pruning) -> dict[str, Any]:
    """What the same search finds where there is nothing to find.

    A whole network above the target holds no circuit to be found; then a mask is fitted to the task without a price.
    """
    whole = score(model.network, train)
    if whole["loss"] > how.target:
        return {"reached": False, "whole_loss": whole["loss"], **fitted(model, train, held_out, how)}
    found = prune(model, "control", train, held_out, how).report
    return {"reached": True, "nodes": found["nodes"], "edges": found["edges"], "held_out": found["circuit"]}


def fitted(model: SparseTransformer, train: Choice, held_out: Choice, how: Pruning) -> dict[str, float]:
    """Losses of a mask fitted by gradient to a task that the whole network does not solve, free of charge for nodes."""
    mask = fit_mask(model, train, how, penalty=0.0)
    ablation = Ablation(mask, model.means, model.network.layout)
    return {
        "fitted_loss": score(model.network, train, ablation)["loss"],
        "held_out_loss": score(model.network, held_out, ablation)["loss"],
    }


def shuffled(model: SparseTransformer, projection_set: ProjectionSet, seed: int = 0) -> SparseTransformer:
    """The same network with the non-zeros of every matrix in another order at the same places, and means of its own."""
    other = copy.deepcopy(model).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for sparse in other.sparse_parameters():
            flat: Tensor = sparse.weight.view(-1)
            places = flat.nonzero().flatten()
            flat[places] = flat[places[torch.randperm(len(places), generator=draw).to(places.device)]]
    other.average(projection_set)
    return other
