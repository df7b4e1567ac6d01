"""Weight-sparse transformers, whose few non-zero weights form readable circuits.

Gao et al.: "Weight-sparse transformers have interpretable circuits", arXiv 2511.13653, 2025.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.circuits.network.optimizer import SparseAdam, SparseParameter
from zoo.circuits.network.options import Positions, Sparsity, check_sizes
from zoo.circuits.network.residual_writes import ResidualWrites
from zoo.circuits.network.schedule import Schedule, steps_per_epoch
from zoo.circuits.network.transformer import SparseNetwork
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.training.batch import Batch
from zoo.training.language import Nats, language_loss
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe, by_group
from zoo.training.stages import Stage
from zoo.utils.options import fold_options, parse_options

RECIPE = Recipe(
    stages=(
        Stage("anneal", epochs=10, train=("network",), anneal=True),
        Stage("sparse", epochs=10, train=("network",)),
        Stage("average"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1.28e-2,
    weight_decay=0.1,
    optimizer="adam",
    coefficients={"language": 1.0},
)
# Group and field of options that were separate arguments.
GROUPED = {
    "density": ("sparsity", "density"),
    "embedding_density": ("sparsity", "embedding_density"),
    "activation_density": ("sparsity", "activation_density"),
    "alive": ("sparsity", "alive"),
    "sparse_biases": ("sparsity", "biases"),
    "power": ("sparsity", "power"),
}


@register(
    "sparse_transformer",
    modality="code",
    paper="Gao et al., arXiv 2511.13653, 2025",
    small=Small(
        {"width": 32, "layers": 2, "head_width": 8, "sparsity": {"density": 0.25}},
        variants={
            "plain": Small({"bigram": False, "sink": False, "positions": {"kind": "sinusoid"}}),
            "dense": Small({"sparsity": {"density": 1.0, "activation_density": 1.0}}),
        },
    ),
)
class SparseTransformer(SelfInterpretable):
    """Predicts the next token of a prompt; each unit is a write to the residual stream at the last token.

        h = E[token] + Σ_layers g ∘ (W_out y + b_out) + g' ∘ (W_down n + b_down)      residual stream (d,)
        score = W_U (γ ∘ h / rms(h)) + bigram[token]                                   (V,)

    where y (d,) are the values that attention gathered, n (m,) the neurons, and g, g' (d,) the gates of AbsTopK. The
    units are the channels of y and the neurons of every layer, the bias of each write, the token's embedding and its
    row of the bigram table. Contributions are exact for the gates and the scale 1 / rms(h) of the prompt. Interventions
    keep both fixed, so that removing a unit changes the score by its contribution.

    Each matrix keeps the share `sparsity.density` of its entries, by a projection after every step (`SparseAdam`). With
    `density` and `activation_density` of 1, the model is a dense transformer, for comparison.

    Training: mean cross-entropy in nats of all next tokens, on windows of T tokens and the token after each window. The
    density falls from 1 to its target until the end of the recipe's stage with `anneal`. The action `average` measures
    the mean of every node over the training windows; circuits replace ablated nodes by these means.

    Differs from the published code: gradients are normalised in fp32 or bf16 without a loss scaler; the density of the
    embeddings is annealed linearly (because of a bug, the paper's runs kept embeddings dense at first; the authors
    found the difference to be small); by default there are no positions, as in most of the paper.

    Args:
        domain: inputs and outputs (`data.domain`); the classes are the tokens.
        width: d.
        layers: number of layers L.
        head_width: channels per attention head.
        expansion: neurons per channel, m / d.
        sparsity: densities of weights and activations, see `zoo.circuits.network.options.Sparsity`.
        bigram: add a dense table of logits, so that circuits need not represent bigram statistics.
        sink: give each head a learned logit that enters its softmax and has no value.
        positions: position channels or embeddings, see `zoo.circuits.network.options.Positions`; by default none.
        recipe: see `zoo.training.recipe.Recipe`; the only parameter group is `network`.

    Raises:
        ValueError: sizes that do not match, or a density too small for `sparsity.alive` non-zeros in each neuron.
    """

    default_recipe = RECIPE
    weighs_classes = False
    adjustable = ("circuit",)
    means: Tensor
    gathered: Tensor
    averaged: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 512,
        layers: int = 8,
        head_width: int = 16,
        expansion: int = 4,
        sparsity: Sparsity | None = None,
        bigram: bool = True,
        sink: bool = True,
        positions: Positions | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        sparsity = parse_options(Sparsity, sparsity, "sparsity")
        positions = None if positions is None else parse_options(Positions, positions, "positions")
        self.keep_arguments(locals())
        check_sizes(width, layers, head_width, expansion)
        self.sparsity = sparsity
        self.density, self.embedding_density = sparsity.densities(width)
        self.network = SparseNetwork(
            len(self.domain.classes),
            self.domain.shape[0],
            width,
            layers,
            head_width,
            expansion * width,
            sparsity,
            bigram,
            sink,
            positions,
        )
        self._check_budgets()
        self.writes = ResidualWrites(self.network)
        self.nats = Nats()
        self.register_buffer("means", torch.zeros(layers, self.network.layout.nodes))
        self.register_buffer("gathered", torch.zeros(layers, width))
        self.register_buffer("averaged", torch.tensor(False))

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given = fold_options(super().upgrade_arguments(arguments), GROUPED)
        width = given.pop("position_width", Positions.width)
        if isinstance(given.get("positions"), str):
            given["positions"] = {"kind": given["positions"], "width": width}
        return given

    def _check_budgets(self) -> None:
        for sparse in self.sparse_parameters():
            keep = sparse.budget((self.density, self.embedding_density)).keep
            neurons = sparse.weight.shape[sparse.axis] if sparse.alive else 0
            if sparse.alive * neurons > keep:
                raise ValueError(
                    f"a density of {self.density:.4g} keeps {keep} of the {sparse.weight.numel()} entries of a matrix, "
                    f"but alive={sparse.alive} for each of its {neurons} neurons requires {sparse.alive * neurons}; "
                    "increase sparsity.density or decrease sparsity.alive."
                )

    def sparse_parameters(self) -> list[SparseParameter]:
        """The parameters that are kept sparse."""
        net, found = self.network, []
        for block in net.blocks:
            for linear, axis in ((block.qkv, 0), (block.out, 1), (block.up, 0), (block.down, 1)):
                alive = min(self.sparsity.alive, linear.weight.shape[1 - axis])
                found.append(SparseParameter(linear.weight, alive=alive, axis=axis))
                if self.sparsity.biases:
                    found.append(SparseParameter(linear.bias[None], embedding=True))
        found += [SparseParameter(w, embedding=True) for w in (net.embedding.weight, net.unembedding.weight)]
        if net.positions is not None and not net.channels:  # channels are dense
            found.append(SparseParameter(net.positions))
        return found

    # Training

    def configure_optimizers(self) -> SparseAdam:
        group = {"name": "network", "params": list(self.network.parameters()), "lr": 0.0}
        decay = by_group(self.recipe.weight_decay or 0.0, ["network"], "weight_decay", 0.0)["network"]
        exempt = [] if self.network.bigram is None else [self.network.bigram]
        return SparseAdam([group | {"weight_decay": decay}], self.sparse_parameters(), exempt)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """Density and learning rate over the recipe; the anneal ends with the last stage that has `anneal`."""
        training = [stage for stage in self.stages if stage.trained]
        epochs, end = sum(stage.epochs for stage in training), 0
        for i, stage in enumerate(training):
            if stage.anneal:
                end = sum(s.epochs for s in training[: i + 1])
        densities, power = (self.density, self.embedding_density), self.sparsity.power
        return Schedule(steps_per_epoch * epochs, *densities, end=end / epochs, power=power)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        SparseAdam.of(self.trainer).schedule = self.schedule(steps_per_epoch(self.trainer))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        SparseAdam.of(self.trainer).step_index = self.global_step

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens = batch["input"]
        logits = self.network.logits(evidence.state["residual"], tokens)
        return {"language": language_loss(logits, tokens, batch["target"])}

    @torch.no_grad()
    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats.record(split, self.losses(scores, evidence, batch)["language"], len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}

    @action
    def average(self, projection_set: ProjectionSet) -> None:
        """Measures the mean of every node, and of what attention gathers, over all training windows."""
        total = torch.zeros_like(self.means, dtype=torch.float64)
        gathered, count = torch.zeros_like(self.gathered, dtype=torch.float64), total.new_zeros(())
        for batch in projection_set:
            tokens = batch["input"]
            trace = self.network.trace(record=True)
            self.network(tokens, trace, torch.zeros_like(tokens[:, 0]))
            real = (tokens != PAD)[..., None]
            for (layer, site), value in trace.values.items():
                place = gathered[layer] if site == "gathered" else total[layer, self.network.layout.part(site)]
                place += (value * real).sum((0, 1)).double()
            count += real.sum()
        count = projection_set.total(count)
        self.means.copy_(projection_set.total(total) / count)
        self.gathered.copy_(projection_set.total(gathered) / count)
        self.averaged.fill_(True)

    def require_means(self) -> None:
        """Checks that the means of the nodes were measured.

        Raises:
            RuntimeError: they were not.
        """
        if not bool(self.averaged):
            raise RuntimeError(
                "this model has no measured node means, which a circuit needs; train with the action {name: average} "
                "in the recipe."
            )

    # Contract

    def evidence(self, x: Tensor) -> Evidence:
        return self.writes.evidence(x)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.writes.readout(evidence)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.writes.attribute(evidence, target)

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        return self.writes.attribute_mean(evidence)

    def slopes(self, evidence: Evidence) -> None:
        """None, because (B, K, V) numbers would be too many."""

    def units(self) -> tuple[Unit, ...]:
        return self.writes.units()

    def edges(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The weights of the circuit that is explained, between columns of the activation; None without a circuit."""
        return self.writes.edges(evidence)

    @contextmanager
    def adjusted(self, **options: Any) -> Iterator[None]:
        """Ablates everything outside the given `circuit` (a `Circuit`) in this context."""
        with self.writes.within(options.get("circuit")):
            yield
