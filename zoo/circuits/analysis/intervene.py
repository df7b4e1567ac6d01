"""Interventions: what changes when nodes, channels, heads or edges have other values.

Interchange: Geiger et al.: "Causal Abstractions of Neural Networks", NeurIPS 2021, arXiv 2106.02997. Mean ablation and
resampling: Chan et al., "Causal scrubbing", 2022; steering adds a direction: Turner et al., arXiv 2308.10248, 2023.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences, scores_of
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import MATRICES
from zoo.circuits.network.places import Place, find_places
from zoo.circuits.network.trace import GATHERED, Changes
from zoo.circuits.network.transformer import SparseNetwork
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain.text import PAD
from zoo.utils.checks import check_choice

VALUES, AMOUNTS = ("swap", "mean", "zero", "resample"), ("add", "scale")
KINDS = (*VALUES, *AMOUNTS)
MATRIX_NAMES = [name for name, _, _ in MATRICES]
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Intervention:
    """Gives places of a network other values, at every token.

    An edge i -> j has the weight w and carries w x_i: an intervention on it changes x_i for node j alone.
    """

    kind: str
    """"swap": the values on the other prompt of the pair; "mean": over the training windows; "zero"; "resample": the
    values at a random token of all prompts; "add": a number is added; "scale": the values are multiplied."""
    targets: Mapping[str, float]
    """Names of places, see `zoo.circuits.network.places.find_places`, with the amounts of "add" and "scale"; the other
    kinds ignore the amounts. Several nodes with their amounts are a direction."""

    def __post_init__(self) -> None:
        check_choice(KINDS, kind=self.kind)
        if not self.targets:
            raise ValueError(f"'{self.kind}' needs at least one place; got none.")
        for name, amount in self.targets.items():
            if not math.isfinite(amount):
                raise ValueError(f"the amount of '{name}' must be a finite number; got {amount}.")


def parse_interventions(given: Mapping[str, Any]) -> tuple[Intervention, ...]:
    """Reads interventions from plain data, such as {"swap": ["layer 0 head 1"], "scale": {"channel 3": 0.5}}.

    Raises:
        ValueError: an unknown kind, or not a list of names ("swap", "mean", "zero", "resample"), or not a mapping from
            names to numbers ("add", "scale").
    """
    found = []
    for kind, targets in given.items():
        check_choice(KINDS, kind=kind)
        if kind in VALUES:
            if not isinstance(targets, list | tuple) or not all(isinstance(name, str) for name in targets):
                raise ValueError(f"'{kind}' expects a list of names of places; got {targets!r:.80}.")
            found.append(Intervention(kind, dict.fromkeys(targets, 1.0)))
            continue
        numbers = isinstance(targets, Mapping) and all(
            isinstance(name, str) and isinstance(amount, int | float) and not isinstance(amount, bool)
            for name, amount in targets.items()
        )
        if not numbers:
            raise ValueError(f"'{kind}' expects numbers by names of places, as {{channel 3: 1}}; got {targets!r:.80}.")
        found.append(Intervention(kind, {name: float(amount) for name, amount in targets.items()}))
    return tuple(found)


class Effect(NamedTuple):
    """Effect of interventions on the answers of a task.

    Attributes:
        moved: share of the logit difference that goes to the other answer: 0 if nothing changes, 0.5 if no difference
            is left, 1 if each prompt has the logit difference of the other one.
        flipped: share of the rightly answered prompts whose answer becomes the other one.
        loss: task loss, in nats a prompt.
        accuracy: share of right answers.
        worst_accuracy: that of the answer that is predicted worse.
        added_loss: increase of the task loss.
        lost_accuracy: decrease of the accuracy.
    """

    moved: float
    flipped: float
    loss: float
    accuracy: float
    worst_accuracy: float
    added_loss: float
    lost_accuracy: float


@torch.no_grad()
def intervene(
    model: SparseTransformer,
    task: TokenPairTask,
    interventions: Sequence[Intervention],
    circuit: Circuit | None = None,
    seed: int = 0,
) -> Effect:
    """Runs a network with and without interventions, and compares its answers.

    Args:
        model: a trained model.
        task: the two prompts of a pair are adjacent; for "swap", they have the same number of tokens, see
            `pairs_of_equal_length`.
        interventions: are applied in this order.
        circuit: everything outside it is ablated, before and after; by default nothing is.
        seed: of "resample".

    Raises:
        ValueError: no such place; an edge that is not in the circuit; or prompts of different lengths.
        RuntimeError: "mean" in a model without measured means.
    """
    network, task = model.network, task.to(model.device)
    ablation = None if circuit is None else circuit.ablation(network)
    clean = network.trace(ablation, record=True)
    before = logit_differences(network, task, clean)
    changes = make_changes(model, task, interventions, clean.values, circuit, seed)
    after = logit_differences(network, task, network.trace(ablation, changes=changes))
    right, first, then = before > 0, scores_of(before), scores_of(after)
    moved = (before - after).sum() / (before + swapped_pairs(before)).sum()
    return Effect(
        moved=moved.item(),
        flipped=(right & (after < 0)).sum().item() / max(int(right.sum()), 1),
        loss=then["loss"],
        accuracy=then["accuracy"],
        worst_accuracy=then["worst_accuracy"],
        added_loss=then["loss"] - first["loss"],
        lost_accuracy=first["accuracy"] - then["accuracy"],
    )


def make_changes(
    model: SparseTransformer,
    task: TokenPairTask,
    interventions: Sequence[Intervention],
    values: Mapping[tuple[int, str], Tensor],
    circuit: Circuit | None = None,
    seed: int = 0,
) -> Changes:
    """The changes of a pass that make interventions, see `zoo.circuits.network.trace.Trace`.

    Args:
        model: see `intervene`.
        task: see `intervene`.
        interventions: see `intervene`.
        values: those of all sites, recorded in a pass without interventions.
        circuit: see `intervene`.
        seed: see `intervene`.
    """
    if any(one.kind == "swap" for one in interventions):
        check_lengths(task)
    if any(one.kind == "mean" for one in interventions):
        model.require_means()
    found: dict[tuple[int, str], list[Change]] = {}
    for one in interventions:
        for name, amount in one.targets.items():
            for place in find_places(model.network, name):
                place = place.to(model.device)
                if circuit is not None and place.matrix:
                    _check_edge(model.network, circuit, place, name)
                new = _replacement(model, task, one.kind, amount, place, values, seed)
                found.setdefault((place.layer, place.matrix or place.site), []).append(_change(model, place, new))
    return {key: _in_order(several, key[1] in MATRIX_NAMES) for key, several in found.items()}


def _replacement(
    model: SparseTransformer,
    task: TokenPairTask,
    kind: str,
    amount: float,
    place: Place,
    values: Mapping[tuple[int, str], Tensor],
    seed: int,
) -> Change:
    """The new values (B, T, k) of a place as a function of the old ones."""
    given = values[place.layer, place.site][..., place.index]
    if kind == "add":
        return lambda x: x + amount
    if kind == "scale":
        return lambda x: x * amount
    if kind == "swap":
        given = swapped_pairs(given)
    elif kind == "mean":
        at = model.gathered[place.layer] if place.site == GATHERED else _means(model, place)
        given = at[place.index].expand_as(given)
    elif kind == "zero":
        given = torch.zeros_like(given)
    else:
        real = (task.tokens != PAD).flatten().nonzero().flatten()
        draw = torch.randint(len(real), task.tokens.shape, generator=torch.Generator().manual_seed(seed))
        given = given.flatten(0, 1)[real[draw.to(real.device)]]
    return lambda x: given.to(x)


def _means(model: SparseTransformer, place: Place) -> Tensor:
    return model.means[place.layer, model.network.layout.part(place.site)]


def _change(model: SparseTransformer, place: Place, new: Change) -> Change:
    """The change of a site or of the outputs of a matrix, see `zoo.circuits.network.trace.Trace`."""
    if place.matrix is None:
        return lambda x: x.index_copy(-1, place.index, new(x[..., place.index]))
    block = model.network.blocks[place.layer]
    outputs = {"qkv": block.qkv, "out": block.out, "up": block.up, "down": block.down}[place.matrix].out_features

    def added(x: Tensor) -> Tensor:
        old = x[..., place.index]
        return x.new_zeros(*x.shape[:-1], outputs).index_add(-1, place.row, place.weight.to(x) * (new(old) - old))

    return added


def _in_order(changes: Sequence[Change], edges: bool) -> Change:
    """One change that makes several: those of edges are added, those of nodes are made one after the other."""
    if edges:
        return lambda x: torch.stack([change(x) for change in changes]).sum(0)
    return lambda x: reduce(lambda now, change: change(now), changes, x)


def _check_edge(network: SparseNetwork, circuit: Circuit, place: Place, name: str) -> None:
    source, destination = (circuit.layout.number(end) for end in name.split("->"))
    held = (circuit.edges.source == source) & (circuit.edges.destination == destination)
    if not bool(held.any()):
        raise ValueError(f"the circuit of '{circuit.task}' has no edge '{name}'; choose one of its edges.")


def pairs_of_equal_length(task: TokenPairTask) -> TokenPairTask:
    """The pairs whose prompts have the same number of tokens, so that their positions correspond."""
    lengths = (task.tokens != PAD).sum(1).view(-1, 2)
    return task.rows((lengths[:, 0] == lengths[:, 1]).repeat_interleave(2))


def swapped_pairs(x: Tensor) -> Tensor:
    """Rows (B, ...) with the two rows of each pair exchanged."""
    return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def check_lengths(task: TokenPairTask) -> None:
    """Checks that the prompts of each pair have the same number of tokens.

    Raises:
        ValueError: those of some pairs have not.
    """
    if len(pairs_of_equal_length(task)) < len(task):
        raise ValueError(
            "the prompts of some pairs have different numbers of tokens, so their positions do not correspond; leave "
            "them out with pairs_of_equal_length(task)."
        )
