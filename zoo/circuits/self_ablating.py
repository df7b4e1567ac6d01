"""Self-ablating transformers, which select the few units that may contribute to each prediction.

"Self-Ablating Transformers: More Interpretability, Less Sparsity", arXiv 2505.00509, 2025.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.circuits.network.options import check_sizes
from zoo.circuits.network.two_streams import TwoStreams
from zoo.circuits.network.unit_names import write_units
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.training.batch import Batch
from zoo.training.language import Nats, language_loss, last_positions
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_above, check_choice
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("network",)),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adamw",
    coefficients={"clean": 1.0, "ablated": 0.1, "reconstruction": 0.1},
)
GATES, STREAMS, GELUS = ("local", "global"), ("ablated", "clean"), ("tanh", "none")


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
    """Predicts the next token from k attention channels and k neurons per layer, which the network selects itself.

        h = E[token] + P[position] + Σ_layers W_out (g ∘ y) + b_out + W_down (g' ∘ n) + b_down
        score = W_U (γ ∘ (h - mean h) / σ(h) + β)

    where y (d,) is the output of attention, n (m,) are the neurons, and g, g' are gates that are 1 at the k largest
    scores. The scores are linear functions of the clean stream: of its value before each block ("local"), or of its
    normalised final value after a clean pass through all blocks ("global"). The gated stream attends to the keys and
    values of the clean stream at earlier tokens and to its own at the token itself. The units are attention channels,
    neurons, the bias of each write, and the embedding. Contributions are exact for the scale 1 / σ(h) of the prompt,
    which interventions keep fixed; the contribution of β is the bias.

    Two streams are computed. `stream="ablated"` explains the gated one, in which all but 2 k units of a layer are 0. At
    inference the paper uses the clean stream only; `stream="clean"` explains this one, in which no unit is gated.

        loss = clean + 0.1 ablated          cross-entropies of all next tokens
             + 0.1 reconstruction           mean squared difference of both streams, normalised to length 1, after each
                                            block and the norm

    Differs from the published code: embeddings are not tied; attention is scaled by 1 / sqrt(head_width), and queries,
    keys and values have biases; padding is excluded from the losses; a k that is not below the width is an error. The
    paper trains for 200 000 steps, clips gradients at norm 1 (the Trainer's gradient_clip_val) and lowers the learning
    rate by half a cosine, which the `decay` of a stage approximates.

    Args:
        domain: inputs and outputs (`data.domain`); the classes are the tokens.
        width: d.
        layers: number of layers.
        head_width: channels per attention head.
        expansion: neurons per channel, m / d.
        k: open gates per layer, among the attention channels and among the neurons.
        temperature: τ of the gradient of the gates, see `zoo.circuits.network.topk_gate.topk_gate`.
        gates: "local" or "global".
        stream: the stream that is explained, "ablated" or "clean".
        gelu: approximation of GELU: "tanh", as in the published code, or "none".
        recipe: see `zoo.training.recipe.Recipe`; the only parameter group is `network`.

    Raises:
        ValueError: sizes that do not match, or an unknown value of `gates`, `stream` or `gelu`.
    """

    default_recipe = RECIPE
    weighs_classes = False

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 128,
        layers: int = 8,
        head_width: int = 8,
        expansion: int = 4,
        k: int = 4,
        temperature: float = 0.1,
        gates: Literal["local", "global"] = "local",
        stream: Literal["ablated", "clean"] = "ablated",
        gelu: Literal["tanh", "none"] = "tanh",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_sizes(width, layers, head_width, expansion)
        if not 1 <= k < width:
            raise ValueError(f"k must be from 1 to {width - 1}, below the width; got {k}.")
        check_above(0, temperature=temperature)
        check_choice(GATES, gates=gates)
        check_choice(STREAMS, stream=stream)
        check_choice(GELUS, gelu=gelu)
        self.k, self.temperature, self.stream = k, temperature, stream
        self.sizes = (width, expansion * width)
        vocabulary, length = len(self.domain.classes), self.domain.shape[0]
        self.network = TwoStreams(
            vocabulary, length, width, layers, width // head_width, expansion * width, gates == "local", gelu
        )
        self.nats = Nats()

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"gelu": "none", **super().upgrade_arguments(arguments)}  # the only form of checkpoints without it

    def evidence(self, x: Tensor) -> Evidence:
        rows, read = last_positions(x)
        clean, ablated = self.network(x, self.k, self.temperature)
        explained = ablated if self.stream == "ablated" else clean
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for block in explained for v in (block.context, block.neurons) for part in (v[rows, read], one)]
        residual = at_least_fp32(explained[-1].after[rows, read])
        state = {
            "embedded": self.network.embed(x)[rows, read],
            "scale": (residual.var(1, correction=0) + self.network.norm.eps).rsqrt(),
            "clean": clean[-1].after,
            "ablated": ablated[-1].after,
            "distance": self.network.stream_distance(clean, ablated),
        }
        return Evidence(torch.cat([*values, one], 1), state=state)

    def readout(self, evidence: Evidence) -> Tensor:
        *values, embedding = self._split(evidence.activation)
        h = embedding * evidence.state["embedded"]
        for (weight, bias), value, one in zip(self._writers(), values[::2], values[1::2], strict=True):
            h = h + F.linear(value, weight) + one * bias
        norm = self.network.norm
        seen = at_least_fp32(norm.weight) * (h - h.mean(1, keepdim=True)) * evidence.state["scale"][:, None]
        return F.linear(seen + at_least_fp32(norm.bias), at_least_fp32(self.network.unembedding.weight))

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self._along(evidence, at_least_fp32(self.network.unembedding.weight)[target])

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        rows = at_least_fp32(self.network.unembedding.weight).mean(0)
        return self._along(evidence, rows.expand(evidence.activation.shape[0], -1))

    def _along(self, evidence: Evidence, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions to a score whose unembedding is `rows` (B, d), and its bias."""
        norm = self.network.norm
        direction = rows * at_least_fp32(norm.weight) * evidence.state["scale"][:, None]
        direction = direction - direction.mean(1, keepdim=True)  # equivalent to centring the stream
        *values, embedding = self._split(evidence.activation)
        parts = []
        for (weight, bias), value, one in zip(self._writers(), values[::2], values[1::2], strict=True):
            parts += [value * (direction @ weight), one * (direction @ bias)[:, None]]
        parts.append(embedding * (evidence.state["embedded"] * direction).sum(1, keepdim=True))
        return torch.cat(parts, 1), rows @ at_least_fp32(norm.bias)

    def slopes(self, evidence: Evidence) -> None:
        """None, because (B, K, V) numbers would be too many."""

    def _split(self, activation: Tensor) -> tuple[Tensor, ...]:
        """Activations of each write and its bias, and of the embedding."""
        sizes = [n for _ in self.network.blocks for size in self.sizes for n in (size, 1)]
        return activation.split([*sizes, 1], 1)

    def _writers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each write."""
        linears = [linear for block in self.network.blocks for linear in (block.out, block.down)]
        return [(at_least_fp32(linear.weight), at_least_fp32(linear.bias)) for linear in linears]

    def units(self) -> tuple[Unit, ...]:
        return self._units

    @cached_property
    def _units(self) -> tuple[Unit, ...]:
        width, neurons = self.sizes
        layers, head_width = len(self.network.blocks), width // self.network.blocks[0].heads
        return (*write_units(layers, width, head_width, neurons, "context"), Unit("token and position", "embedding"))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        distance, real = evidence.state["distance"].mean(-1), batch["input"] != PAD
        return {
            "clean": self._language("clean", evidence, batch),
            "ablated": self._language("ablated", evidence, batch),
            "reconstruction": (distance * real).sum() / real.sum(),
        }

    def _language(self, stream: str, evidence: Evidence, batch: Batch) -> Tensor:
        logits = self.network.unembedding(self.network.norm(evidence.state[stream]))
        return language_loss(logits, batch["input"], batch["target"])

    @torch.no_grad()
    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats.record(split, self._language(self.stream, evidence, batch), len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}
