"""Controls of a circuit: the same measurements where there is no circuit to find.

A small circuit alone is weak evidence, because a mask can be fitted to many tasks (Drori, 2026, on weight-sparse
circuits). Every control is measured on the same held-out prompts, with the same search.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.analysis.mask_search import Pruning, fit_mask
from zoo.circuits.analysis.pruning import prune
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task, logit_differences, scores_of
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.training.projection_set import ProjectionSet


def controls(
    model: SparseTransformer,
    circuit: Circuit,
    train: TokenPairTask,
    held_out: TokenPairTask,
    nonsense: tuple[TokenPairTask, TokenPairTask] | None = None,
    projection_set: ProjectionSet | None = None,
    options: Pruning | None = None,
    draws: int = 16,
) -> dict[str, Any]:
    """All controls of a circuit by name; each is described at its function in this module.

    Args:
        model: the model of the circuit.
        circuit: found by `prune`.
        train: prompts of the search.
        held_out: prompts of the measurements.
        nonsense: the train and held-out prompts with randomly swapped answers; without them, this control is skipped.
        projection_set: training windows, on which the means of a network of shuffled weights are measured; without
            them, this control is skipped.
        options: of the search that found the circuit.
        draws: number of random circuits and random subsets.
    """
    options = options or Pruning(target=circuit.report["target"])
    train, held_out = train.to(model.device), held_out.to(model.device)
    found: dict[str, Any] = {
        "random_nodes": random_nodes(model, circuit, held_out, draws),
        "partial_ablation": partial_ablation(model, circuit, held_out, draws),
        "frozen_norms": frozen_norms(model, circuit, held_out),
    }
    if nonsense is not None:
        fake_train, fake_held_out = (task.to(model.device) for task in nonsense)
        found["nonsense_task"] = search_control(model, fake_train, fake_held_out, options)
    if projection_set is not None:
        shuffled = with_shuffled_weights(model, projection_set, options.seed)
        found["shuffled_weights"] = search_control(shuffled, train, held_out, options)
    return found


@torch.no_grad()
def random_nodes(model: SparseTransformer, circuit: Circuit, task: TokenPairTask, draws: int = 16) -> dict[str, float]:
    """Scores of circuits with the same number of random nodes at each site, and all edges between them."""
    mask, layout = circuit.mask, circuit.layout
    losses, accuracies = [], []
    draw = torch.Generator().manual_seed(0)
    for _ in range(draws):
        other = torch.zeros_like(mask)
        for layer in range(layout.layers):
            for site in SITES:
                part = layout.part(site)
                size, count = part.stop - part.start, int(mask[layer, part].sum())
                other[layer, part.start + torch.randperm(size, generator=draw)[:count]] = True
        found = evaluate_task(model.network, task, Ablation(other.float().to(model.device), model.means, layout))
        losses.append(found["loss"])
        accuracies.append(found["accuracy"])
    return {"loss": sum(losses) / draws, "best_loss": min(losses), "accuracy": sum(accuracies) / draws}


@torch.no_grad()
def partial_ablation(
    model: SparseTransformer, circuit: Circuit, task: TokenPairTask, draws: int = 16
) -> dict[str, float]:
    """Mean and worst task loss when only a random half of the nodes outside the circuit is ablated.

    For a faithful circuit the loss does not depend on which half.
    """
    ablation, draw = circuit.ablation(model.network), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(draws):
        stays = (torch.rand(ablation.mask.shape, generator=draw) < 0.5).to(ablation.mask.device)
        half = replace(ablation, mask=torch.maximum(ablation.mask, stays.float()), rewired={})
        losses.append(evaluate_task(model.network, task, half)["loss"])
    return {"loss": sum(losses) / draws, "worst_loss": max(losses)}


@torch.no_grad()
def frozen_norms(model: SparseTransformer, circuit: Circuit, task: TokenPairTask) -> dict[str, float]:
    """Scores of the circuit with the scales of all norms fixed at those of the complete network.

    A large change shows that the circuit depends on the scales of its own norms.
    """
    network = model.network
    whole = network.trace(record=True)
    network.last_logits(task.tokens, whole)
    return scores_of(logit_differences(network, task, network.trace(circuit.ablation(network), scales=whole.scales)))


def search_control(
    model: SparseTransformer, train: TokenPairTask, held_out: TokenPairTask, options: Pruning
) -> dict[str, Any]:
    """Result of the search on a control task.

    If the complete network does not reach the target, no circuit can be searched; then a mask is fitted to the task
    without a penalty.
    """
    whole = evaluate_task(model.network, train)
    if whole["loss"] > options.target:
        return {"reached": False, "whole_loss": whole["loss"], **fit_control_mask(model, train, held_out, options)}
    found = prune(model, "control", train, held_out, options).report
    return {"reached": True, "nodes": found["nodes"], "edges": found["edges"], "held_out": found["circuit"]}


def fit_control_mask(
    model: SparseTransformer, train: TokenPairTask, held_out: TokenPairTask, options: Pruning
) -> dict[str, float]:
    """Losses of a mask fitted without a penalty to a task that the complete network does not solve."""
    mask = fit_mask(model, train, options, penalty=0.0)
    ablation = Ablation(mask, model.means, model.network.layout)
    return {
        "fitted_loss": evaluate_task(model.network, train, ablation)["loss"],
        "held_out_loss": evaluate_task(model.network, held_out, ablation)["loss"],
    }


def with_shuffled_weights(model: SparseTransformer, projection_set: ProjectionSet, seed: int = 0) -> SparseTransformer:
    """Copy of a model with the non-zeros of every matrix shuffled over the same positions, and means measured anew."""
    other = copy.deepcopy(model).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for sparse in other.sparse_parameters():
            flat: Tensor = sparse.weight.view(-1)
            places = flat.nonzero().flatten()
            flat[places] = flat[places[torch.randperm(len(places), generator=draw).to(places.device)]]
    other.average(projection_set)
    return other
