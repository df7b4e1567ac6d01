"""Steering: transfers the change of a node of the sparse network to the dense network, through a bridge.

Gao et al., arXiv 2511.13653, 2025, section 3.3 and appendix A.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from zoo.circuits.analysis.read_nodes import READS, ReadNode, check_prompts
from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences
from zoo.circuits.bridged_transformer import BridgedTransformer
from zoo.circuits.network.trace import Trace
from zoo.circuits.network.transformer import SparseNetwork
from zoo.domain.text import PAD

STRENGTHS = tuple(i / 10 for i in range(11))


@dataclass(frozen=True, eq=False)
class Steering:
    """Two-way probabilities of the counterfactual's right answer on B prompts, by strength of the steering.

    Attributes:
        strengths: S values in [0, 1].
        dense: (S, B), the steered dense network.
        sparse: (S, B), the sparse network with the same share of the node's change, for comparison.
        random: (R, S, B), the dense network steered by the same amount in random directions.
        counterfactual: (B,), the dense network on the counterfactual prompts, which bounds the effect of steering.
    """

    strengths: tuple[float, ...]
    dense: Tensor
    sparse: Tensor
    random: Tensor
    counterfactual: Tensor


@torch.no_grad()
def steer(
    model: BridgedTransformer,
    task: TokenPairTask,
    counterfactual: Tensor,
    node: ReadNode,
    strengths: Sequence[float] = STRENGTHS,
    random: int = 0,
    seed: int = 0,
) -> Steering:
    """Changes the dense network as if a node of the sparse network had its value on another prompt.

    At each token t, let a_t be the node's value, c_t its value on the counterfactual prompt, n its channel and B_i the
    decoder of the bridge at its sublayer. The dense sublayer then reads, in addition to its normalised input,

        strength * (c_t - a_t) / gamma[n] * rms(h^s_t) / rms(h^d_t) * (gamma' ∘ B_i[:, n])

    which is the change of channel n of the sparse residual stream, decoded, in units of the dense stream's norm; gamma
    and gamma' are the gains of the sparse and the dense norm. Other sublayers do not read this change, since a read
    node belongs to one sublayer.

    Args:
        model: a trained model.
        task: prompts (B, T); the wrong answer of each prompt is the right one of its counterfactual.
        counterfactual: (B, T), prompts of the same numbers of tokens.
        node: of the sparse network, see `rank_reads`.
        strengths: from 0 (no change) to 1.
        random: number of random directions for comparison; the added vectors have the same norm at every token.
        seed: of the random directions.

    Raises:
        ValueError: a node that does not exist, a strength out of range, or prompts that do not correspond.
    """
    sparse, dense = model.sparse.network, model.dense
    _check(model, node, strengths)
    check_prompts(task, counterfactual)
    task, counterfactual = task.to(model.device), counterfactual.to(model.device)
    change, ratio = _change(model, task.tokens, counterfactual, node)
    gain = _gains(sparse, node)[node.channel]
    amount = torch.where(gain == 0, 0.0, change / gain) * ratio  # (B, T)
    direction = _gains(dense, node) * model.decoders[node.sublayer].weight[:, node.channel]  # (d_dense,)
    draw = torch.randn(random, len(direction), generator=torch.Generator().manual_seed(seed)).to(direction)
    others = draw / draw.norm(dim=1, keepdim=True) * direction.norm()
    one = torch.zeros(sparse.layout.width, device=model.device)
    one[node.channel] = 1

    def curve(network: SparseNetwork, size: Tensor, along: Tensor) -> Tensor:
        added = size[..., None] * along  # (B, T, d)
        changes = ({node[:2]: partial(torch.add, s * added)} for s in strengths)
        return torch.stack([_probability(network, task, network.trace(changes=change)) for change in changes])

    nothing = amount.new_zeros(0, len(strengths), len(task))
    return Steering(
        tuple(strengths),
        dense=curve(dense, amount, direction),
        sparse=curve(sparse, change, one),
        random=torch.stack([curve(dense, amount, other) for other in others]) if random else nothing,
        counterfactual=_probability(dense, TokenPairTask(counterfactual, task.right, task.wrong), dense.trace()),
    )


def _change(model: BridgedTransformer, tokens: Tensor, other: Tensor, node: ReadNode) -> tuple[Tensor, Tensor]:
    """The node's change (B, T) from `tokens` to `other`, and rms(h^s) / rms(h^d) at its site."""
    values, scales = [], []
    for network, prompts in ((model.sparse.network, other), (model.sparse.network, tokens), (model.dense, tokens)):
        trace = network.trace(record=True)
        network.last_logits(prompts, trace)
        values.append(trace.values[node[:2]])
        scales.append(trace.scales[node.sublayer][..., 0])
    return (values[0] - values[1])[..., node.channel] * (tokens != PAD), scales[2] / scales[1]


def _gains(network: SparseNetwork, node: ReadNode) -> Tensor:
    """Gains (d,) of the norm before a sublayer."""
    block = network.blocks[node.layer]
    return (block.attn_norm if node.site == "attn_in" else block.mlp_norm).weight


def _probability(network: SparseNetwork, task: TokenPairTask, trace: Trace) -> Tensor:
    """Two-way probability (B,) of the wrong answer."""
    return torch.sigmoid(-logit_differences(network, task, trace))


def _check(model: BridgedTransformer, node: ReadNode, strengths: Sequence[float]) -> None:
    layout = model.sparse.network.layout
    if not (0 <= node.layer < layout.layers and node.site in READS and 0 <= node.channel < layout.width):
        raise ValueError(
            f"there is no read node {tuple(node)}; layers are 0 to {layout.layers - 1}, sites {READS[0]} and "
            f"{READS[1]}, channels 0 to {layout.width - 1}."
        )
    if not strengths or not all(0 <= s <= 1 for s in strengths):
        raise ValueError(f"strengths must be at least one number in [0, 1]; got {list(strengths)}.")
