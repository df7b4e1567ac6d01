"""Sparse transformers that are trained beside a dense one and bridged to it, so that they explain the dense one.

Gao et al.: "Weight-sparse transformers have interpretable circuits", 2025, arXiv 2511.13653, section 2.3.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.bridge_losses import divergence, log_probabilities, nmse, splice, streams
from zoo.circuits.network.dense_reference import arguments, read_twin
from zoo.circuits.network.optimizer import SparseAdam
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.errors import outside_checkpoint

GROUPS = ("sparse", "encoders", "decoders")
RECIPE = Recipe(
    stages=(
        Stage("anneal", epochs=10, train=GROUPS, anneal=True),
        Stage("sparse", epochs=10, train=GROUPS),
        Stage("average"),
        Stage("measure", epochs=1, train=()),
    ),
    lr={"sparse": 1.28e-2, "encoders": 2e-4, "decoders": 5e-2},  # as the sizes of what they make differ
    weight_decay={"sparse": 0.1},
    optimizer="adam",
    coefficients={
        "language": 1.0,
        "nmse_dense_to_sparse": 1.0,
        "nmse_sparse_to_dense": 1.0,
        "kl_dense_to_sparse": 1.0,
        "kl_sparse_to_dense": 1.0,
    },
)


@register(
    "bridged_transformer",
    modality="code",
    paper="Gao et al., arXiv 2511.13653, 2025",
    small=Small(
        {
            "dense": {
                "width": 16,
                "layers": 2,
                "head_width": 8,
                "density": 1.0,
                "activation_density": 1.0,
                "weights": None,
            },
            "sparse": {"width": 32, "layers": 2, "head_width": 8, "density": 0.25},
        }
    ),
)
class BridgedTransformer(SelfInterpretable):
    """A sparse transformer trained from scratch beside a frozen dense one, with bridges between their residual streams.

    There is a bridge at each of the 2 L sites i, before every attention and every MLP (section 2.3, appendix A.3):

        f_i(h) = AbsTopK(A_i h + a_i)      encoder, dense stream (T, d_dense) -> sparse stream (T, d)
        g_i(h) = B_i h + b_i               decoder, sparse stream -> dense stream

    and five losses, all with coefficient 1 unless told otherwise, where h^d_i and h^s_i are the streams of the two
    networks, p^d is what the dense one predicts, and S_i(h), D_i(h) are the predictions of the sparse and of the dense
    network that is run from site i on, given h:

        language               mean cross-entropy of all next tokens in the sparse network
        nmse_dense_to_sparse   sum_i NMSE(f_i(h^d_i), h^s_i)      NMSE(e, t) = E |e - t|^2 / E |t - E t|^2
        nmse_sparse_to_dense   sum_i NMSE(g_i(h^s_i), h^d_i)
        kl_dense_to_sparse     sum_i KL(p^d || S_i(f_i(h^d_i)))
        kl_sparse_to_dense     sum_i KL(p^d || D_i(g_i(h^s_i)))

    Expectations are over tokens, in nats where they are entropies. One switch of networks in each term is the paper's
    first-order stand-in for all 2^L ways to mix them. The gradient reaches sparse network and bridges, also through the
    dense network, but none of its weights. Scores, units and contributions are those of the sparse network, `sparse`,
    a whole `SparseTransformer` that may be pruned and saved by itself; `dense` is the other network.

    How this differs from the paper: it gives neither the normalisation of NMSE nor the weights of the losses; here the
    normalisation is the target's variance about its mean over the batch, without gradient, and all weights are 1. With
    `sites_per_step`, the KL terms of a training step are those of so many sites, drawn by the step's seed, times
    2 L / sites_per_step, which is unbiased and bounds memory and time. Bridges learn in the same SparseAdam as the
    sparse network but stay dense and do not decay, and the gradients of each group are normalised by themselves: those
    of untrained bridges are thousands of times larger, and would leave the sparse network none beside Adam's epsilon.
    They start at the ratio of both streams' sizes, and have learning rates to match: a young sparse network's stream is
    a hundred times smaller than a trained one's, and an encoder whose output overshoots it drives it to zero.

    Args:
        domain: what inputs and outputs mean (`data.domain`); the classes are the tokens.
        dense: the frozen network: folder of the checkpoint of a `sparse_transformer` of density 1 that was trained on
            the same tokens, or its arguments, and `weights` (such a folder, or a safetensors file). Its weights become
            part of this model's own, so that a checkpoint needs nothing else.
        sparse: arguments of the `SparseTransformer`; as many layers as the dense network has.
        encoder_density: share of entries that an encoder's AbsTopK keeps; by default the sparse network's
            activation_density.
        sites_per_step: how many sites the KL terms of a training step are taken at; None for all.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: sparse, encoders, decoders. By default only the
            weights of the sparse network decay.

    Raises:
        ValueError: networks of different numbers of layers, or what is wrong with their arguments.
        FileNotFoundError: no dense network where it should be.
    """

    default_recipe = RECIPE
    adjustable = SparseTransformer.adjustable

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        dense: str | dict[str, Any],
        sparse: dict[str, Any] | None = None,
        encoder_density: float | None = None,
        sites_per_step: int | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.dense, self.hparams["dense"] = read_twin(dense, self.domain)  # so that a checkpoint needs no file
        self.dense.requires_grad_(False)
        self.sparse = SparseTransformer(
            self.domain, **arguments(sparse or {}, "sparse"), recipe=Recipe(stages=self.stages)
        )
        ours, theirs = self.sparse.network.layout, self.dense.layout
        if ours.layers != theirs.layers:
            raise ValueError(
                f"bridges join networks of equally many layers; the sparse one has {ours.layers}, the dense one "
                f"{theirs.layers}. Give sparse: {{layers: {theirs.layers}}}."
            )
        self.sites = 2 * ours.layers
        share = self.sparse.hparams["activation_density"] if encoder_density is None else encoder_density
        if not 0 < share <= 1:
            raise ValueError(f"encoder_density must be in (0, 1]; got {share}.")
        if sites_per_step is not None and not 1 <= sites_per_step <= self.sites:
            raise ValueError(f"sites_per_step must be from 1 to the {self.sites} sites; got {sites_per_step}.")
        self.kept, self.sites_per_step = max(1, int(share * ours.width)), sites_per_step
        ratios = self._ratios()
        self.encoders = nn.ModuleList([_linear(theirs.width, ours.width, ratio) for ratio in ratios])
        self.decoders = nn.ModuleList([_linear(ours.width, theirs.width, 1 / ratio) for ratio in ratios])

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        dense = arguments.get("dense")
        if isinstance(dense, str):
            raise outside_checkpoint("dense", dense)
        offline = super().offline_arguments(arguments)
        return {**offline, "dense": {**dense, "weights": None}} if isinstance(dense, Mapping) else offline

    @torch.no_grad()
    def _ratios(self) -> list[float]:
        """Size of the sparse network's stream over that of the dense one at each site, on random tokens."""
        tokens = self.domain.example(8, torch.Generator().manual_seed(0))
        pairs = zip(streams(self.sparse.network, tokens), streams(self.dense, tokens), strict=True)
        sizes = [(ours.square().mean().sqrt(), theirs.square().mean().sqrt()) for ours, theirs in pairs]
        return [float(ours / theirs) for ours, theirs in sizes[: self.sites]]

    def encode(self, site: int, stream: Tensor) -> Tensor:
        """f_i: the dense stream (B, T, d_dense) of a site as a sparse one (B, T, d)."""
        return abs_topk(self.encoders[site](stream), self.kept)

    def decode(self, site: int, stream: Tensor) -> Tensor:
        """g_i: the sparse stream (B, T, d) of a site as a dense one (B, T, d_dense)."""
        return self.decoders[site](stream)

    # Training

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        """The parameter groups by name; the dense network is none."""
        return {name: group for name, group in super().groups().items() if name != "dense"}

    def configure_optimizers(self) -> SparseAdam:
        keys, plain = ("name", "params", "lr", "weight_decay"), super().configure_optimizers()
        groups = [{key: group[key] for key in keys} for group in plain.param_groups]
        bigram = self.sparse.network.bigram
        return SparseAdam(groups, self.sparse.sparse_parameters(), [] if bigram is None else [bigram])

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        each = -(-self.trainer.num_training_batches // self.trainer.accumulate_grad_batches)
        self.trainer.optimizers[0].schedule = self.sparse.schedule(int(each))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.trainer.optimizers[0].at = self.global_step

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens, net = batch["input"], self.sparse.network
        real = tokens != PAD
        ours = streams(net, tokens)
        with torch.no_grad():
            theirs = streams(self.dense, tokens)
            wanted = log_probabilities(self.dense, theirs[-1], tokens)
        encoded = [self.encode(i, theirs[i]) for i in range(self.sites)]
        decoded = [self.decode(i, ours[i]) for i in range(self.sites)]
        chosen = self.sites_of_step()
        to_sparse, to_dense = (splice(n, {i: h[i] for i in chosen}) for n, h in ((net, encoded), (self.dense, decoded)))
        into_sparse = [divergence(net, h, tokens, wanted) for h in to_sparse.values()]
        into_dense = [divergence(self.dense, h, tokens, wanted) for h in to_dense.values()]
        whole = self.sites / len(chosen)
        language = self.sparse.losses(scores, replace(evidence, state={"residual": ours[-1]}), batch)
        return {
            **language,
            "nmse_dense_to_sparse": torch.stack([nmse(encoded[i], ours[i], real) for i in range(self.sites)]).sum(),
            "nmse_sparse_to_dense": torch.stack([nmse(decoded[i], theirs[i], real) for i in range(self.sites)]).sum(),
            "kl_dense_to_sparse": torch.stack(into_sparse).sum() * whole,
            "kl_sparse_to_dense": torch.stack(into_dense).sum() * whole,
        }

    def sites_of_step(self) -> list[int]:
        """The sites at which networks are switched: all, or in training a draw of `sites_per_step`, in order."""
        if self.sites_per_step is None or not self.training:
            return list(range(self.sites))
        return sorted(torch.randperm(self.sites)[: self.sites_per_step].tolist())

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        return self.sparse.update_metrics(split, scores, evidence, batch)

    @action
    def average(self, projection_set: ProjectionSet) -> None:
        """Measures the mean of every node of the sparse network over all training windows, see `SparseTransformer`."""
        self.sparse.average(projection_set)

    # The contract: that of the sparse network

    def evidence(self, x: Tensor) -> Evidence:
        return self.sparse.evidence(x)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.sparse.readout(evidence)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.sparse.attribute(evidence, target)

    def slopes(self, evidence: Evidence) -> Tensor | None:
        return self.sparse.slopes(evidence)

    def units(self) -> tuple[Unit, ...]:
        return self.sparse.units()

    def adjusted(self, **options: Any) -> AbstractContextManager[None]:
        return self.sparse.adjusted(**options)


def _linear(inputs: int, outputs: int, ratio: float) -> nn.Linear:
    """A linear layer whose outputs are, to begin with, `ratio` times as large as its inputs."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=ratio / math.sqrt(inputs))
    nn.init.zeros_(linear.bias)
    return linear
