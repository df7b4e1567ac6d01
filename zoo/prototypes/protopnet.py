"""ProtoPNet: this looks like that.

Chen, Li, Tao, Barnett, Su, Rudin: "This Looks Like That: Deep Learning for Interpretable Image Recognition",
NeurIPS 2019, arXiv 1806.10574.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers import merging
from zoo.prototypes.layers.field_support import MapPooling, Places
from zoo.prototypes.layers.fine_annotation import fine_annotation
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.neighbour_classes import neighbours_of_own_class
from zoo.prototypes.layers.projection import require_enough_images
from zoo.prototypes.layers.prototype_layer import PrototypeLayer, create_addon, random_vectors
from zoo.prototypes.layers.similarity import find_similarity
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.options import parse_options

RECIPE = Recipe(
    stages=(
        Stage("warm", epochs=5, train=("addon", "prototypes")),
        Stage("joint", epochs=5, train=("backbone", "addon", "prototypes")),
        Stage("push"),
        Stage("last", epochs=20, train=("head",)),
        Stage(
            "joint",
            epochs=10,
            train=("backbone", "addon", "prototypes"),
            lr={"backbone": 1e-5, "addon": 3e-4, "prototypes": 3e-4},
            decay_every=5,
        ),
        Stage("push"),
        Stage("last", epochs=20, train=("head",)),
    ),
    lr={"backbone": 1e-4, "addon": 3e-3, "prototypes": 3e-3, "head": 1e-4},
    weight_decay={"backbone": 1e-3, "addon": 1e-3},
    optimizer="adam",
    coefficients={"cross_entropy": 1.0, "cluster": 0.8, "separation": 0.08, "l1": 1e-4, "fine_annotation": 0.0},
)


@register(
    "protopnet",
    modality="image",
    paper="Chen et al., NeurIPS 2019",
    small=Small(
        {"prototypes_per_class": 2, "dim": 6, "thumbnail": 16},
        scale={"addon.0.weight": 1.5, "addon.2.weight": 1.5},
        variants={"cosine": Small({"similarity": "cosine"})},
    ),
)
class ProtoPNet(SelfInterpretable):
    """Scores classes by how much patches of the image look like prototypical patches of training images.

        z = addon(backbone(x))                    (B, D, h, w)   two 1x1 convolutions, in [0, 1]
        d_j(cell) = |z(cell) - p_j|²              (B, P, h, w)   P = C·Q prototypes, Q for each class
        g_j = max over cells of log((d_j + 1) / (d_j + ε))       the activation, ε = 1e-4 (section 2.1)
        score_c = Σ_j W[c, j] g_j                                no bias; W starts at +1 own class, -0.5 others

        loss = cross-entropy + 0.8 cluster + 0.08 separation + 1e-4 l1
        cluster    = mean_i min over own-class j, cells of d_j     (section 2.2)
        separation = -mean_i min over other-class j, cells of d_j
        l1         = Σ |W[c, j]| over prototypes j of other classes (section 2.4)

    With the coefficient `fine_annotation` above 0 (IAIA-BL), activations outside of users' masks of what is
    relevant are a further loss, see `zoo.prototypes.layers.fine_annotation`. The data must have masks, of some images.

    Stages: warm → joint → push → last, the last three repeated as in the recipe. `push` replaces each prototype by the
    nearest patch of the training images of its class. `prune`, after a push, drops prototypes that share one source
    patch and adds their weights to the first of them, which leaves all scores unchanged. With `prune_nearest: 6` it is
    the published rule instead, which drops prototypes of background: those with fewer than `prune_below` images of
    their own class among the 6 training images with the nearest patches; train the head afterwards.

    Limits: the receptive field of a cell is larger than its box, so pixels outside the box can change an activation,
    except with `places: {support: field}`.

    Differs from the published code: one Adam keeps its moments through all stages (there: three optimizers); projection
    is one streaming pass over the images of the prototype's class; augmentation is online; maps are enlarged by the
    bicubic kernel of PyTorch (there: of OpenCV), and a picture shows a square around the box (there: the box). With
    `similarity="cosine"`, z and p have unit length, z has no sigmoid, and g_j = max over cells of z·p_j = 1 - d_j / 2.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        prototypes_per_class: Q.
        dim: D, channels of prototypes.
        similarity: "log" or "cosine".
        prune_nearest: training images that `prune` looks at for each prototype, published 6; None drops copies.
        prune_below: images of its own class that a prototype needs among them, published 3.
        thumbnail: side in pixels of the stored pictures of prototypes.
        places: see `zoo.prototypes.layers.field_support.Places`; published: the largest cell, and the map.
        connections: "all", or "own": classes have weights of their own prototypes only, at least 0, so that an
            explanation has at most Q units, all of them for the class (its reference is "zero": nothing cancels).
        merged: for each prototype the one that it was merged into, set by `merge_prototypes`.
        recipe: see `zoo.training.recipe.Recipe`, published by default; groups: backbone, addon, prototypes, head.

    Raises:
        ValueError: a number out of range, fewer than two classes, or inputs that are not images.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    former_names = PrototypeLayer.former_names
    domain: ImageDomain
    head: nn.Linear
    own: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        prototypes_per_class: int = 10,
        dim: int = 128,
        similarity: str = "log",
        prune_nearest: int | None = None,
        prune_below: int = 3,
        thumbnail: int = 64,
        places: Places | None = None,
        connections: str = "all",
        merged: list[int] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "ProtoPNet")
        check_at_least(1, prototypes_per_class=prototypes_per_class, dim=dim, thumbnail=thumbnail)
        check_at_least(1, prune_nearest=prune_nearest or 1, prune_below=prune_below)
        check_choice(("all", "own"), connections=connections)
        super().__init__(domain, recipe)
        places = parse_options(Places, places, "places")
        self.keep_arguments(locals())
        self.prune_nearest, self.prune_below, self.connections = prune_nearest, prune_below, connections
        self.reference = "zero" if connections == "own" else type(self).reference
        classes, self.per_class = len(domain.classes), prototypes_per_class
        count, kind = classes * prototypes_per_class, find_similarity(similarity)
        self.backbone = create_backbone(backbone, domain.channels)
        self.addon = create_addon(self.backbone.channels, dim, kind, layers=2)
        vectors = random_vectors(count, dim, kind)
        self.prototypes = PrototypeLayer(vectors, kind, domain.channels, thumbnail, free=("head",))
        self.pooling = MapPooling(places, self.backbone, domain, "ProtoPNet")
        self.head = nn.Linear(count, classes, bias=False)
        self.into = merging.parse_merged(merged, count)  # (P,)
        own = F.one_hot(torch.arange(count) // prototypes_per_class, classes).T.bool()  # (C, P)
        with torch.no_grad():
            self.head.weight.copy_(torch.where(own, 1.0, -0.5 if connections == "all" else 0.0))
        self.register_buffer("own", merging.joined(own.int(), self.into).bool(), persistent=False)

    # The computation

    def embed(self, x: Tensor) -> Tensor:
        """Images as patches (B, D, h, w)."""
        return self.prototypes.patches(self.addon(self.backbone(x)))

    def evidence(self, x: Tensor) -> Evidence:
        distances, nearest = self.prototypes.compare(self.embed(x), exact=not self.training)
        alive = self.prototypes.alive
        if self.pooling.published:
            activation = self.prototypes.similarity.of(nearest)
            support = self.prototypes.support(distances) if self.places_wanted else None
        else:
            maps = self.prototypes.similarity.of(distances) * alive[:, None, None]
            activation, largest = self.pooling(maps), self.prototypes.similarity.largest  # supports are in [0, 1]
            support = self.pooling.support(maps.clamp_min(0) / largest) if self.places_wanted else None
        state = {"distance": nearest}
        if self.training and self.coefficients["fine_annotation"]:
            state["map"] = self.prototypes.similarity.of(distances) * alive[:, None, None]
        return Evidence(activation * alive, support, state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        own, alive = self.own[batch["target"]], self.prototypes.alive  # (B, P), (P,)
        distance = evidence.state["distance"].masked_fill(~alive, torch.inf)  # pruned prototypes do not count
        maps = evidence.state.get("map")
        return {
            **({} if maps is None else {"fine_annotation": fine_annotation(maps, own, batch)}),
            "cross_entropy": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            # A class that lost all its prototypes has no distance.
            "cluster": distance.masked_fill(~own, torch.inf).amin(1).nan_to_num(posinf=0.0).mean(),
            "separation": -distance.masked_fill(own, torch.inf).amin(1).mean(),
            "l1": self.head.weight.masked_fill(self.own | ~alive, 0).abs().sum(),
        }

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.connections == "own" and self.head.weight.requires_grad:
            with torch.no_grad():
                self.head.weight.mul_(self.own).clamp_(min=0)

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        units = self.pooling.placed(self.prototypes.units(self._describe))
        return merging.with_merged(units, self.into, self.own)

    def _describe(self, prototype: int) -> tuple[str, int]:
        target, place = divmod(prototype, self.per_class)
        return f"{self.domain.classes[target]} #{place + 1}", target

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number, see `PrototypeLayer.remove`."""
        self.prototypes.remove(self.unit_index(unit) for unit in units)

    def merge_prototypes(self, projection_set: ProjectionSet, count: int) -> None:
        """Merges prototypes that fire alike on the training images, until `count` remain (ProtoPShare).

        The similarity of two is 1 / Σ_x (g_p(x) - g_q(x))². The one that stays gets the weights of both, and all their
        classes; refit the head afterwards.

        Differs from the published code: all merges at once (there: in rounds, trained in between); larger weights stay.

        Raises:
            RuntimeError: the prototypes are not training patches.
            ValueError: count below 1, or not below the number of prototypes that remain.
        """
        self.check_merge(count)
        alive = self.prototypes.alive
        with torch.no_grad(), evaluating(self):
            differences = merging.squared_differences(projection_set, lambda x: self.evidence(x).activation, len(alive))
            into = merging.merge_most_similar(differences, self.head.weight.norm(dim=0), alive, count)
            self.head.weight.copy_(merging.joined(self.head.weight, into))
            self.own.copy_(merging.joined(self.own.int(), into))
        self.into = into[self.into]
        self.hparams["merged"] = self.into.tolist()
        self.prototypes.remove((into != torch.arange(len(into))).nonzero()[:, 0].tolist())

    def check_merge(self, count: int) -> None:
        """Refuses what `merge_prototypes` cannot do, before anything is computed; errors as there."""
        self.require_ready()
        remaining = int(self.prototypes.alive.sum())
        if not 1 <= count < remaining:
            raise ValueError(f"{remaining} prototypes remain; merge them to at least 1 and fewer, not {count}.")

    def require_ready(self) -> None:
        self.prototypes.require_pushed()

    def check_recipe(self) -> None:
        require_grid(self.backbone, self.domain, "ProtoPNet")
        self.prototypes.check_recipe(self.stages)

    def check_class_sizes(self, images: Tensor) -> None:
        require_enough_images(images, self.per_class)

    def on_stage_start(self, stage: Stage) -> None:
        self.prototypes.on_stage_start(stage)

    @action
    def push(self, projection_set: ProjectionSet) -> None:
        """Projects the prototypes onto the nearest patches of their classes' training images (section 2.3).

        Merged prototypes are searched in the images of all their classes.
        """
        merged = self.hparams["merged"] is not None
        users, each = (self.own, None) if merged else (None, self.per_class)
        shown = self.pooling.boxes
        self.prototypes.project(projection_set, self.domain, self.embed, per_class=each, users=users, boxes=shown)

    @action
    def prune(self, projection_set: ProjectionSet) -> None:
        """Drops prototypes of one class that share their source patch; the first of them gets their weights.

        With `prune_nearest`, drops prototypes whose nearest training images are of other classes.
        """
        self.require_ready()
        if self.prune_nearest is None:
            self._drop_copies()
            return
        if self.hparams["merged"] is not None:
            raise ValueError("prune_nearest asks for images of one class, and merged prototypes have several.")
        owner = torch.arange(len(self.prototypes.alive), device=self.device) // self.per_class
        counts = neighbours_of_own_class(
            projection_set,
            lambda x: self.prototypes.compare(self.embed(x), exact=False)[0],
            owner,
            len(self.domain.classes),
            self.prune_nearest,
        )
        self.prototypes.remove((counts < self.prune_below).nonzero()[:, 0].tolist())

    def _drop_copies(self) -> None:
        alive, source = self.prototypes.alive, self.prototypes.provenance
        first = merging.first_copies(torch.stack([source.index, source.cell], 1), alive, self.per_class)
        self.head.weight.copy_(merging.joined(self.head.weight * alive, first))
        if self.hparams["merged"] is not None:  # copies may stand for prototypes of further classes
            self.own.copy_(merging.joined(self.own.int(), first))
            self.into = first.cpu()[self.into]
            self.hparams["merged"] = self.into.tolist()
        alive.logical_and_(first == torch.arange(len(first), device=first.device))
