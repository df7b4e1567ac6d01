"""Read nodes: the coordinates that sublayers of the sparse network read, ranked by their effect on a task."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences
from zoo.circuits.bridged_transformer import BridgedTransformer
from zoo.circuits.network.trace import Changes
from zoo.domain.text import PAD

READS = ("attn_in", "mlp_in")  # in the order of the sublayers of a layer


class ReadNode(NamedTuple):
    """A coordinate that a sublayer of the sparse network reads, after its norm.

    Attributes:
        layer: index of the layer.
        site: "attn_in" or "mlp_in".
        channel: index of the coordinate.
    """

    layer: int
    site: str
    channel: int

    @property
    def sublayer(self) -> int:
        """Index of the sublayer, which is the site of its bridge."""
        return 2 * self.layer + READS.index(self.site)


class Probes(dict[tuple[int, str], Tensor]):
    """Zeros that passes add to the values of some sites, for the gradients; they are made by the first pass.

    Args:
        layers: number of layers.
        sites: by default what all sublayers read.
    """

    def __init__(self, layers: int, sites: Sequence[str] = READS) -> None:
        super().__init__()
        self.places = [(layer, site) for layer in range(layers) for site in sites]

    @property
    def changes(self) -> Changes:
        """The changes of a pass that adds the zeros."""
        return {place: partial(self._add, place) for place in self.places}

    def _add(self, place: tuple[int, str], x: Tensor) -> Tensor:
        self[place] = torch.zeros_like(x, requires_grad=True)
        return x + self[place]


def rank_reads(model: BridgedTransformer, task: TokenPairTask, counterfactual: Tensor) -> list[tuple[ReadNode, float]]:
    """Ranks the read nodes of the sparse network by their effect on the logit difference.

    The effect is a first-order estimate: the change of the node's value from the prompt to its counterfactual, times
    the gradient, summed over tokens and averaged over prompts.

    Args:
        model: a trained model.
        task: prompts (B, T).
        counterfactual: (B, T), prompts of the same numbers of tokens.

    Returns:
        Nodes and their mean effects towards the counterfactual's answer, largest first.

    Raises:
        ValueError: prompts and counterfactuals do not correspond.
    """
    check_prompts(task, counterfactual)
    network = model.sparse.network
    task, counterfactual = task.to(model.device), counterfactual.to(model.device)
    probes = Probes(network.layout.layers)
    here, there = network.trace(record=True, changes=probes.changes), network.trace(record=True)
    with torch.enable_grad():
        towards = -logit_differences(network, task, here).sum()
        gradients = torch.autograd.grad(towards, list(probes.values()))
    with torch.no_grad():
        network.last_logits(counterfactual, there)
    found = []
    for place, gradient in zip(probes, gradients, strict=True):
        change = there.values[place] - here.values[place].detach()
        effect = (change * gradient).sum((0, 1)) / len(task)
        found += [(ReadNode(*place, index), rise) for index, rise in enumerate(effect.tolist())]
    return sorted(found, key=lambda pair: -pair[1])


def check_prompts(task: TokenPairTask, counterfactual: Tensor) -> None:
    """Checks that each prompt has a counterfactual of the same number of tokens.

    Raises:
        ValueError: it has none.
    """
    if counterfactual.shape != task.tokens.shape:
        raise ValueError(
            f"expected one counterfactual per prompt, shape {tuple(task.tokens.shape)}; got "
            f"{tuple(counterfactual.shape)}."
        )
    differs = ((task.tokens != PAD).sum(1) != (counterfactual != PAD).sum(1).to(task.tokens.device)).nonzero()
    if len(differs):
        raise ValueError(
            f"prompt {int(differs[0])} and its counterfactual have different numbers of tokens, so their positions do "
            f"not correspond ({len(differs)} of {len(task)} such prompts); leave these prompts out."
        )
