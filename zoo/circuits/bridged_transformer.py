"""Sparse transformers that are trained together with bridges to a dense one, and so explain the dense one.

Gao et al.: "Weight-sparse transformers have interpretable circuits", arXiv 2511.13653, 2025, section 2.3.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.bridge_losses import bridge_losses, scaled_linear, stream_ratios
from zoo.circuits.network.dense_reference import find_reference, load_network
from zoo.circuits.network.optimizer import SparseAdam
from zoo.circuits.network.schedule import steps_per_epoch
from zoo.circuits.network.transformer import SparseNetwork
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.errors import did_you_mean, outside_checkpoint
from zoo.utils.modules import TypedModuleList

GROUPS = ("sparse", "encoders", "decoders")
RECIPE = Recipe(
    stages=(
        Stage("anneal", epochs=10, train=GROUPS, anneal=True),
        Stage("sparse", epochs=10, train=GROUPS),
        Stage("average"),
        Stage("measure", epochs=1, train=()),
    ),
    lr={"sparse": 1.28e-2, "encoders": 2e-4, "decoders": 5e-2},  # in proportion to the sizes of their outputs
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
                "sparsity": {"density": 1.0, "activation_density": 1.0},
                "weights": None,
            },
            "sparse": {"width": 32, "layers": 2, "head_width": 8, "sparsity": {"density": 0.25}},
        }
    ),
)
class BridgedTransformer(SelfInterpretable):
    """A sparse transformer trained from scratch, with bridges to the residual stream of a frozen dense transformer.

    There is a bridge at each of the 2 L sites i, before every attention and every MLP (section 2.3, appendix A.3):

        f_i(h) = AbsTopK(A_i h + a_i)      encoder, dense stream (T, d_dense) -> sparse stream (T, d)
        g_i(h) = B_i h + b_i               decoder, sparse stream -> dense stream

    There are five losses, where h^d_i and h^s_i are the streams of the dense and the sparse network, p^d the prediction
    of the dense network, and S_i(h), D_i(h) the predictions of the sparse and the dense network run from site i on with
    the stream h:

        language               mean cross-entropy of all next tokens in the sparse network
        nmse_dense_to_sparse   Σ_i NMSE(f_i(h^d_i), h^s_i)      NMSE(e, t) = E |e - t|² / E |t - E t|²
        nmse_sparse_to_dense   Σ_i NMSE(g_i(h^s_i), h^d_i)
        kl_dense_to_sparse     Σ_i KL(p^d || S_i(f_i(h^d_i)))
        kl_sparse_to_dense     Σ_i KL(p^d || D_i(g_i(h^s_i)))

    Expectations are over tokens; entropies are in nats. One change of network per term is the paper's first-order
    approximation of all 2^L ways to combine the networks. Gradients reach the sparse network and the bridges, also
    through the dense network, whose weights are frozen. Scores, units and contributions are those of `sparse`, a
    complete `SparseTransformer` that can be pruned and saved on its own; `dense` is the other network.

    Differs from the paper, which specifies neither the normalisation of NMSE nor the weights of the losses: here the
    normalisation is the variance of the target over the batch, without gradient, and all weights are 1 by default. With
    `sites_per_step`, the KL terms of a training step use that many random sites, scaled by 2 L / sites_per_step, an
    unbiased estimate that limits memory and time. Bridges are trained by the same `SparseAdam` but are dense and do not
    decay. Gradients are normalised in each parameter group separately: those of untrained bridges are thousands of
    times larger, and joint normalisation would reduce those of the sparse network below Adam's epsilon. Bridges are
    initialised to the ratio of the sizes of both streams, and their learning rates match it: the stream of an untrained
    sparse network is a hundred times smaller than that of a trained one, and an encoder with too large an output drives
    it to zero.

    Args:
        domain: inputs and outputs (`data.domain`); the classes are the tokens.
        dense: the frozen network, as the checkpoint folder of a `sparse_transformer` of density 1 trained on the same
            tokens; or its arguments and `weights`: such a folder, a safetensors file, or None for random weights. Its
            weights are part of this model's checkpoint.
        sparse: arguments of the `SparseTransformer`; it needs as many layers as the dense network.
        encoder_density: share of entries that the AbsTopK of an encoder keeps; by default the `activation_density` of
            the sparse network.
        sites_per_step: number of sites of the KL terms in a training step; None for all.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: sparse, encoders, decoders. By default only the
            weights of the sparse network decay.

    Raises:
        ValueError: networks of different numbers of layers, or invalid arguments of one of them.
        FileNotFoundError: the dense network does not exist.
    """

    default_recipe = RECIPE
    weighs_classes = False
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
        self.dense = self._build_dense(dense).requires_grad_(False)
        self.sparse = SparseTransformer(
            self.domain, **network_arguments(sparse or {}, "sparse"), recipe=Recipe(stages=self.stages)
        )
        ours, theirs = self.sparse.network.layout, self.dense.layout
        if ours.layers != theirs.layers:
            raise ValueError(
                f"bridges require networks of the same number of layers; the sparse network has {ours.layers}, the "
                f"dense one {theirs.layers}. Give sparse: {{layers: {theirs.layers}}}."
            )
        self.sites = 2 * ours.layers
        share = self.sparse.sparsity.activation_density if encoder_density is None else encoder_density
        if not 0 < share <= 1:
            raise ValueError(f"encoder_density must be in (0, 1]; got {share}.")
        if sites_per_step is not None and not 1 <= sites_per_step <= self.sites:
            raise ValueError(f"sites_per_step must be from 1 to the {self.sites} sites; got {sites_per_step}.")
        self.kept, self.sites_per_step = max(1, int(share * ours.width)), sites_per_step
        tokens = self.domain.example(8, torch.Generator().manual_seed(0))
        ratios = stream_ratios(self.sparse.network, self.dense, tokens)
        self.encoders = TypedModuleList([scaled_linear(theirs.width, ours.width, ratio) for ratio in ratios])
        self.decoders = TypedModuleList([scaled_linear(ours.width, theirs.width, 1 / ratio) for ratio in ratios])

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given = super().upgrade_arguments(arguments)
        nested = {name: given[name] for name in ("dense", "sparse") if isinstance(given.get(name), Mapping)}
        return {**given, **{name: SparseTransformer.upgrade_arguments(value) for name, value in nested.items()}}

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        dense = arguments.get("dense")
        if isinstance(dense, str):
            raise outside_checkpoint("dense", dense)
        offline = super().offline_arguments(arguments)
        return {**offline, "dense": {**dense, "weights": None}} if isinstance(dense, Mapping) else offline

    def _build_dense(self, dense: str | dict[str, Any]) -> SparseNetwork:
        """Builds the dense network and keeps its arguments, so that a checkpoint of this model needs no other file."""
        arguments, weights = find_reference(dense, self.domain)
        if isinstance(dense, str):
            arguments = SparseTransformer.upgrade_arguments(arguments)
        elif "weights" not in dense:
            raise ValueError(
                "the dense model has arguments but no weights; add 'weights' (a checkpoint folder or a safetensors "
                "file), or give the folder instead of the arguments."
            )
        self.hparams["dense"] = arguments
        network = SparseTransformer(self.domain, **network_arguments(arguments, "dense")).network
        if weights is not None:
            load_network(network, weights)
        return network

    def encode(self, site: int, stream: Tensor) -> Tensor:
        """f_i: maps the dense stream (B, T, d_dense) of a site to a sparse one (B, T, d)."""
        return abs_topk(self.encoders[site](stream), self.kept)

    def decode(self, site: int, stream: Tensor) -> Tensor:
        """g_i: maps the sparse stream (B, T, d) of a site to a dense one (B, T, d_dense)."""
        return self.decoders[site](stream)

    # Training

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        """The parameter groups by name, without the dense network."""
        return {name: group for name, group in super().groups().items() if name != "dense"}

    def configure_optimizers(self) -> SparseAdam:
        keys, plain = ("name", "params", "lr", "weight_decay"), super().configure_optimizers()
        groups = [{key: group[key] for key in keys} for group in plain.param_groups]
        bigram = self.sparse.network.bigram
        return SparseAdam(groups, self.sparse.sparse_parameters(), [] if bigram is None else [bigram])

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        SparseAdam.of(self.trainer).schedule = self.sparse.schedule(steps_per_epoch(self.trainer))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        SparseAdam.of(self.trainer).step_index = self.global_step

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens, networks = batch["input"], (self.sparse.network, self.dense)
        terms, final = bridge_losses(*networks, self.encode, self.decode, tokens, self.sites_of_step())
        return {**self.sparse.losses(scores, replace(evidence, state={"residual": final}), batch), **terms}

    def sites_of_step(self) -> list[int]:
        """Sites of the KL terms, in order: all, or `sites_per_step` random ones while training."""
        if self.sites_per_step is None or not self.training:
            return list(range(self.sites))
        return sorted(torch.randperm(self.sites)[: self.sites_per_step].tolist())

    @torch.no_grad()
    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        loss = self.sparse.losses(scores, evidence, batch)["language"]
        nats = self.sparse.nats.record(split, loss, len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}

    @action
    def average(self, projection_set: ProjectionSet) -> None:
        """Measures the node means of the sparse network over all training windows, see `SparseTransformer`."""
        self.sparse.average(projection_set)

    # Contract: that of the sparse network

    def evidence(self, x: Tensor) -> Evidence:
        return self.sparse.evidence(x)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.sparse.readout(evidence)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.sparse.attribute(evidence, target)

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        return self.sparse.attribute_mean(evidence)

    def slopes(self, evidence: Evidence) -> None:
        """None, because (B, K, V) numbers would be too many."""

    def units(self) -> tuple[Unit, ...]:
        return self.sparse.units()

    @contextmanager
    def adjusted(self, **options: Any) -> Iterator[None]:
        """Ablates everything outside the given `circuit` of the sparse network in this context."""
        with self.sparse.adjusted(**options):
            yield


def network_arguments(given: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Checks that a mapping holds only arguments of `SparseTransformer` that describe its network.

    Args:
        given: the mapping.
        argument: name of the constructor's argument, for error messages.

    Raises:
        ValueError: an unknown key.
    """
    known = [name for name in inspect.signature(SparseTransformer).parameters if name not in ("domain", "recipe")]
    for name in given:
        if name not in known:
            raise ValueError(f"'{argument}' has no key '{name}'; {did_you_mean(name, known)}")
    return dict(given)
