"""Weight-sparse transformers, whose few weights make circuits that can be read.

Gao et al.: "Weight-sparse transformers have interpretable circuits", 2025, arXiv 2511.13653.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from zoo.circuits.circuit import Circuit
from zoo.circuits.network import ATTENTION, MLP, Ablation, SparseNetwork, epsilon
from zoo.circuits.optimizer import Schedule, Sparse, SparseAdam
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.evidence import Evidence, Unit
from zoo.module import SelfInterpretable
from zoo.reference import Reference
from zoo.registry import register
from zoo.training import Batch, action

RECIPE = (
    {"name": "anneal", "epochs": 10, "train": ["network"]},
    {"name": "sparse", "epochs": 10, "train": ["network"]},
    {"name": "average"},
    {"name": "measure", "epochs": 1, "train": []},
)
BASE = 256  # the width at which embeddings are as dense as blocks; wider ones are denser in proportion


@register("sparse_transformer", family="circuits", modality="code", paper="Gao et al., arXiv 2511.13653, 2025")
class SparseTransformer(SelfInterpretable):
    """Predicts the next token of a prompt; every unit is a write to the residual stream at the prompt's last token.

        h = E[token] + Σ_layers g ∘ (W_out y + b_out) + g' ∘ (W_down n + b_down)      residual stream (d,)
        score = W_U (γ ∘ h / rms(h)) + bigram[token]                                   (V,)

    with y (d,) the values that attention gathered, n (m,) the neurons and g, g' (d,) the gates of AbsTopK. Units are
    the channels of y and the neurons of every layer, the biases of each write, the token's embedding and its row of
    the bigram table. Their contributions are exact for the gates and the scale 1 / rms(h) of this prompt, which an
    intervention holds: removing a unit moves the score by its contribution.

    Every matrix keeps `density` of its entries, projected after each step (`SparseAdam`). A density of 1 with
    `activation_density` 1 is the dense twin.

    Training: mean cross-entropy of all next tokens (nats), of windows of T tokens and the one after. Of the recipe, a
    stage named "anneal" is where the density falls from 1 to its target; the action `average` measures the mean of
    every node over the training windows, which circuits put in the place of what they leave out.

    How this differs from the official code: gradients are normalised in fp32 or bf16 without a loss scaler; the density
    of embeddings follows a straight line (the paper's own runs kept a fault that held them dense at first, and found
    the difference very slight); position codes are absent, as in most of the paper, or read-only channels.

    Args:
        domain: what inputs and outputs mean (`data.domain`); the classes are the tokens.
        width: d.
        layers: L.
        head_width: channels of an attention head.
        expansion: neurons of an MLP for each channel.
        density: share of non-zeros in every matrix of the blocks, in (0, 1].
        embedding_density: of embedding and unembedding; by default `density` times width / 256, if that is more.
        activation_density: share of its entries that AbsTopK keeps at each of the eight sites, in (0, 1].
        alive: the least number of non-zeros of each neuron and attention channel.
        bigram: add a dense table of logits, so that circuits need not hold what follows from one token alone.
        sink: a learned logit for each head that takes part in its softmax and adds nothing.
        sparse_biases: biases get the density of embeddings; the published script leaves them dense, as is the default.
        positions: None, "learned" or "sinusoid".
        position_width: channels of positions.
        power: anneal along a power law.
        stages, lr, weight_decay: see `StagedModule`; the only group is `network`.

    Raises:
        ValueError: sizes that do not fit each other, or a density that cannot hold `alive` non-zeros for each neuron.
    """

    default_coefficients: ClassVar[Mapping[str, float]] = {"language": 1.0}
    adjustable = ("circuit",)

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 512,
        layers: int = 8,
        head_width: int = 16,
        expansion: int = 4,
        density: float = 1 / 32,
        embedding_density: float | None = None,
        activation_density: float = 0.25,
        alive: int = 4,
        bigram: bool = True,
        sink: bool = True,
        sparse_biases: bool = False,
        positions: str | None = None,
        position_width: int = 32,
        power: bool = False,
        stages: Sequence[dict[str, Any]] = RECIPE,
        lr: float | dict[str, float] = 1.28e-2,
        weight_decay: float | dict[str, float] = 0.1,
    ) -> None:
        super().__init__(domain, stages=stages, lr=lr, weight_decay=weight_decay)
        if min(width, layers, head_width, expansion) < 1 or width % head_width:
            raise ValueError(
                f"width must be a multiple of head_width, and layers and expansion at least 1; got width={width}, "
                f"head_width={head_width}, layers={layers}, expansion={expansion}."
            )
        wide = min(1.0, density * max(1.0, width / BASE)) if embedding_density is None else embedding_density
        for name, share in (
            ("density", density),
            ("embedding_density", wide),
            ("activation_density", activation_density),
        ):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be in (0, 1]; got {share}.")
        if positions not in (None, "learned", "sinusoid"):
            raise ValueError(f"positions must be None, 'learned' or 'sinusoid'; got '{positions}'.")
        if alive < 0:
            raise ValueError(f"alive must be at least 0; got {alive}.")
        self.density, self.embedding_density, self.alive = density, wide, alive
        self.sparse_biases, self.power = sparse_biases, power
        count, length = len(self.domain.classes), self.domain.shape[0]
        self.network = SparseNetwork(
            count,
            length,
            width,
            layers,
            head_width,
            expansion * width,
            activation_density,
            bigram,
            sink,
            positions,
            position_width,
        )
        self._check_budgets()
        self.nats = nn.ModuleDict({f"{split}_nats": MeanMetric() for split in ("train", "val", "test")})
        layout = self.network.layout
        self.register_buffer("means", torch.zeros(layers, layout.nodes))
        self.register_buffer("gathered", torch.zeros(layers, width))
        self.register_buffer("averaged", torch.tensor(False))
        self._ablation: Ablation | None = None

    def _check_budgets(self) -> None:
        for sparse in self.sparse_parameters():
            keep = sparse.budget((self.density, self.embedding_density)).keep
            neurons = sparse.weight.shape[sparse.axis] if sparse.alive else 0
            if sparse.alive * neurons > keep:
                raise ValueError(
                    f"a density of {self.density:.4g} leaves {keep} of {sparse.weight.numel()} entries of a matrix, "
                    f"but alive={sparse.alive} for each of its {neurons} neurons needs {sparse.alive * neurons}; "
                    "raise density, or lower alive."
                )

    def sparse_parameters(self) -> list[Sparse]:
        """The parameters that are kept sparse, with the axes of their neurons."""
        net, found = self.network, []
        for block in net.blocks:
            for linear, axis in ((block.qkv, 0), (block.out, 1), (block.up, 0), (block.down, 1)):
                alive = min(self.alive, linear.weight.shape[1 - axis])
                found.append(Sparse(linear.weight, alive=alive, axis=axis))
                if self.sparse_biases:
                    found.append(Sparse(linear.bias[None], embedding=True))
        found += [Sparse(w, embedding=True) for w in (net.embedding.weight, net.unembedding.weight)]
        return found if net.positions is None else [*found, Sparse(net.positions, embedding=True)]

    # Training

    def configure_optimizers(self) -> SparseAdam:
        group = {"name": "network", "params": list(self.network.parameters()), "lr": 0.0}
        decay = self.weight_decay["network"] if isinstance(self.weight_decay, Mapping) else self.weight_decay
        exempt = [] if self.network.bigram is None else [self.network.bigram]
        return SparseAdam([group | {"weight_decay": decay}], self.sparse_parameters(), exempt)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """Density and learning rate over the recipe: the anneal ends with the stage of that name."""
        training = [stage for stage in self.stages if stage.train]
        epochs, end = sum(stage.epochs for stage in training), 0
        if any(stage.name == "anneal" for stage in training):
            names = [stage.name for stage in training]
            end = sum(stage.epochs for stage in training[: names.index("anneal") + 1])
        return Schedule(
            steps_per_epoch * epochs, self.density, self.embedding_density, end=end / epochs, power=self.power
        )

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        each = -(-self.trainer.num_training_batches // self.trainer.accumulate_grad_batches)
        self.trainer.optimizers[0].schedule = self.schedule(int(each))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.trainer.optimizers[0].at = self.global_step

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens = batch["input"]
        following = torch.cat([tokens[:, 1:], batch["target"][:, None]], 1)
        logits = self.network.logits(evidence.state["residual"], tokens)
        return {"language": F.cross_entropy(logits.flatten(0, 1).float(), following.flatten(), ignore_index=PAD)}

    def measure(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats[f"{split}_nats"]
        nats.update(self.losses(scores, evidence, batch)["language"].detach(), len(scores))
        return {**super().measure(split, scores, evidence, batch), "nats": nats}

    @action
    def average(self, reference: Reference) -> None:
        """Measures the mean of every node, and of what attention gathers, over all training windows."""
        total = torch.zeros_like(self.means, dtype=torch.float64)
        gathered, count = torch.zeros_like(self.gathered, dtype=torch.float64), total.new_zeros(())
        for batch in reference:
            tokens = batch["input"]
            visit = self.network.visit(record=True)
            self.network(tokens, visit, torch.zeros_like(tokens[:, 0]))
            real = (tokens != PAD)[..., None]
            for (layer, site), value in visit.values.items():
                place = gathered[layer] if site == "gathered" else total[layer, self.network.layout.part(site)]
                place += (value * real).sum((0, 1)).double()
            count += real.sum()
        everything = reference.total(count)
        self.means.copy_(reference.total(total) / everything)
        self.gathered.copy_(reference.total(gathered) / everything)
        self.averaged.fill_(True)

    # The contract

    def evidence(self, x: Tensor) -> Evidence:
        read = (x != PAD).sum(1) - 1
        rows = torch.arange(x.shape[0], device=x.device)
        residual, written = self.network(x, self.network.visit(self._ablation), read)
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for layer in written for its in layer for part in (its.value, one)]
        state = {
            "residual": residual,
            "token": x[rows, read],
            "gate": torch.stack([torch.stack([its.gate for its in layer], 1) for layer in written], 1),
            "constant": torch.stack([torch.stack([its.constant for its in layer], 1) for layer in written], 1),
        }
        state["scale"] = self._scale(residual[rows, read].float())
        activation = torch.cat([*values, *[one] * (1 if self.network.bigram is None else 2)], 1)
        return Evidence(activation, state=state)

    def _scale(self, residual: Tensor) -> Tensor:
        """1 / rms of residual streams (B, d)."""
        return (residual.square().mean(1) + epsilon(self.network.norm)).rsqrt()

    def readout(self, evidence: Evidence) -> Tensor:
        net, state = self.network, evidence.state
        *writes, embedding, bigram = self._split(evidence.activation)
        h = embedding * net.embedding.weight.float()[state["token"]]
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            layer, kind = divmod(k, 2)
            (weight, added), gate = self._writer(layer, kind), state["gate"][:, layer, kind]
            h = h + gate * F.linear(value, weight)
            h = h + bias * (gate * added + state["constant"][:, layer, kind])
        scores = F.linear(h * state["scale"][:, None] * net.norm.weight.float(), net.unembedding.weight.float())
        return scores if net.bigram is None else scores + bigram * net.bigram.float()[state["token"]]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        net, state = self.network, evidence.state
        direction = net.unembedding.weight.float()[target] * net.norm.weight.float() * state["scale"][:, None]
        *writes, embedding, bigram = self._split(evidence.activation)
        parts = []
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            layer, kind = divmod(k, 2)
            (weight, added), gate = self._writer(layer, kind), state["gate"][:, layer, kind]
            parts.append(value * ((gate * direction) @ weight))
            constant = gate * added + state["constant"][:, layer, kind]
            parts.append(bias * (constant * direction).sum(1, keepdim=True))
        token = state["token"]
        parts.append(embedding * (net.embedding.weight.float()[token] * direction).sum(1, keepdim=True))
        if net.bigram is not None:
            parts.append(bigram * net.bigram.float()[token, target][:, None])
        return torch.cat(parts, 1), torch.zeros_like(state["scale"])

    def slopes(self, evidence: Evidence) -> None:
        """None: (B, K, V) numbers would be too many to hand out."""

    def _split(self, activation: Tensor) -> tuple[Tensor, ...]:
        """The activations of each write and its bias, of the embedding and of the bigram row."""
        layout, net = self.network.layout, self.network
        sizes = [size for _ in range(layout.layers) for n in (layout.width, layout.neurons) for size in (n, 1)]
        parts = activation.split([*sizes, *[1] * (1 if net.bigram is None else 2)], 1)
        return parts if net.bigram is not None else (*parts, torch.zeros_like(parts[-1]))

    def _writer(self, layer: int, kind: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a write, as the circuit has them that is being explained."""
        name = {ATTENTION: "out", MLP: "down"}[kind]
        linear = getattr(self.network.blocks[layer], name)
        rewired = {} if self._ablation is None else self._ablation.rewired
        weight, bias = rewired.get((layer, name), (linear.weight, linear.bias))
        return weight.float(), bias.float()

    def units(self) -> tuple[Unit, ...]:
        if "_units" not in self.__dict__:
            self.__dict__["_units"] = tuple(self._name_units())
        return self.__dict__["_units"]

    def _name_units(self) -> Iterator[Unit]:
        layout = self.network.layout
        per_head = layout.width // self.network.blocks[0].heads
        for layer in range(layout.layers):
            for c in range(layout.width):
                head, channel = divmod(c, per_head)
                source = {"layer": layer, "site": "attn_v", "index": c}
                yield Unit(f"layer {layer} head {head} channel {channel}", "attention channel", source=source)
            yield Unit(f"layer {layer} attention bias", "bias", source={"layer": layer, "site": "attn_out"})
            for n in range(layout.neurons):
                source = {"layer": layer, "site": "mlp_neuron", "index": n}
                yield Unit(f"layer {layer} neuron {n}", "neuron", source=source)
            yield Unit(f"layer {layer} MLP bias", "bias", source={"layer": layer, "site": "mlp_out"})
        yield Unit("token embedding", "embedding")
        if self.network.bigram is not None:
            yield Unit("bigram table", "bigram")

    @contextmanager
    def adjusted(self, circuit: Circuit | None = None) -> Iterator[None]:
        """The model with everything but a circuit held at its mean.

        Raises:
            TypeError, ValueError: no circuit, or one of another network.
        """
        if circuit is not None and not isinstance(circuit, Circuit):
            raise TypeError(
                f"circuit must be a zoo.circuits.Circuit; got {type(circuit).__name__}. Circuit.load(path)."
            )
        before, self._ablation = self._ablation, None if circuit is None else circuit.ablation(self.network)
        try:
            yield
        finally:
            self._ablation = before
