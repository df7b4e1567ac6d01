"""PIP-Net: a scoring sheet of few prototypical parts, learned without part labels.

Nauta, Schlötterer, van Keulen, Seifert: "PIP-Net: Patch-Based Intuitive Prototypes for Interpretable Image
Classification", CVPR 2023.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.channel_prototypes import ChannelPrototypes
from zoo.prototypes.layers.components import ACTION, PrincipalComponents
from zoo.prototypes.layers.coverage import coverage
from zoo.prototypes.layers.field_support import MapPooling, Places
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.last_blocks import split_last_blocks
from zoo.prototypes.layers.second_view import alignment, on_first, second_view
from zoo.prototypes.layers.selection import survey
from zoo.prototypes.layers.sparse_head import SizeMetrics, shrink_, size_statements, sparse_head
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32
from zoo.utils.options import parse_options

MEASURE = Stage("measure", epochs=1, train=())


def published_recipe(addon: bool, tail: bool) -> Recipe:
    """The published stages (60 epochs after the pretraining).

    Args:
        addon: whether the model has the parameter group addon.
        tail: whether it has the parameter group tail.
    """
    learns = ("tail" if tail else "backbone", *(("addon",) if addon else ()))
    every = tuple(dict.fromkeys(("backbone", *learns, "head")))
    rates = {"backbone": 5e-4, "tail": 5e-4, "addon": 5e-3, "head": 5e-2}
    return Recipe(
        stages=(
            Stage("pretrain", epochs=10, train=learns),
            Stage("head", epochs=3, train=("head",)),
            Stage("last_blocks", epochs=7, train=(*learns, "head")),
            Stage("joint", epochs=50, train=every, decay_every=20, decay=0.3),
            Stage("gallery"),
            MEASURE,
        ),
        lr={name: rates[name] for name in every},
        weight_decay=0.0,
        optimizer="adamw",
        coefficients={
            "classification": 2.0,
            "alignment": 5.0,
            "presence": 2.0,
            "pretrain_alignment": 1.0,
            "pretrain_presence": 5.0,
        },
    )


FROZEN = [Stage(ACTION), Stage("joint", epochs=1, train=("addon", "head")), Stage("gallery"), MEASURE]


@register(
    "pipnet",
    modality="image",
    paper="Nauta et al., CVPR 2023",
    small=Small(
        {"patches": 3, "thumbnail": 16},
        variants={
            "addon": Small({"prototypes": 5, "tail": 0}),
            "components": Small({"prototypes": 5, "components": 3, "tail": 0, "recipe": {"stages": FROZEN}}),
        },
    ),
)
class PIPNet(SelfInterpretable):
    """Scores classes by which of D prototypical parts are present anywhere in the image.

        z = softmax over channels of addon(backbone(x))   (B, D, h, w)   each cell is one part, softly
        p_d = max over cells of z_d                       (B, D) in [0, 1], the activation: presence of part d
        score = p Wᵀ, W >= 0, no bias                     (B, C); in training log((p Wᵀ)² + 1)
                                                          otherwise presences below `threshold` count as 0

        loss = 2 classification + 5 alignment + 2 presence                                   (section 3)
        alignment      = -mean over cells of log(z' · z''), z' and z'' of two views of an image (section 3.1)
        presence       = -mean_d log(tanh(Σ_batch p_d))    each part is somewhere in a batch: the tanh-loss
        classification = cross-entropy of the training scores, both views                    (section 3.2)

    Stages: `pretrain` learns parts without labels (t · alignment + 5 presence, t from 0 to 1 over its epochs), then the
    head alone, then the last blocks with the head, then everything. In every stage that trains the head, W becomes
    max(W - `shrink`, 0) after each step, so most weights are exactly 0. `gallery` stores the training patches in which
    each prototype is most present, and sets the weights of prototypes to 0 that are nowhere above the threshold.
    Training needs two views of each image: `views: 2` of the data, with `augment: pipnet`, as published, or `mirror`,
    the image and its mirror image, whose map is flipped back for `alignment`, or `noise`, a mirror image with noise.
    One view is enough if the coefficients of both alignments are 0.

    If every score is below `abstain_below`, the explanation states that there is no evidence for any class. Metrics:
    global size (prototypes with any weight), local size (those with a contribution to the predicted class).

    The feature map should be fine: give the backbone an `output_stride`, which removes its late strides (convnext_tiny
    with 8: 28 x 28 cells of 224 pixels). A backbone that ends in a bounded activation, such as the ReLU6 of
    mobilenetv2_100, cannot make the softmax one-hot; add a 1x1 convolution by `prototypes`.

    Limits: the receptive field of a cell is larger than the patch in the picture, unless `places: {support: field}`.

    Differs from the published code: learning rates fall in steps (there: by cosines, restarting for the head); the two
    views run one after the other, so batch norm sees each alone; one AdamW for all groups; the late strides become
    dilations (there: they are dropped without dilation); normalisation exponent fixed at 2, the default there; a weight
    of exactly 0 has a gradient and can grow again (there: relu(W), whose gradient at 0 is 0, so that it cannot);
    `components` and the views of `mirror` and `noise` are for frozen backbones, which the published code trains.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        prototypes: D, made by a 1x1 convolution on the map; by default the channels themselves are the prototypes.
        components: let that 1x1 convolution read so many principal components of the channels of a frozen backbone; the
            action `fit_components`, first in the recipe, sets them. By default it reads the channels.
        tail: number of last blocks of the backbone that form a parameter group of their own, `tail`; 0: no such group.
            The last 2 of convnext_tiny are its last stage and the norm after it.
        shrink: subtracted from the weights of the head after each step.
        abstain_below: an image has no evidence if every score is below this.
        threshold: presences below it count as 0 outside of training; in [0, 1], published 0.1.
        patches: n, stored training patches of each prototype; the first has a picture.
        thumbnail: side in pixels of the stored pictures.
        places: see `zoo.prototypes.layers.field_support.Places`; published: the largest cell, and the map. With
            `pooling: sum`, p_d = Σ_cells z_d is how much of part d there is, and training scores are p Wᵀ.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, tail (unless 0), addon (with
            `prototypes`), head. The default is the published one, with learning rates 5e-2 for the head, 5e-3 for the
            1x1 convolution and 5e-4 for the rest.

    Raises:
        ValueError: a number out of range, fewer than two classes, inputs that are not images, or a backbone that cannot
            be split.
    """

    space = "value"
    default_recipe = published_recipe(addon=False, tail=True)
    former_names = ChannelPrototypes.former_names
    domain: ImageDomain
    head: nn.Linear

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = {"name": "convnext_tiny", "output_stride": 8},  # noqa: B006
        prototypes: int | None = None,
        components: int | None = None,
        tail: int = 2,
        shrink: float = 1e-3,
        abstain_below: float = 0.1,
        threshold: float = 0.1,
        patches: int = 10,
        thumbnail: int = 64,
        places: Places | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "PIPNet")
        check_at_least(2, prototypes=2 if prototypes is None else prototypes)
        if components is not None and prototypes is None:
            raise ValueError(f"components needs prototypes, whose 1x1 convolution reads them; got {components}, None.")
        check_at_least(0, tail=tail, shrink=shrink)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1]; got {threshold}.")
        check_at_least(1, patches=patches, thumbnail=thumbnail)
        super().__init__(domain, recipe, default_recipe=published_recipe(bool(prototypes), bool(tail)))
        places = parse_options(Places, places, "places")
        self.keep_arguments(locals())
        self.tail, self.shrink, self.abstain_below, self.least_presence = tail, shrink, abstain_below, threshold
        self.backbone = create_backbone(backbone, domain.channels)
        if tail:
            split_last_blocks(self.backbone, tail)  # fails here rather than in training
        count = prototypes or self.backbone.channels
        channels = self.backbone.channels
        self.components = None if components is None else PrincipalComponents(channels, components)
        self.addon = nn.Conv2d(components or channels, count, 1) if prototypes else nn.Identity()
        cells = prod(require_grid(self.backbone, domain, "PIPNet")) if places.pooling == "sum" else 1
        self.head = sparse_head(count, len(domain.classes), 1 / cells)
        self.patches = ChannelPrototypes(count, domain.channels, patches, thumbnail)
        self.sizes = SizeMetrics()
        self.pooling = MapPooling(places, self.backbone, domain, "PIPNet")

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"threshold": 0.0, **super().upgrade_arguments(arguments)}  # which older checkpoints did not have

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        groups = super().groups()
        if self.tail:
            groups["backbone"], groups["tail"] = split_last_blocks(self.backbone, self.tail)
        return groups

    # The computation

    def presence(self, x: Tensor) -> Tensor:
        """Probability that a cell shows each part, (B, D, h, w); sums to 1 over the prototypes."""
        maps = self.backbone(x)
        return at_least_fp32(self.addon(maps if self.components is None else self.components(maps))).softmax(1)

    def evidence(self, x: Tensor) -> Evidence:
        z, alive = self.presence(x), self.patches.alive
        if not self.training:
            z = torch.where(z < self.least_presence, 0, z)
        # In training the maps are a state instead of a support, because losses need their gradients.
        support = self.pooling.support(z * alive[:, None, None]) if self.places_wanted else None
        return Evidence(self.pooling(z) * alive, support, {"z": z} if self.training else {})

    def readout(self, evidence: Evidence) -> Tensor:
        scores = super().readout(evidence)
        return self._compressed(scores) if self.training else scores

    def _compressed(self, scores: Tensor) -> Tensor:
        return compressed(scores) if self.pooling.places.pooling == "max" else scores  # sums are not bounded

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, weights = batch["target"], batch.get("class_weights")
        if not self.training:
            return {"classification": F.cross_entropy(self._compressed(scores), target, weights)}
        if not (self.coefficients["alignment"] or self.coefficients["pretrain_alignment"] or "view" in batch):
            once = F.cross_entropy(scores, target, weights)
            return {"classification": once, "presence": coverage(evidence.activation)}
        other_scores, other = self.step(second_view(batch, "PIPNet"))
        terms = {
            "alignment": alignment(evidence.state["z"], on_first(other.state["z"], batch)),
            "presence": (coverage(evidence.activation) + coverage(other.activation)) / 2,
        }
        position = stage_at(self.stages, self.current_epoch)
        if position.stage.trained and "head" not in position.stage.trained:
            ramp = (position.epoch + 1) / position.stage.epochs
            return {"pretrain_alignment": ramp * terms["alignment"], "pretrain_presence": terms["presence"]}
        both = torch.cat([scores, other_scores])
        return {"classification": F.cross_entropy(both, target.repeat(2), weights), **terms}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.head.weight.requires_grad:
            shrink_(self.head.weight, self.shrink)

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        sizes = self.sizes.update(split, scores, evidence.activation, self.head.weight * self.patches.alive)
        return {**super().update_metrics(split, scores, evidence, batch), **sizes}

    def require_ready(self) -> None:
        if self.components is not None:
            self.components.require_fitted("PIPNet")

    def check_recipe(self) -> None:
        require_grid(self.backbone, self.domain, "PIPNet")
        if self.components is not None:
            self.components.check_recipe(self.stages, ["backbone", "tail"], "PIPNet")

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head"}:
            self.patches.clear()

    @action
    def fit_components(self, projection_set: ProjectionSet) -> None:
        """Sets the principal components of the training images' maps."""
        if self.components is None:
            raise ValueError("the recipe has the action fit_components: set components of PIPNet too.")
        self.components.fit(survey(projection_set, self.backbone))

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Stores the training patches in which each prototype is most present, with a picture if it has any weight.

        Prototypes that are nowhere above the threshold lose their weights.
        """
        shown = self.pooling.boxes
        self.patches.fill(projection_set, self.domain, self.presence, self.head.weight, self.least_presence, shown)

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        return self.pooling.placed(self.patches.units(self.head.weight, self.domain.classes))

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        return size_statements(terms, self.head.weight, self.domain.classes, self.abstain_below)

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number, see `ChannelPrototypes.remove`."""
        self.patches.remove(self.unit_index(unit) for unit in units)


def compressed(scores: Tensor) -> Tensor:
    """log(score² + 1), the scores of the classification loss; keeps the order of scores >= 0 (section 3.2)."""
    return torch.log1p(scores.square())
