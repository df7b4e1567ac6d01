"""Interchange interventions: what changes when the two prompts of a pair exchange the values of some nodes.

Geiger et al.: "Causal Abstractions of Neural Networks", NeurIPS 2021, arXiv 2106.02997.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.circuits.analysis.read_nodes import ProbedTrace
from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import Ablation, Trace
from zoo.circuits.network.transformer import SparseNetwork
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain.text import PAD


class Interchange(NamedTuple):
    """Effect of an interchange.

    Attributes:
        moved: share of the logit difference that follows the nodes: 0 if nothing changes, 1 if each prompt has the
            logit difference of the other one.
        flipped: share of the rightly answered prompts whose answer becomes that of the other prompt.
    """

    moved: float
    flipped: float


class SwappedTrace(Trace):
    """A forward pass in which some nodes have given values.

    Args:
        network: to run.
        values: (B, T, n) by (layer, site).
        mask: (L, N) bool, the nodes that have these values.
        ablation: see `Trace`.
    """

    def __init__(
        self,
        network: SparseNetwork,
        values: Mapping[tuple[int, str], Tensor],
        mask: Tensor,
        ablation: Ablation | None = None,
    ) -> None:
        super().__init__(network.kept, ablation)
        self.given, self.mask, self.layout = values, mask, network.layout

    def nodes(self, layer: int, site: str, x: Tensor) -> Tensor:
        x = super().nodes(layer, site, x)
        return torch.where(self.mask[layer, self.layout.part(site)], self.given[layer, site], x)


@torch.no_grad()
def interchange(
    model: SparseTransformer, task: TokenPairTask, mask: Tensor, circuit: Circuit | None = None
) -> Interchange:
    """Gives the nodes of a mask the values that they have on the other prompt of the pair, at every token.

    Args:
        model: a trained model.
        task: the two prompts of a pair are adjacent and have the same number of tokens, see `pairs_of_equal_length`.
        mask: (L, N) bool, nodes whose values are exchanged.
        circuit: everything outside it is ablated; by default nothing is.

    Raises:
        ValueError: the prompts of a pair have different numbers of tokens.
    """
    _check_lengths(task)
    network, task = model.network, task.to(model.device)
    ablation = None if circuit is None else circuit.ablation(network)
    clean = network.trace(ablation, record=True)
    before = logit_differences(network, task, clean)
    values = {place: swapped_pairs(value) for place, value in clean.values.items()}
    after = logit_differences(network, task, SwappedTrace(network, values, mask.to(model.device), ablation))
    right = before > 0
    moved = (before - after).sum() / (before + swapped_pairs(before)).sum()
    return Interchange(moved.item(), (right & (after < 0)).sum().item() / max(int(right.sum()), 1))


def rank_nodes(model: SparseTransformer, task: TokenPairTask, circuit: Circuit | None = None) -> Tensor:
    """First-order estimate (L, N) of what the interchange of each node takes from the logit difference.

    For the arguments see `interchange`. Nodes outside the circuit have 0.
    """
    _check_lengths(task)
    network, task = model.network, task.to(model.device)
    trace = ProbedTrace(network, SITES, None if circuit is None else circuit.ablation(network))
    with torch.enable_grad():
        difference = logit_differences(network, task, trace).sum()
        gradients = torch.autograd.grad(difference, list(trace.probes.values()))
    found = torch.zeros_like(model.means)
    for ((layer, site), value), gradient in zip(trace.reads.items(), gradients, strict=True):
        change = (value - swapped_pairs(value)) * gradient
        found[layer, network.layout.part(site)] = change.sum((0, 1)) / len(task)
    return found if circuit is None else found * circuit.mask.to(found)


def pairs_of_equal_length(task: TokenPairTask) -> TokenPairTask:
    """The pairs whose prompts have the same number of tokens, so that their positions correspond."""
    lengths = (task.tokens != PAD).sum(1).view(-1, 2)
    return task.rows((lengths[:, 0] == lengths[:, 1]).repeat_interleave(2))


def swapped_pairs(x: Tensor) -> Tensor:
    """Rows (B, ...) with the two rows of each pair exchanged."""
    return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def _check_lengths(task: TokenPairTask) -> None:
    if len(pairs_of_equal_length(task)) < len(task):
        raise ValueError(
            "the prompts of some pairs have different numbers of tokens, so their positions do not correspond; leave "
            "them out with pairs_of_equal_length(task)."
        )
