"""SIC: similarity to support images, on a B-cos network.

Wolf, Kavak, Bongratz, Wachinger: "SIC: Similarity-Based Interpretable Image Classification with Neural Networks",
ICCV 2025, arXiv 2501.17328.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.bcos_layers import bcos_layers, with_inverse
from zoo.networks.bcosify import bcosify, copy_bcosified
from zoo.networks.dynamic_linear import Gate, HeldConv, Kept
from zoo.networks.dynamic_network import Chain
from zoo.networks.dynamic_pools import AveragePool
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.class_draws import draws_of
from zoo.prototypes.layers.image_bank import ImageBank
from zoo.prototypes.layers.image_input import require_images
from zoo.prototypes.layers.reduction import Reduction
from zoo.prototypes.layers.selection import EMPTY, choose, require_every_class
from zoo.prototypes.layers.similarity import bcos_similarity
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import one_against_others
from zoo.utils.checks import check_above, check_at_least

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=20, train=("backbone", "projection")),
        Stage("decay", epochs=30, train=("backbone", "projection"), decay_every=5, decay=0.5),
        Stage("gather"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
TINY = 1e-12


@register(
    "sic",
    modality="image",
    paper="Wolf et al., ICCV 2025",
    small=Small(
        {"widths": [6, 8], "dim": 6, "supports": 2, "patch": 4, "temperature": 0.1, "thumbnail": 8, "backbone": None},
        variants={"converted": Small({"backbone": {"name": "convnet", "widths": [6, 8], "pool": [0]}})},
    ),
)
class SIC(SelfInterpretable):
    """Scores classes by the similarity of the image to a few support images of the class; exact maps of pixels.

        u = [x, 1 - x]                               (B, 2 C', H, W)     x in [0, 1]
        z = ReLU(B-cos linear(mean of the cells of B-cos network(u)))   (B, D)
        s_q                                          (D,)                 z of Q training images of each class
        g_q = cos(z, s_q)² |z|                                            a B-cos unit with the weights s_q / |s_q|
        score_c = -log(C - 1) + 1 / T Σ_{q of class c} g_q

        loss = binary cross-entropy of each class against all others

    Contributions are at least 0, and those of Q units. With the factors |cos| of an input held, each similarity is one
    linear map of the pixels, g_q = Σ_pixels W_q(x) u, see `zoo.networks.dynamic_linear`. The support of a unit is this
    map where it is positive, over patches of `patch` x `patch` pixels; `details` give what pixels contribute "for" and
    "against" its similarity, (B, K) each, which add up to it.

    In training, Q images of each class are drawn at each step and pass through the network with the batch. The action
    `gather` then takes Q medoids of each class, as all validations do. With `drawn_from`, images that do not look like
    their class are neither drawn nor chosen. With `backbone`, an ordinary network is B-cosified, see
    `zoo.networks.bcosify`, and u is [x', -x'] with x' the image as that network reads it; a teacher of the recipe
    (`start: true`) gives the weights.

    Differs from the published code: supports are medoids by the cosine, of which the similarity is a function (there:
    the images nearest to the centres of k-means with random starts); images of all classes are drawn (there: or of
    some); half precision of stored vectors; no warm-up of the learning rate; maps by an explicit transpose of the held
    layers (there: autograd, one unit of one image at a time); `drawn_from`; of B-cosified networks biases are left out.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        supports: Q, images of each class, published 3.
        dim: D, published 128; None for the channels of the network, without the projection in front of the ReLU.
        widths: channels of the 3 x 3 B-cos convolutions, each of stride 2, of a network from scratch.
        backbone: in place of `widths`, a network to B-cosify, see `zoo.networks.image_backbones.create_backbone`.
        b: the exponent of all B-cos layers below the similarity, published 2.
        temperature: T, published 10; features are as large as T, or scores will be too small to learn.
        drawn_from: images of each class that training and `gather` take supports from, those nearest to the mean of
            their class after the last epoch; None for all, as published.
        patch: side in pixels of the patches of supports.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, projection.

    Raises:
        ValueError: a number out of range, fewer than two classes, inputs that are not images, or a backbone that cannot
            be B-cosified.
    """

    default_recipe = RECIPE
    tasks = ("classification",)
    domain: ImageDomain

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        supports: int = 3,
        dim: int | None = 128,
        widths: Sequence[int] = (32, 64, 128),
        backbone: str | dict[str, Any] | None = None,
        b: float = 2.0,
        temperature: float = 10.0,
        drawn_from: int | None = None,
        patch: int = 4,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "SIC")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, supports=supports, dim=1 if dim is None else dim, b=b, patch=patch)
        if drawn_from is not None and drawn_from < supports:
            raise ValueError(f"drawn_from must be at least {supports}, the supports of each class; got {drawn_from}.")
        check_above(0, temperature=temperature)
        self.temperature, self.converted = temperature, backbone is not None
        if backbone is None:
            self.backbone, channels = bcos_layers(2 * domain.channels, widths, [2] * len(widths), b, 1), widths[-1]
        else:
            network = create_backbone(backbone, domain.channels)
            self.backbone, channels = bcosify(network.network, b, False), network.channels
        grid = self.backbone.measure(domain.size)
        self.pool = AveragePool(grid, grid)
        self.projection = Chain([] if dim is None else [HeldConv(nn.Conv2d(channels, dim, 1).weight.detach(), b)])
        self.rectifier, self.b, dim = Gate(F.relu), b, dim or channels
        Chain([self.pool, self.projection, self.rectifier]).measure(grid)
        self.bank = ImageBank(domain, supports, dim, (1, 1), Reduction(), thumbnail)
        self.bias = -math.log(max(len(domain.classes) - 1, 2))
        self.patch = patch
        self.drawn_from = drawn_from
        self.typical: Tensor | None = None  # numbers of the images that training draws from
        self.draws: Iterator[Tensor] | None = None  # of an epoch of training
        self.drawn: Tensor | None = None  # (C Q, C', H, W) of a step of it

    # The computation

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor, Kept]:
        """What the network reads of images (B, 2 C', H, W), the vectors z (B, D), and what the layers hold."""
        u = with_inverse(x, None if self.converted else self.domain)
        z, kept = self._network().hold(u)
        return u, z.flatten(1), kept

    def _network(self) -> Chain:
        return Chain([self.backbone, self.pool, self.projection, self.rectifier])

    def evidence(self, x: Tensor) -> Evidence:
        if self.training and self.drawn is not None:
            _, both, _ = self.latent(torch.cat([x, self.drawn.to(x)]))
            z, supports = both[: len(x)], both[len(x) :]
            return Evidence(bcos_similarity(z, supports)[0])
        u, z, kept = self.latent(x)
        supports = self.bank.patches[:, 0].to(z)
        activation, factor = bcos_similarity(z, supports)
        if not self.places_wanted:
            return Evidence(activation)
        maps = torch.einsum("bdhw,qd->bqhw", self._latent_maps(u, kept), F.normalize(supports, dim=1))
        maps = maps * factor[:, :, None, None]
        positive = maps.clamp_min(0)
        support = positive / positive.flatten(2).amax(2).clamp_min(TINY)[:, :, None, None]
        return Evidence(activation, support, {"for": positive.sum((2, 3)), "against": (maps - positive).sum((2, 3))})

    def _latent_maps(self, u: Tensor, kept: Kept) -> Tensor:
        """What each patch of pixels contributes to each of the D latent numbers, (B, D, h, w)."""
        each = torch.eye(self.bank.patches.shape[2]).to(u)
        return torch.stack([self._map(one.expand(u.shape[0], -1), u, kept) for one in each], 1)

    def _map(self, towards: Tensor, u: Tensor, kept: Kept) -> Tensor:
        """What each patch of pixels contributes to a combination (B, D) of the latent numbers, (B, h, w)."""
        weights, _ = self._network().transpose(towards[:, :, None, None], kept)
        return F.avg_pool2d((weights * u).sum(1), self.patch, ceil_mode=True, divisor_override=1)

    def heat(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, h, w) the map of the similarities to the supports of `target` (B,) where it is positive, with gradients.

        In training these are the images that were drawn, which the gradients leave as they are.
        """
        u, z, kept = self.latent(x)
        with torch.no_grad():
            known = self.bank.patches[:, 0].to(z) if self.drawn is None else self.latent(self.drawn.to(x))[1]
        supports = F.normalize(known, dim=1).unflatten(0, (len(self.domain.classes), -1))[target]  # (B, Q, D)
        towards = torch.einsum("bq,bqd->bd", bcos_similarity(z, supports)[1], supports)
        return self._map(towards, u, kept).clamp_min(0) / self.temperature

    # Scores

    def readout(self, evidence: Evidence) -> Tensor:
        return self.bank.class_sums(evidence.activation) / self.temperature + self.bias

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions, bias = self.bank.contributions(evidence.activation, target)
        return contributions / self.temperature, bias + self.bias

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        contributions, bias = self.bank.mean_contributions(evidence.activation)
        return contributions / self.temperature, bias + self.bias

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.bank.slopes(evidence.activation) / self.temperature

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {name: evidence.state[name] for name in ("for", "against") if name in evidence.state}

    def units(self) -> tuple[Unit, ...]:
        return tuple(
            replace(unit, source={**unit.source, "support": "contributions"}) for unit in self.bank.units("prototype")
        )

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": one_against_others(scores, batch["target"], batch.get("class_weights"))}

    # Recipe

    def copy_teacher(self, teacher: nn.Module) -> None:
        """Takes the weights of an ordinary network of the same backbone.

        Args:
            teacher: a `zoo.training.black_box_file.Network`.

        Raises:
            ValueError: it has another backbone, or this network is not a B-cosified one.
        """
        if not self.converted:
            raise ValueError("teacher.start gives the weights of an ordinary network; SIC needs the same `backbone`.")
        copy_bcosified(self.backbone, teacher, self.b, False, "SIC")

    def check_class_sizes(self, images: Tensor) -> None:
        require_every_class(images > 0, self.domain.classes)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.stage is None or not self.stage.trained:
            return
        found = ProjectionSet.of(self.trainer, self.device, "")
        if self.drawn_from is not None and self.typical is None and self.current_epoch:
            self.gather(found)  # a run that is resumed has not validated yet
        count = self.bank.per_class
        self.draws = draws_of(found, len(self.domain.classes), count, torch.initial_seed(), self.typical)
        self.typical = None
        self.bank.provenance.index.fill_(EMPTY)  # training changes what the stored vectors were computed by

    def on_train_epoch_end(self) -> None:
        self.draws = None  # a model with a running data loader cannot be copied

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.drawn = None if self.draws is None else next(self.draws)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.drawn = None

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self.stage is not None and self.stage.trained and not self.trainer.sanity_checking:
            self.gather(ProjectionSet.of(self.trainer, self.device, ""))

    def require_ready(self) -> None:
        self.bank.require_filled("SIC")

    def check_recipe(self) -> None:
        last = max((i for i, stage in enumerate(self.stages) if stage.trained), default=-1)
        if not any(stage.name == "gather" for stage in self.stages[last + 1 :]):
            raise ValueError(
                "SIC compares with support images, but this recipe does not choose them after its last stage that "
                "trains; add {name: gather} and {name: measure, epochs: 1, train: []}."
            )

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Chooses the support images of each class among the training images, and stores their vectors."""
        vectors, targets = [], []
        for batch in projection_set:
            vectors.append(self.latent(batch["input"])[1].float())
            targets.append(batch["target"])
        pooled, target = (projection_set.gather(torch.cat(rows)) for rows in (vectors, targets))
        classes, kept = self.domain.classes, torch.arange(len(pooled), device=pooled.device)
        if self.drawn_from is not None:
            kept = choose(pooled, target, classes, self.drawn_from, "nearest").flatten()
            self.typical = kept = kept[kept != EMPTY]
        rows = choose(pooled[kept], target[kept], classes, self.bank.per_class, "medoids")
        rows = torch.where(rows == EMPTY, EMPTY, kept[rows])
        for _ in self.bank.fill(rows, projection_set, lambda x: self.latent(x)[1], lambda z: z[:, None]):
            pass
