"""Controls of a circuit: the same measurements where there is no circuit to find, or under other ablations.

A small circuit alone is weak evidence, because a mask can be fitted to many tasks (Drori, 2026, on weight-sparse
circuits). Every control is measured on the same held-out prompts, with the same search, and has a verdict.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.analysis.mask_search import Pruning
from zoo.circuits.analysis.pruning import search
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task, logit_differences, scores_of
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import edges_between, mean_ablation
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.training.projection_set import ProjectionSet

CHANCE = 0.5


def controls(
    model: SparseTransformer,
    circuit: Circuit,
    train: TokenPairTask,
    held_out: TokenPairTask,
    nonsense: tuple[TokenPairTask, TokenPairTask] | None = None,
    projection_set: ProjectionSet | None = None,
    options: Pruning | None = None,
    draws: int = 16,
) -> dict[str, dict[str, Any]]:
    """All controls of a circuit by name; each is described at its function in this module.

    Each has `loss` and `accuracy` on held-out prompts, `worst_loss` and `worst_accuracy` (of a draw, or of the answer
    that is predicted worse), `nodes` and `edges`, and a `verdict`, "pass" or "warn", with its `reason`. The bound of an
    accuracy is halfway between chance and the circuit's.

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
    bound = (CHANCE + circuit.report["circuit"]["accuracy"]) / 2
    found: dict[str, dict[str, Any]] = {
        "random_nodes": random_nodes(model, circuit, held_out, bound, draws),
        "partial_ablation": partial_ablation(model, circuit, held_out, bound, draws),
        "frozen_norms": frozen_norms(model, circuit, held_out, bound),
    }
    if nonsense is not None:
        fake_train, fake_held_out = (task.to(model.device) for task in nonsense)
        found["nonsense_task"] = search_control(model, fake_train, fake_held_out, bound, options)
    if projection_set is not None:
        shuffled = with_shuffled_weights(model, projection_set, options.seed)
        found["shuffled_weights"] = search_control(shuffled, train, held_out, bound, options)
    return found


@torch.no_grad()
def random_nodes(
    model: SparseTransformer, circuit: Circuit, task: TokenPairTask, bound: float, draws: int = 16
) -> dict[str, Any]:
    """Circuits with the same number of random nodes at each site, and all edges between them.

    The worst case is the draw with the highest accuracy; it warns above the bound.
    """
    layout, draw = circuit.layout, torch.Generator().manual_seed(0)
    masks = []
    for _ in range(draws):
        other = torch.zeros_like(circuit.mask)
        for layer in range(layout.layers):
            for site in SITES:
                part = layout.part(site)
                size, count = part.stop - part.start, int(circuit.mask[layer, part].sum())
                other[layer, part.start + torch.randperm(size, generator=draw)[:count]] = True
        masks.append(other.to(model.device))
    ablations = [Ablation(mask.float(), model.means, layout) for mask in masks]
    found = _over_draws(model, task, ablations, masks, best=True)
    reason = f"the best of {draws} random circuits has an accuracy of {found['worst_accuracy']:.0%}"
    return found | _verdict(found["worst_accuracy"] <= bound, f"{reason}; bound {bound:.0%}")


@torch.no_grad()
def partial_ablation(
    model: SparseTransformer, circuit: Circuit, task: TokenPairTask, bound: float, draws: int = 16
) -> dict[str, Any]:
    """The circuit when only a random half of the nodes outside it is ablated.

    For a faithful circuit the loss does not depend on which half; it warns if the worst accuracy is below the bound.
    """
    ablation, draw = circuit.ablation(model.network), torch.Generator().manual_seed(0)
    masks = []
    for _ in range(draws):
        stays = (torch.rand(ablation.mask.shape, generator=draw) < 0.5).to(ablation.mask.device)
        masks.append(torch.maximum(ablation.mask, stays.float()))
    ablations = [replace(ablation, mask=mask, rewired={}) for mask in masks]
    found = _over_draws(model, task, ablations, [mask.bool() for mask in masks])
    reason = f"with the worst of {draws} random halves, the accuracy is {found['worst_accuracy']:.0%}"
    return found | _verdict(found["worst_accuracy"] >= bound, f"{reason}; bound {bound:.0%}")


@torch.no_grad()
def frozen_norms(model: SparseTransformer, circuit: Circuit, task: TokenPairTask, bound: float) -> dict[str, Any]:
    """The circuit with the scales of all norms fixed at those of the complete network.

    It warns if the accuracy of either answer is below the bound: the circuit depends on the scales of its own norms.
    """
    network = model.network
    whole = network.trace(record=True)
    network.last_logits(task.tokens, whole)
    trace = network.trace(circuit.ablation(network), scales=whole.scales)
    found = scores_of(logit_differences(network, task, trace))
    sizes = {"nodes": int(circuit.mask.sum()), "edges": len(circuit.edges.source)}
    reason = (
        f"with the norms of the complete network, the accuracy of the worse answer is {found['worst_accuracy']:.0%}"
    )
    return found | sizes | _verdict(found["worst_accuracy"] >= bound, f"{reason}; bound {bound:.0%}")


def search_control(
    model: SparseTransformer, train: TokenPairTask, held_out: TokenPairTask, bound: float, options: Pruning
) -> dict[str, Any]:
    """The search on a control task or in a control network.

    If the complete network misses the target, a mask is fitted without a penalty, and reduced if it reaches the target.
    It warns if a mask `reached` the target on the prompts of the search, or if its held-out accuracy is above the
    bound. `train` are its scores on the prompts of the search, `whole` those of the complete network.
    """
    network = model.network
    whole = evaluate_task(network, train)
    penalties: Sequence[float] = options.penalties if whole["loss"] <= options.target else (0.0,)
    found = search(model, train, options, penalties)
    ablation = mean_ablation(network, model.means, model.gathered, found.mask, found.removed)
    scores, fitted = evaluate_task(network, held_out, ablation), evaluate_task(network, train, ablation)
    nodes, edges = int(found.mask.sum()), len(found.edges.source)
    reason = (
        f"{nodes} nodes and {edges} edges {'reach' if found.reached else 'miss'} the target of {options.target:g} on "
        f"the prompts of the search (loss {fitted['loss']:.3f}); held-out accuracy {scores['accuracy']:.0%}"
    )
    record = {**scores, "nodes": nodes, "edges": edges, "reached": found.reached, "train": fitted, "whole": whole}
    return record | _verdict(not found.reached and scores["accuracy"] <= bound, f"{reason}; bound {bound:.0%}")


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


def _over_draws(
    model: SparseTransformer,
    task: TokenPairTask,
    ablations: Sequence[Ablation],
    masks: Sequence[Tensor],
    best: bool = False,
) -> dict[str, Any]:
    """Means over draws of scores and sizes, and the worst draw; with `best`, a good score is the worst case."""
    each = [evaluate_task(model.network, task, ablation) for ablation in ablations]
    losses, accuracies = ([scores[name] for scores in each] for name in ("loss", "accuracy"))
    return {
        "loss": sum(losses) / len(each),
        "accuracy": sum(accuracies) / len(each),
        "worst_loss": min(losses) if best else max(losses),
        "worst_accuracy": max(accuracies) if best else min(accuracies),
        "nodes": round(sum(int(mask.sum()) for mask in masks) / len(each)),
        "edges": round(sum(len(edges_between(model.network, mask).source) for mask in masks) / len(each)),
    }


def _verdict(passed: bool, reason: str) -> dict[str, str]:
    return {"verdict": "pass" if passed else "warn", "reason": reason}
