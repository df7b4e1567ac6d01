"""Self-ablating transformers, which choose the few units that each token's prediction may use.

"Self-Ablating Transformers: More Interpretability, Less Sparsity", 2025, arXiv 2505.00509.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from zoo.circuits.winners import winners
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.evidence import Evidence, Unit
from zoo.module import SelfInterpretable
from zoo.registry import register
from zoo.training import Batch

RECIPE = ({"name": "train", "epochs": 20, "train": ["network"]},)
GATES = ("local", "global")


class Streams(NamedTuple):
    """Both residual streams after the last block, and what the ablated one was made of.

    Attributes:
        clean, ablated: (B, T, d).
        values: of each block, the gated context (B, T, d) and the gated neurons (B, T, m) of the explained stream.
        pairs: clean and ablated stream after each block.
    """

    clean: Tensor
    ablated: Tensor
    values: list[tuple[Tensor, Tensor]]
    pairs: list[tuple[Tensor, Tensor]]


class GatedBlock(nn.Module):
    """A pre-norm block with LayerNorm that two streams run through, the second with gates.

    Args:
        width: d.
        heads: of attention.
        neurons: m of the MLP.
        local: whether its gates are chosen from the clean stream before it.
    """

    def __init__(self, width: int, heads: int, neurons: int, local: bool) -> None:
        super().__init__()
        self.heads = heads
        self.attn_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, neurons), nn.Linear(neurons, width)
        self.gates = nn.Linear(width, width + neurons) if local else None

    def heads_of(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, H, T, D) of a stream."""
        return tuple(
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.attn_norm(x)).chunk(3, -1)
        )

    def hidden(self, x: Tensor) -> Tensor:
        """(B, T, m) neurons of a stream."""
        return F.gelu(self.up(self.mlp_norm(x)))

    def context(self, own: tuple[Tensor, ...], clean: tuple[Tensor, ...]) -> Tensor:
        """(B, T, d) what attention gathers: keys and values of the clean stream before, and its own at the token."""
        (q, own_k, own_v), (_, k, v) = own, clean
        size, length = q.shape[-1] ** 0.5, q.shape[2]
        earlier = torch.ones(length, length, dtype=torch.bool, device=q.device).tril(-1)
        scores = ((q @ k.mT) / size).masked_fill(~earlier, -torch.inf)
        itself = (q * own_k).sum(-1, keepdim=True) / size
        weights = torch.cat([scores, itself], -1).softmax(-1)
        gathered = weights[..., :-1] @ v + weights[..., -1:] * own_v
        return gathered.transpose(1, 2).flatten(2)


class TwoStreams(nn.Module):
    """The network of `SelfAblatingTransformer`; see there for its sizes."""

    def __init__(
        self, vocabulary: int, length: int, width: int, layers: int, heads: int, neurons: int, local: bool
    ) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList([GatedBlock(width, heads, neurons, local) for _ in range(layers)])
        self.norm, self.unembedding = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.gates = None if local else nn.Linear(width, layers * (width + neurons))
        for weight in (self.embedding.weight, self.unembedding.weight, self.positions):
            nn.init.normal_(weight, std=0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, T, d) tokens and their positions."""
        return self.embedding(tokens) + self.positions[: tokens.shape[1]]

    def clean(self, tokens: Tensor) -> list[Tensor]:
        """The clean stream before each block and after the last."""
        streams = [self.embed(tokens)]
        for block in self.blocks:
            own = block.heads_of(streams[-1])
            x = streams[-1] + block.out(block.context(own, own))
            streams.append(x + block.down(block.hidden(x)))
        return streams

    def forward(self, tokens: Tensor, k_attention: int, k_neurons: int, ablated: bool) -> Streams:
        """Both streams; `values` are those of the ablated one, or of the clean one."""
        clean = self.clean(tokens)
        chosen = None if self.gates is None else self.gates(clean[-1]).chunk(len(self.blocks), -1)
        z, values, pairs = clean[0], [], []
        for i, block in enumerate(self.blocks):
            x, width = clean[i], z.shape[-1]
            own_of_clean = block.heads_of(x)
            scores = block.gates(x) if chosen is None else chosen[i]
            context = block.context(block.heads_of(z), own_of_clean)
            context = context * winners(scores[..., :width], k_attention)
            middle = z + block.out(context)
            hidden = block.hidden(middle) * winners(scores[..., width:], k_neurons)
            z = middle + block.down(hidden)
            if ablated:
                values.append((context, hidden))
            else:
                gathered = block.context(own_of_clean, own_of_clean)
                values.append((gathered, block.hidden(x + block.out(gathered))))
            pairs.append((clean[i + 1], z))
        return Streams(clean[-1], z, values, pairs)


@register("self_ablating", family="circuits", modality="code", paper="arXiv 2505.00509, 2025")
class SelfAblatingTransformer(SelfInterpretable):
    """Predicts the next token from the k units of each kind, layer by layer, that the network itself lets pass.

        h = E[token] + P[position] + Σ_layers W_out (g ∘ y) + b_out + W_down (g' ∘ n) + b_down
        score = W_U (γ ∘ (h - mean h) / σ(h) + β)

    y (d,) is the context that attention gathered and n (m,) are the neurons; gates g and g' of k winners each are
    linear functions of the clean stream: before each block ("local"), or of its end, after a whole clean pass
    ("global"). Units are context coordinates, neurons, the biases of each write, and the embedding. Contributions are
    exact for the scale 1 / σ(h) of this prompt, which an intervention holds; β's part is the bias.

    Two streams run side by side. `stream="ablated"` explains the gated one, where all but 2 k units of a layer are 0.
    At inference the paper runs the clean stream alone; `stream="clean"` explains that: every unit counts then.

        loss = clean + 0.1 ablated (cross-entropies of all next tokens)
             + 0.1 reconstruction (squared distance of both streams after each block, normalised to length 1)

    How this differs from the official code: embeddings are untied; a k that is not below the width is refused, where
    the code fails; gates have the published straight-through gradient of a sigmoid whose sum is k.

    Args:
        domain: what inputs and outputs mean (`data.domain`); the classes are the tokens.
        width: d.
        layers: of the network.
        head_width: channels of an attention head.
        expansion: neurons for each channel.
        k: winners among the context coordinates, and among the neurons, of each layer.
        gates: "local" or "global".
        stream: "ablated" or "clean".
        stages, lr, weight_decay, optimizer, coefficients: see `StagedModule`; the only group is `network`.

    Raises:
        ValueError: sizes that do not fit each other, or an unknown choice.
    """

    default_coefficients: ClassVar[Mapping[str, float]] = {"clean": 1.0, "ablated": 0.1, "reconstruction": 0.1}

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 128,
        layers: int = 8,
        head_width: int = 8,
        expansion: int = 4,
        k: int = 4,
        gates: str = "local",
        stream: str = "ablated",
        stages: Sequence[dict[str, Any]] = RECIPE,
        lr: float | dict[str, float] = 1e-3,
        weight_decay: float | dict[str, float] = 0.0,
        optimizer: str = "adamw",
        coefficients: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            domain, stages=stages, lr=lr, weight_decay=weight_decay, optimizer=optimizer, coefficients=coefficients
        )
        if min(width, layers, head_width, expansion) < 1 or width % head_width:
            raise ValueError(
                f"width must be a multiple of head_width, and layers and expansion at least 1; got width={width}, "
                f"head_width={head_width}, layers={layers}, expansion={expansion}."
            )
        if not 1 <= k < width:
            raise ValueError(f"k must be from 1 to {width - 1}, below the width; got {k}.")
        for name, value, known in (("gates", gates, GATES), ("stream", stream, ("ablated", "clean"))):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        self.k, self.ablated, self.sizes = k, stream == "ablated", (width, expansion * width)
        count, length = len(self.domain.classes), self.domain.shape[0]
        self.network = TwoStreams(
            count, length, width, layers, width // head_width, expansion * width, gates == "local"
        )
        self.nats = nn.ModuleDict({f"{split}_nats": MeanMetric() for split in ("train", "val", "test")})

    def evidence(self, x: Tensor) -> Evidence:
        read = (x != PAD).sum(1) - 1
        rows = torch.arange(x.shape[0], device=x.device)
        streams = self.network(x, self.k, self.k, self.ablated)
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for pair in streams.values for value in pair for part in (value[rows, read], one)]
        residual = (streams.ablated if self.ablated else streams.clean)[rows, read].float()
        scale = (residual.var(1, correction=0) + self.network.norm.eps).rsqrt()
        state = {"embedded": self.network.embed(x)[rows, read], "scale": scale}
        state |= {"clean": streams.clean, "ablated": streams.ablated}
        if self.training or not torch.compiler.is_compiling():
            apart = [(F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).square().mean((1, 2)) for a, b in streams.pairs]
            state["apart"] = torch.stack(apart, 1)
        return Evidence(torch.cat([*values, one], 1), state=state)

    def readout(self, evidence: Evidence) -> Tensor:
        *values, embedding = self._split(evidence.activation)
        h = embedding * evidence.state["embedded"]
        for (weight, bias), value, one in zip(self._writers(), values[::2], values[1::2], strict=True):
            h = h + F.linear(value, weight) + one * bias
        norm = self.network.norm
        seen = norm.weight.float() * (h - h.mean(1, keepdim=True)) * evidence.state["scale"][:, None]
        return F.linear(seen + norm.bias.float(), self.network.unembedding.weight.float())

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        norm, rows = self.network.norm, self.network.unembedding.weight.float()[target]
        direction = rows * norm.weight.float() * evidence.state["scale"][:, None]
        direction = direction - direction.mean(1, keepdim=True)  # as centring the stream is centring the direction
        *values, embedding = self._split(evidence.activation)
        parts = []
        for (weight, bias), value, one in zip(self._writers(), values[::2], values[1::2], strict=True):
            parts += [value * (direction @ weight), one * (direction @ bias)[:, None]]
        parts.append(embedding * (evidence.state["embedded"] * direction).sum(1, keepdim=True))
        return torch.cat(parts, 1), rows @ norm.bias.float()

    def slopes(self, evidence: Evidence) -> None:
        """None: (B, K, V) numbers would be too many to hand out."""

    def _split(self, activation: Tensor) -> tuple[Tensor, ...]:
        sizes = [n for _ in self.network.blocks for size in self.sizes for n in (size, 1)]
        return activation.split([*sizes, 1], 1)

    def _writers(self) -> list[tuple[Tensor, Tensor]]:
        linears = [linear for block in self.network.blocks for linear in (block.out, block.down)]
        return [(linear.weight.float(), linear.bias.float()) for linear in linears]  # pyright: ignore

    def units(self) -> tuple[Unit, ...]:
        if "_names" not in self.__dict__:
            self.__dict__["_names"] = tuple(self._name_units())
        return self.__dict__["_names"]

    def _name_units(self) -> Iterator[Unit]:
        width, neurons = self.sizes
        per_head = width // self.network.blocks[0].heads
        for layer in range(len(self.network.blocks)):
            for c in range(width):
                head, channel = divmod(c, per_head)
                yield Unit(f"layer {layer} head {head} channel {channel}", "attention channel")
            yield Unit(f"layer {layer} attention bias", "bias")
            for n in range(neurons):
                yield Unit(f"layer {layer} neuron {n}", "neuron")
            yield Unit(f"layer {layer} MLP bias", "bias")
        yield Unit("token and position", "embedding")

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens, state = batch["input"], evidence.state
        following = torch.cat([tokens[:, 1:], batch["target"][:, None]], 1).flatten()

        def language(stream: Tensor) -> Tensor:
            logits = self.network.unembedding(self.network.norm(stream)).flatten(0, 1).float()
            return F.cross_entropy(logits, following, ignore_index=PAD)

        clean, ablated = language(state["clean"]), language(state["ablated"])
        return {"clean": clean, "ablated": ablated, "reconstruction": state["apart"].mean()}

    def measure(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats[f"{split}_nats"]
        terms = self.losses(scores, evidence, batch)
        nats.update(terms["ablated" if self.ablated else "clean"].detach(), len(scores))
        return {**super().measure(split, scores, evidence, batch), "nats": nats}  # pyright: ignore[reportReturnType]
