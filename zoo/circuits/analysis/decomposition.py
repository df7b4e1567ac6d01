"""Contextual decomposition: which part of every value comes from some tokens or nodes, and which from the rest.

Hsu, Zhou, Cherapanamjeri, Huang, Odisho, Carroll, Yu: "Efficient Automated Circuit Discovery in Transformers using
Contextual Decomposition", ICLR 2025, arXiv 2407.00886.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.attention import sink_attention
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import epsilon, with_positions
from zoo.circuits.network.transformer import Block, SparseNetwork, normalised
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.training.language import last_positions

ROWS = 512  # prompts per pass when many nodes are decomposed together
SMALL = torch.finfo(torch.float32).tiny  # so that a bias can be split where both parts are 0


class Decomposition(NamedTuple):
    """The parts of the logits after the last token.

    Attributes:
        relevant: (B, V), what comes from the chosen tokens.
        irrelevant: (B, V), the rest; both add up to the logits.
    """

    relevant: Tensor
    irrelevant: Tensor


@torch.no_grad()
def decompose(model: SparseTransformer, x: Tensor, tokens: Sequence[int] | Tensor) -> Decomposition:
    """Splits the logits into what comes from some tokens and what comes from the others.

    Every value is β + γ, relevant and irrelevant. The embeddings of the chosen tokens are relevant. Linear layers map
    both parts, and split their bias in the proportion |Wβ| : |Wγ|. Norms and AbsTopK are held as they are for the
    total. GELU and attention give γ' = f(γ) and β' = f(β + γ) - f(γ), so that β gets what both parts do together. The
    row of the bigram table belongs to the last token.

    The sum is exact; no tokens give 0, and all tokens everything, up to rounding, which the split of biases enlarges
    where a matrix gives almost nothing. The rest is convention: the relevant parts of disjoint sets of tokens do not
    add up to that of their union, so that they are not contributions.

    Differs from the published method: attention is split as a function of queries, keys and values together, and not as
    a fixed pattern; parts of opposite signs are left as they are.

    Args:
        model: a sparse or a dense model.
        x: tokens (B, T), padded on the right.
        tokens: positions of the chosen tokens, or a mask (B, T) of bool.

    Raises:
        ValueError: positions out of range, or a mask of another shape.
    """
    chosen = _chosen(x, tokens)
    totals = Totals(model.network, x)
    beta = totals.embedded * chosen[..., None]
    relevant = totals.logits(totals.through(beta[None]))[0]
    if model.network.bigram is not None:
        rows, last = last_positions(x)
        relevant = relevant + model.network.bigram[x[rows, last]] * chosen[rows, last, None]
    return Decomposition(relevant, totals.scores - relevant)


@torch.no_grad()
def decomposed_nodes(model: SparseTransformer, task: TokenPairTask) -> Tensor:
    """Part (L, N) of the logit difference that comes from each node's deviation from its mean; mean over prompts.

    Args:
        model: with measured means.
        task: prompts.
    """
    model.require_means()
    task = task.to(model.device)
    totals = Totals(model.network, task.tokens)
    found, layout = torch.zeros_like(model.means), model.network.layout
    for layer in range(layout.layers):
        for site in SITES:
            part = layout.part(site)
            value = totals.values[layer, site]  # (B, T, n)
            deviation = (value - model.means[layer, part]) * totals.real
            effects = []
            for some in torch.arange(value.shape[-1], device=value.device).split(max(1, ROWS // len(task))):
                beta = value.new_zeros(len(some), *value.shape)
                beta[torch.arange(len(some)), :, :, some] = deviation[..., some].movedim(-1, 0)
                logits = totals.logits(totals.through(beta, layer, site))  # (n, B, V)
                right, wrong = (
                    logits.gather(2, side.expand(len(some), -1)[..., None])[..., 0] for side in (task.right, task.wrong)
                )
                effects.append((right - wrong).mean(1))
            found[layer, part] = torch.cat(effects)
    return found


class Totals:
    """The complete values of a pass, along which parts β are carried.

    Parts have an extra first dimension: (n, B, T, ...) for n parts of each of B prompts.

    Args:
        network: to run.
        tokens: (B, T).

    Attributes:
        real: (B, T, 1) bool, tokens that are no padding.
        embedded: (B, T, d).
        values: values of all nodes by (layer, site).
        scores: logits (B, V).
    """

    def __init__(self, network: SparseNetwork, tokens: Tensor) -> None:
        self.network, self.tokens = network, tokens
        self.rows, self.last = last_positions(tokens)
        self.real = (torch.arange(tokens.shape[1], device=tokens.device) <= self.last[:, None])[..., None]
        self.embedded = network.embed(tokens)
        self.values: dict[tuple[int, str], Tensor] = {}
        self.before: dict[tuple[int, str], Tensor] = {}  # outputs of matrices, before AbsTopK, with and without bias
        self.scales: list[Tensor] = []
        self.channels = network.position_channels(tokens.shape[1])
        x = self.embedded
        for block in network.blocks:
            x = self._run(block, x)
        rest = x[self.rows, self.last]
        norm = network.norm
        self.final = (rest.square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt() * norm.weight
        self.scores = network.logits(rest, tokens[self.rows, self.last])

    def _run(self, block: Block, x: Tensor) -> Tensor:
        """One block; keeps all values."""
        i, kept = block.layer, self.network.kept
        seen = self._read(block, "attn_in", x)
        joint = self._linear(i, "qkv", block.qkv, seen)
        for name, t in zip("qkv", joint.chunk(3, -1), strict=True):
            self.values[i, f"attn_{name}"] = abs_topk(t, kept[f"attn_{name}"])
        q, k, v = (_heads(self.values[i, f"attn_{name}"], block.heads) for name in "qkv")
        self.values[i, "gathered"] = _joined(sink_attention(q, k, v, block.sink))
        out = self._linear(i, "out", block.out, self.values[i, "gathered"])
        self.values[i, "attn_out"] = abs_topk(out, kept["attn_out"])
        x = x + self.values[i, "attn_out"]
        up = self._linear(i, "up", block.up, self._read(block, "mlp_in", x))
        self.values[i, "mlp_neuron"] = abs_topk(F.gelu(up), kept["mlp_neuron"])
        down = self._linear(i, "down", block.down, self.values[i, "mlp_neuron"])
        self.values[i, "mlp_out"] = abs_topk(down, kept["mlp_out"])
        return x + self.values[i, "mlp_out"]

    def _read(self, block: Block, site: str, x: Tensor) -> Tensor:
        """What a sublayer reads (B, T, d + p), positions included."""
        attends = site == "attn_in"
        norm = block.attn_norm if attends else block.mlp_norm
        places = normalised(block.attn_position_norm if attends else block.mlp_position_norm, self.channels)
        scale = (x.square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt() * norm.weight
        self.scales.append(scale)
        seen = abs_topk(with_positions(x * scale, places), self.network.kept[site])
        self.values[block.layer, site] = seen[..., : x.shape[-1]]
        return seen

    def _linear(self, layer: int, name: str, linear: torch.nn.Linear, x: Tensor) -> Tensor:
        self.before[layer, name] = F.linear(x, linear.weight)
        return self.before[layer, name] + linear.bias

    def through(self, beta: Tensor, layer: int = 0, site: str | None = None) -> Tensor:
        """Carries parts β to the final residual stream at the last token, (n, B, d).

        Args:
            beta: of the embedding (n, B, T, d), or of a site.
            layer: of the site.
            site: name of the site; None for the embedding.
        """
        stream = beta if site is None else torch.zeros_like(beta[..., :1]).expand(*beta.shape[:-1], self.width)
        for block in self.network.blocks[layer:]:
            here = site if block.layer == layer else None
            stream = self._carry(block, stream, beta, here)
        return stream[:, self.rows, self.last]

    @property
    def width(self) -> int:
        """Width d of the residual stream."""
        return self.network.layout.width

    def logits(self, beta: Tensor) -> Tensor:
        """Parts (n, B, V) of the logits for parts (n, B, d) of the final stream, the norm held."""
        return self.network.unembedding(beta * self.final)

    def _carry(self, block: Block, stream: Tensor, beta: Tensor, site: str | None) -> Tensor:
        """One block for parts of its stream, from a site on that has the part `beta`; None for the whole block."""
        i, start = block.layer, -1 if site is None else SITES.index(site)

        def at(name: str, compute: Callable[[], Tensor]) -> Tensor | None:
            """The part at a site: 0 before the start, `beta` at the start."""
            index = SITES.index(name)
            if index == start:
                return beta
            return compute() * (self.values[i, name] != 0) if index > start else None

        if start < SITES.index("mlp_in"):
            seen = at("attn_in", lambda: stream * self.scales[2 * i])
            stream = stream + self._attention(block, seen, beta, start)
        seen = at("mlp_in", lambda: stream * self.scales[2 * i + 1])
        neurons = at("mlp_neuron", lambda: self._neurons(block, _given(seen)))
        return stream + _given(at("mlp_out", lambda: self._matrix(i, "down", block.down, _given(neurons))))

    def _attention(self, block: Block, seen: Tensor | None, beta: Tensor, start: int) -> Tensor:
        """Parts (n, B, T, d) of what attention writes."""
        i = block.layer
        if start == SITES.index("attn_out"):
            return beta
        parts = dict.fromkeys("qkv", beta.new_zeros(()))
        if seen is not None:
            parts = dict(zip("qkv", self._matrix(i, "qkv", block.qkv, seen).chunk(3, -1), strict=True))
        else:
            parts[SITES[start][-1]] = beta
        totals = {name: self.values[i, f"attn_{name}"] for name in "qkv"}
        rest = [totals[name] - parts[name] * (totals[name] != 0) for name in "qkv"]
        shape = (*beta.shape[:3], self.width)
        q, k, v = (_heads(t.expand(shape).flatten(0, 1), block.heads) for t in rest)
        gathered = self.values[i, "gathered"] - _joined(sink_attention(q, k, v, block.sink)).view(shape)
        return self._matrix(i, "out", block.out, gathered) * (self.values[i, "attn_out"] != 0)

    def _neurons(self, block: Block, seen: Tensor) -> Tensor:
        part = self._matrix(block.layer, "up", block.up, seen)
        total = self.before[block.layer, "up"] + block.up.bias
        return F.gelu(total) - F.gelu(total - part)

    def _matrix(self, layer: int, name: str, linear: torch.nn.Linear, beta: Tensor) -> Tensor:
        """Part of the outputs of a matrix, with its part of the bias."""
        part = F.linear(beta, linear.weight[:, : beta.shape[-1]])
        rest = (self.before[layer, name] - part).abs()
        return part + linear.bias * (part.abs() / (part.abs() + rest + SMALL))


def _given(part: Tensor | None) -> Tensor:
    assert part is not None, "sites are computed in their order"
    return part


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(-3, -2).flatten(-2)


def _chosen(x: Tensor, tokens: Sequence[int] | Tensor) -> Tensor:
    """The mask (B, T) of chosen tokens."""
    if isinstance(tokens, Tensor) and tokens.dtype == torch.bool:
        if tokens.shape != x.shape:
            raise ValueError(f"expected a mask of shape {tuple(x.shape)}; got {tuple(tokens.shape)}.")
        return tokens.to(x.device)
    positions = [int(t) for t in tokens]
    if any(not 0 <= t < x.shape[1] for t in positions):
        raise ValueError(f"expected positions from 0 to {x.shape[1] - 1}; got {positions}.")
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, positions] = True
    return mask
