"""Steering: what a node of the sparse network means is done to the dense network, through a bridge.

Gao et al., arXiv 2511.13653, section 3.3 and appendix A.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.circuits.analysis.token_pair_task import Choice
from zoo.circuits.bridged_transformer import BridgedTransformer
from zoo.circuits.network.transformer import SparseNetwork, Visit
from zoo.domain.text import PAD

READS = ("attn_in", "mlp_in")  # in the order of the sites of a layer
STRENGTHS = tuple(i / 10 for i in range(11))


class ReadNode(NamedTuple):
    """A coordinate that a sublayer of the sparse network reads, after its norm.

    Attributes:
        layer: from 0.
        site: "attn_in" or "mlp_in".
        index: of the channel.
    """

    layer: int
    site: str
    index: int

    @property
    def number(self) -> int:
        """Of the sublayer, from 0."""
        return 2 * self.layer + READS.index(self.site)


@dataclass(frozen=True, eq=False)
class Steering:
    """What steering did on B prompts: two-way probabilities of the answer that is right in the counterfactual.

    Attributes:
        strengths: S of them.
        dense: (S, B), the steered dense network.
        sparse: (S, B), the sparse network with the same share of the node's change: what it should look like.
        random: (R, S, B), the dense network steered as much in random directions.
        counterfactual: (B,), the dense network on the counterfactual prompts: as far as steering could come.
    """

    strengths: tuple[float, ...]
    dense: Tensor
    sparse: Tensor
    random: Tensor
    counterfactual: Tensor


class Added(Visit):
    """A pass in which something is added to what one sublayer reads.

    Args:
        network: that is passed.
        node: whose site it is.
        added: (B, T, d).
    """

    def __init__(self, network: SparseNetwork, node: ReadNode, added: Tensor) -> None:
        super().__init__(network.kept)
        self.node, self.added = node, added

    def at(self, layer: int, site: str, x: Tensor) -> Tensor:
        x = super().at(layer, site, x)
        return x + self.added.to(x) if (layer, site) == self.node[:2] else x


class Traced(Visit):
    """A pass that keeps what all sublayers read, and asks for the gradient there, by (layer, site)."""

    def __init__(self, network: SparseNetwork) -> None:
        super().__init__(network.kept)
        self.reads: dict[tuple[int, str], Tensor] = {}
        self.probes: dict[tuple[int, str], Tensor] = {}

    def at(self, layer: int, site: str, x: Tensor) -> Tensor:
        x = super().at(layer, site, x)
        if site not in READS:
            return x
        self.reads[layer, site] = x.detach()
        self.probes[layer, site] = torch.zeros_like(x, requires_grad=True)
        return x + self.probes[layer, site]


@torch.no_grad()
def steer(
    model: BridgedTransformer,
    choice: Choice,
    counterfactual: Tensor,
    node: ReadNode,
    strengths: Sequence[float] = STRENGTHS,
    random: int = 0,
    seed: int = 0,
) -> Steering:
    """Moves the dense network as if a node of the sparse one had its value of other prompts.

    At each token t, with a_t the node's value, c_t its value on the counterfactual prompt and B_i the decoder of the
    sublayer's bridge, the dense sublayer's normed read is given

        strength (c_t - a_t) / gamma[n] * rms(h^s_t) / rms(h^d_t) * gamma' o B_i[:, n]

    that is: the change of the sparse residual stream's channel n, decoded, in units of the dense stream's own norm; the
    gains gamma and gamma' of the two norms are undone and done. Only what this sublayer reads is changed, as a read
    node is one of this sublayer alone.

    Args:
        model: a trained one.
        choice: prompts (B, T), each with its answer and that of the counterfactual as the wrong one.
        counterfactual: (B, T) prompts with as many tokens each.
        node: of the sparse network, see `rank_reads`.
        strengths: from 0 (nothing) to 1.
        random: how many random directions to compare with; what is added in them has the same size at every token.
        seed: of these.

    Raises:
        ValueError: a node that does not exist, a strength out of range, or prompts that do not fit each other.
    """
    sparse, dense = model.sparse.network, model.dense
    _check(model, choice, counterfactual, node, strengths)
    choice, counterfactual = choice.to(model.device), counterfactual.to(model.device)
    change, ratio = _change(model, choice.tokens, counterfactual, node)
    gain = _gains(sparse, node)[node.index]
    amount = torch.where(gain == 0, 0.0, change / gain) * ratio
    decoder = model.decoders[node.number].weight
    direction = _gains(dense, node) * decoder[:, node.index]
    draw = torch.randn(random, len(direction), generator=torch.Generator().manual_seed(seed)).to(direction)
    others = draw / draw.norm(dim=1, keepdim=True) * direction.norm()
    one = torch.zeros(sparse.layout.width, device=model.device)
    one[node.index] = 1

    def curve(network: SparseNetwork, size: Tensor, along: Tensor) -> Tensor:
        added = size[..., None] * along
        return torch.stack([_probability(network, choice, Added(network, node, s * added)) for s in strengths])

    nothing = amount.new_zeros(0, len(strengths), len(choice))
    return Steering(
        tuple(strengths),
        dense=curve(dense, amount, direction),
        sparse=curve(sparse, change, one),
        random=torch.stack([curve(dense, amount, other) for other in others]) if random else nothing,
        counterfactual=_probability(dense, Choice(counterfactual, choice.right, choice.wrong), dense.visit()),
    )


def rank_reads(model: BridgedTransformer, choice: Choice, counterfactual: Tensor) -> list[tuple[ReadNode, float]]:
    """The read nodes of the sparse network, by how far their change alone brings its answers to the counterfactual.

    Each comes with the mean rise of the logit difference, to first order: change times gradient, summed over tokens.

    Raises:
        ValueError: prompts that do not fit each other.
    """
    _check_prompts(choice, counterfactual)
    network = model.sparse.network
    choice, counterfactual = choice.to(model.device), counterfactual.to(model.device)
    here, there = Traced(network), Traced(network)
    with torch.enable_grad():
        towards = -_margin(network, choice, here).sum()
        gradients = torch.autograd.grad(towards, list(here.probes.values()))
    with torch.no_grad():
        network.last_logits(counterfactual, there)
    found = []
    for (place, value), gradient in zip(here.reads.items(), gradients, strict=True):
        effect = ((there.reads[place] - value) * gradient).sum((0, 1)) / len(choice)
        found += [(ReadNode(*place, index), rise) for index, rise in enumerate(effect.tolist())]
    return sorted(found, key=lambda pair: -pair[1])


def _change(model: BridgedTransformer, tokens: Tensor, other: Tensor, node: ReadNode) -> tuple[Tensor, Tensor]:
    """(B, T) the node's change from `tokens` to `other`, and rms(h^s) / rms(h^d) at its site."""
    values, scales = [], []
    for network, prompts in ((model.sparse.network, other), (model.sparse.network, tokens), (model.dense, tokens)):
        visit = network.visit(record=True)
        network.last_logits(prompts, visit)
        values.append(visit.values[node[:2]])
        scales.append(visit.scales[node.number][..., 0])
    return (values[0] - values[1])[..., node.index] * (tokens != PAD), scales[2] / scales[1]


def _gains(network: SparseNetwork, node: ReadNode) -> Tensor:
    """(d,) of the norm before a sublayer."""
    block = network.blocks[node.layer]
    norm = block.attn_norm if node.site == "attn_in" else block.mlp_norm
    assert isinstance(norm, nn.RMSNorm)
    return norm.weight


def _margin(network: SparseNetwork, choice: Choice, visit: Visit) -> Tensor:
    logits = network.last_logits(choice.tokens, visit).float()
    return (logits.gather(1, choice.right[:, None]) - logits.gather(1, choice.wrong[:, None]))[:, 0]


def _probability(network: SparseNetwork, choice: Choice, visit: Visit) -> Tensor:
    """(B,) of the wrong answer, of the two."""
    return torch.sigmoid(-_margin(network, choice, visit))


def _check(
    model: BridgedTransformer, choice: Choice, counterfactual: Tensor, node: ReadNode, strengths: Sequence[float]
) -> None:
    layout = model.sparse.network.layout
    if not (0 <= node.layer < layout.layers and node.site in READS and 0 <= node.index < layout.width):
        raise ValueError(
            f"there is no node {tuple(node)} to steer by; layers are 0 to {layout.layers - 1}, sites {READS[0]} and "
            f"{READS[1]}, channels 0 to {layout.width - 1}."
        )
    if not strengths or not all(0 <= s <= 1 for s in strengths):
        raise ValueError(f"strengths must be numbers in [0, 1], at least one; got {list(strengths)}.")
    _check_prompts(choice, counterfactual)


def _check_prompts(choice: Choice, counterfactual: Tensor) -> None:
    if counterfactual.shape != choice.tokens.shape:
        raise ValueError(
            f"a counterfactual is needed for each prompt, {tuple(choice.tokens.shape)}; got "
            f"{tuple(counterfactual.shape)}."
        )
    differs = ((choice.tokens != PAD).sum(1) != (counterfactual != PAD).sum(1).to(choice.tokens.device)).nonzero()
    if len(differs):
        raise ValueError(
            f"prompt {int(differs[0])} and its counterfactual have different numbers of tokens, so their tokens do not "
            f"correspond ({len(differs)} of {len(choice)} such prompts); leave them out."
        )
