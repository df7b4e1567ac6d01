"""Weight-sparse transformers, whose few weights make circuits that can be read.

Gao et al.: "Weight-sparse transformers have interpretable circuits", 2025, arXiv 2511.13653.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from zoo.circuits.network.optimizer import Schedule, Sparse, SparseAdam
from zoo.circuits.network.residual_writes import Writing
from zoo.circuits.network.transformer import SparseNetwork
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe, by_group
from zoo.training.stages import Stage

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
BASE = 256  # the width at which embeddings are as dense as blocks; wider ones are denser in proportion


@register(
    "sparse_transformer",
    modality="code",
    paper="Gao et al., arXiv 2511.13653, 2025",
    small=Small(
        {"width": 32, "layers": 2, "head_width": 8, "density": 0.25},
        variants={
            "plain": Small({"bigram": False, "sink": False, "positions": "sinusoid"}),
            "dense": Small({"density": 1.0, "activation_density": 1.0}),
        },
    ),
)
class SparseTransformer(Writing, SelfInterpretable):
    """Predicts the next token of a prompt; every unit is a write to the residual stream at the prompt's last token.

        h = E[token] + Σ_layers g ∘ (W_out y + b_out) + g' ∘ (W_down n + b_down)      residual stream (d,)
        score = W_U (γ ∘ h / rms(h)) + bigram[token]                                   (V,)

    with y (d,) the values that attention gathered, n (m,) the neurons and g, g' (d,) the gates of AbsTopK. Units are
    the channels of y and the neurons of every layer, the biases of each write, the token's embedding and its row of
    the bigram table. Their contributions are exact for the gates and the scale 1 / rms(h) of this prompt, which an
    intervention holds: removing a unit moves the score by its contribution.

    Every matrix keeps `density` of its entries, projected after each step (`SparseAdam`). A density of 1 with
    `activation_density` 1 is the dense twin.

    Training: mean cross-entropy of all next tokens (nats), of windows of T tokens and the one after. By the
    end of the recipe's stage with `anneal` the density has fallen from 1 to its target; the action `average` measures the mean of
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
        recipe: see `zoo.training.recipe.Recipe`; the only group is `network`.

    Raises:
        ValueError: sizes that do not fit each other, or a density that cannot hold `alive` non-zeros for each neuron.
    """

    default_recipe = RECIPE

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
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
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
        decay = by_group(self.recipe.weight_decay or 0.0, ["network"], "weight_decay", 0.0)["network"]
        exempt = [] if self.network.bigram is None else [self.network.bigram]
        return SparseAdam([group | {"weight_decay": decay}], self.sparse_parameters(), exempt)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """Density and learning rate over the recipe: the anneal ends with the last stage that has `anneal`."""
        training = [stage for stage in self.stages if stage.trained]
        epochs, end = sum(stage.epochs for stage in training), 0
        for i, stage in enumerate(training):
            if stage.anneal:
                end = sum(s.epochs for s in training[: i + 1])
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

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats[f"{split}_nats"]
        nats.update(self.losses(scores, evidence, batch)["language"].detach(), len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}  # pyright: ignore[reportReturnType]

    @action
    def average(self, projection_set: ProjectionSet) -> None:
        """Measures the mean of every node, and of what attention gathers, over all training windows."""
        total = torch.zeros_like(self.means, dtype=torch.float64)
        gathered, count = torch.zeros_like(self.gathered, dtype=torch.float64), total.new_zeros(())
        for batch in projection_set:
            tokens = batch["input"]
            visit = self.network.visit(record=True)
            self.network(tokens, visit, torch.zeros_like(tokens[:, 0]))
            real = (tokens != PAD)[..., None]
            for (layer, site), value in visit.values.items():
                place = gathered[layer] if site == "gathered" else total[layer, self.network.layout.part(site)]
                place += (value * real).sum((0, 1)).double()
            count += real.sum()
        everything = projection_set.total(count)
        self.means.copy_(projection_set.total(total) / everything)
        self.gathered.copy_(projection_set.total(gathered) / everything)
        self.averaged.fill_(True)
