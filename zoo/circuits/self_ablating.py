"""Self-ablating transformers, which choose the few units that each token's prediction may use.

"Self-Ablating Transformers: More Interpretability, Less Sparsity", 2025, arXiv 2505.00509.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from zoo.circuits.network.two_streams import TwoStreams
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("network",)),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adamw",
    coefficients={"clean": 1.0, "ablated": 0.1, "reconstruction": 0.1},
)
GATES = ("local", "global")


@register(
    "self_ablating",
    modality="code",
    paper="arXiv 2505.00509, 2025",
    small=Small(
        {"width": 16, "layers": 2, "head_width": 8, "k": 3},
        variants={"global": Small({"gates": "global"}), "clean": Small({"stream": "clean"})},
    ),
)
class SelfAblatingTransformer(SelfInterpretable):
    """Predicts the next token from the k units of each kind, layer by layer, that the network itself lets pass.

        h = E[token] + P[position] + Σ_layers W_out (g ∘ y) + b_out + W_down (g' ∘ n) + b_down
        score = W_U (γ ∘ (h - mean h) / σ(h) + β)

    y (d,) is the context that attention gathered and n (m,) are the neurons; gates g and g' of k winners each are
    linear functions of the clean stream: before each block ("local"), or of its normed end, after a whole clean pass
    ("global"). The gated stream reads the clean one's keys and values of earlier tokens, and its own of its own. Units
    are context coordinates, neurons, the biases of each write, and the embedding. Contributions are exact for the scale
    1 / σ(h) of this prompt, which an intervention holds; β's part is the bias.

    Two streams run side by side. `stream="ablated"` explains the gated one, where all but 2 k units of a layer are 0.
    At inference the paper runs the clean stream alone; `stream="clean"` explains that: every unit counts then.

        loss = clean + 0.1 ablated (cross-entropies of all next tokens)
             + 0.1 reconstruction (mean squared difference of both streams at length 1, after each block and the norm)

    How this differs from the official code: embeddings are untied; attention is scaled by 1 / sqrt(head_width), and its
    queries, keys and values have biases; padding has no part in the losses; a k that is not below the width is refused,
    where the code fails. The paper's 200 000 steps clip gradients at norm 1 (the Trainer's gradient_clip_val) and lower
    the learning rate by half a cosine, for which a stage's `decay` stands in.

    Args:
        domain: what inputs and outputs mean (`data.domain`); the classes are the tokens.
        width: d.
        layers: of the network.
        head_width: channels of an attention head.
        expansion: neurons for each channel.
        k: winners among the context coordinates, and among the neurons, of each layer.
        temperature: τ of the gates' gradients, see `winners`.
        gates: "local" or "global".
        stream: "ablated" or "clean".
        recipe: see `zoo.training.recipe.Recipe`; the only group is `network`.

    Raises:
        ValueError: sizes that do not fit each other, or an unknown choice.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 128,
        layers: int = 8,
        head_width: int = 8,
        expansion: int = 4,
        k: int = 4,
        temperature: float = 0.1,
        gates: str = "local",
        stream: str = "ablated",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if min(width, layers, head_width, expansion) < 1 or width % head_width:
            raise ValueError(
                f"width must be a multiple of head_width, and layers and expansion at least 1; got width={width}, "
                f"head_width={head_width}, layers={layers}, expansion={expansion}."
            )
        if not 1 <= k < width:
            raise ValueError(f"k must be from 1 to {width - 1}, below the width; got {k}.")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0; got {temperature}.")
        for name, value, known in (("gates", gates, GATES), ("stream", stream, ("ablated", "clean"))):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        self.k, self.temperature, self.sizes = k, temperature, (width, expansion * width)
        self.stream = stream
        count, length = len(self.domain.classes), self.domain.shape[0]
        self.network = TwoStreams(
            count, length, width, layers, width // head_width, expansion * width, gates == "local"
        )
        self.nats = nn.ModuleDict({f"{split}_nats": MeanMetric() for split in ("train", "val", "test")})

    def evidence(self, x: Tensor) -> Evidence:
        read = (x != PAD).sum(1) - 1
        rows = torch.arange(x.shape[0], device=x.device)
        clean, ablated = self.network(x, self.k, self.temperature)
        explained = ablated if self.stream == "ablated" else clean
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for its in explained for v in (its.context, its.neurons) for part in (v[rows, read], one)]
        residual = explained[-1].after[rows, read].float()
        state = {
            "embedded": self.network.embed(x)[rows, read],
            "scale": (residual.var(1, correction=0) + self.network.norm.eps).rsqrt(),
            "clean": clean[-1].after,
            "ablated": ablated[-1].after,
            "apart": self.network.apart(clean, ablated),
        }
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
                source = {"layer": layer, "site": "context", "index": c}
                yield Unit(f"layer {layer} head {head} channel {channel}", "attention channel", source=source)
            yield Unit(f"layer {layer} attention bias", "bias", source={"layer": layer, "site": "attn_out"})
            for n in range(neurons):
                source = {"layer": layer, "site": "mlp_neuron", "index": n}
                yield Unit(f"layer {layer} neuron {n}", "neuron", source=source)
            yield Unit(f"layer {layer} MLP bias", "bias", source={"layer": layer, "site": "mlp_out"})
        yield Unit("token and position", "embedding")

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        apart, real = evidence.state["apart"].mean(-1), batch["input"] != PAD
        return {
            "clean": self._language("clean", evidence, batch),
            "ablated": self._language("ablated", evidence, batch),
            "reconstruction": (apart * real).sum() / real.sum(),
        }

    def _language(self, stream: str, evidence: Evidence, batch: Batch) -> Tensor:
        """Mean cross-entropy of all next tokens, in nats."""
        following = torch.cat([batch["input"][:, 1:], batch["target"][:, None]], 1).flatten()
        logits = self.network.unembedding(self.network.norm(evidence.state[stream])).flatten(0, 1).float()
        return F.cross_entropy(logits, following, ignore_index=PAD)

    @torch.no_grad()
    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats[f"{split}_nats"]
        nats.update(self._language(self.stream, evidence, batch), len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}  # pyright: ignore[reportReturnType]
