"""PIP-Net: few prototypical parts, learned without part labels, added up on a scoring sheet.

Nauta, Schlötterer, van Keulen, Seifert: "PIP-Net: Patch-Based Intuitive Prototypes for Interpretable Image
Classification", CVPR 2023.
"""

from collections.abc import Mapping
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
from zoo.prototypes.layers.grid import grid_of
from zoo.prototypes.layers.last_blocks import split_tail
from zoo.prototypes.layers.patches import PatchGallery
from zoo.prototypes.layers.removal import Forbidding
from zoo.prototypes.layers.sparse_scores import Sizes, relevant, say, shrink_, units_of
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at

EPSILON = 1e-8


def published_recipe(addon: bool, tail: bool) -> Recipe:
    """The published stages (60 epochs after the pre-training), for a model with these parameter groups."""
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
            Stage("measure", epochs=1, train=()),
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


@register(
    "pipnet",
    modality="image",
    paper="Nauta et al., CVPR 2023",
    small=Small({"patches": 3, "thumbnail": 16}, variants={"addon": Small({"prototypes": 5, "tail": 0})}),
)
class PIPNet(Forbidding, SelfInterpretable):
    """Scores classes by which of D prototypical parts are present anywhere in the image.

        z = softmax over channels of addon(backbone(x))   (B, D, h, w)   each cell is one part, softly
        p_d = max over cells of z_d                       (B, D) in [0, 1], the activation: is part d present
        score = p Wᵀ, W >= 0, no bias                     (B, C); while training log((p Wᵀ)² + 1)

        loss = 2 classification + 5 alignment + 2 presence                                   (section 3)
        alignment      = -mean over cells of log(z' · z''), z' and z'' of two views of an image (section 3.1)
        presence       = -mean_d log(tanh(Σ_batch p_d))    each part is somewhere in a batch: the tanh-loss
        classification = cross-entropy of the training scores, both views                    (section 3.2)

    Stages: `pretrain` learns parts without labels (t · alignment + 5 presence, t from 0 to 1 over its epochs), then the
    head alone, then the last blocks with the head, then everything. In every stage that trains the head, W becomes
    max(W - `shrink`, 0) after each step, so most weights are exactly 0. `gallery` keeps the training patches in which
    each prototype is most present. Training needs two views of each image: `views: 2` of the data.

    If every score is below `abstain_below`, the explanation says that there is no evidence for any class. Metrics:
    global size (prototypes with any weight), local size (those with a contribution to the predicted class).

    The feature map should be fine: give the backbone `output_stride`, which takes its late strides away (convnext_tiny
    with 8: 28 x 28 cells of 224 pixels). A backbone that ends in a bounded activation, such as the ReLU6 of
    mobilenetv2_100, cannot make the softmax one-hot; give it a 1x1 convolution by `prototypes`.

    What the explanation does not promise: the receptive field of a cell is larger than the patch that is shown.

    How this differs from the official code: learning rates fall in steps (there: by cosines, restarting for the head);
    the two views run one after the other, so batch norm sees each alone; one AdamW for all groups; the late strides
    become dilations (there: they are dropped without dilation); normalisation exponent fixed at 2, as there by default.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        prototypes: D, made by a 1x1 convolution on the map; by default the channels themselves are the prototypes.
        tail: so many last blocks of the backbone are a parameter group of their own, `tail`; 0: none. The last 2 of
            convnext_tiny are its last stage and the norm after it.
        shrink: what each step takes off the weights of the head.
        abstain_below: an image has no evidence if every score is below this.
        patches: n, patches of each prototype that the gallery keeps; the first is pictured.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, tail (unless 0), addon (with
            `prototypes`), head. The default is the published one, with learning rates 5e-2 for the head, 5e-3 for the
            1x1 convolution and 5e-4 for the rest.

    Raises:
        ValueError: a number out of range, fewer than two classes, inputs that are no images, or a backbone that cannot
            be split.
    """

    space = "value"
    default_recipe = published_recipe(addon=False, tail=True)

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = {"name": "convnext_tiny", "output_stride": 8},  # noqa: B006
        prototypes: int | None = None,
        tail: int = 2,
        shrink: float = 1e-3,
        abstain_below: float = 0.1,
        patches: int = 10,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = Domain.from_dict(domain)
        wrong = not isinstance(domain, ImageDomain) or len(domain.classes) < 2
        if wrong or domain.task != "classification":  # before the metrics say it less clearly
            raise ValueError(
                f"PIPNet classifies images into two or more classes; got {len(domain.classes)} of modality "
                f"'{domain.modality}' for a {domain.task}."
            )
        for name, value, least in (
            ("prototypes", 2 if prototypes is None else prototypes, 2),
            ("tail", tail, 0),
            ("shrink", shrink, 0),
            ("patches", patches, 1),
            ("thumbnail", thumbnail, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}.")
        super().__init__(domain, recipe, default_recipe=published_recipe(bool(prototypes), bool(tail)))
        self.keep_arguments(locals())
        self.tail, self.shrink, self.abstain_below = tail, shrink, abstain_below
        self.backbone = create_backbone(backbone, domain.channels)
        if tail:
            split_tail(self.backbone, tail)  # refuses what cannot be split, before anything is trained
        count = prototypes or self.backbone.channels
        self.addon = nn.Conv2d(self.backbone.channels, count, 1) if prototypes else nn.Identity()
        self.head = nn.Linear(count, len(domain.classes), bias=False)
        nn.init.normal_(self.head.weight, 1.0, 0.1)
        shrink_(self.head.weight, 0)
        self.patches = PatchGallery(count, domain.channels, patches, thumbnail)
        self.sizes = Sizes()
        self.start_alive(count)
        self._units: tuple[tuple[int, ...], tuple[Unit, ...]] | None = None

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        groups = super().groups()
        if self.tail:
            groups["backbone"], groups["tail"] = split_tail(self.backbone, self.tail)
        return groups

    def presence(self, x: Tensor) -> Tensor:
        """Which part each cell shows, (B, D, h, w) >= 0, sum 1 over the prototypes."""
        return self.addon(self.backbone(x)).float().softmax(1)

    def evidence(self, x: Tensor) -> Evidence:
        z = self.presence(x)
        # Maps as a state only while training, where losses need their gradients.
        support, state = (None, {"z": z}) if self.training else (z * self.alive[:, None, None], {})
        return Evidence(z.flatten(2).amax(2) * self.alive, support, state)

    def readout(self, evidence: Evidence) -> Tensor:
        scores = super().readout(evidence)
        return compressed(scores) if self.training else scores

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target = batch["target"]
        if not self.training:
            return {"classification": F.cross_entropy(compressed(scores), target)}
        if "view" not in batch:
            raise ValueError(
                f"PIPNet compares two views of each image in training, and this batch has none (keys: "
                f"{', '.join(sorted(batch))}); set data.init_args.views to 2 and augment to 'pipnet'."
            )
        other_scores, other = self.step(batch["view"])
        terms = {
            "alignment": alignment(evidence.state["z"], other.state["z"]),
            "presence": (coverage(evidence.activation) + coverage(other.activation)) / 2,
        }
        position = stage_at(self.stages, self.current_epoch)
        if position.stage.trained and "head" not in position.stage.trained:
            ramp = (position.epoch + 1) / position.stage.epochs
            return {"pretrain_alignment": ramp * terms["alignment"], "pretrain_presence": terms["presence"]}
        both = torch.cat([scores, other_scores])
        return {"classification": F.cross_entropy(both, target.repeat(2)), **terms}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.head.weight.requires_grad:
            shrink_(self.head.weight, self.shrink)

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        sizes = self.sizes.update(split, scores, evidence.activation, self.head.weight * self.alive)
        return {**super().update_metrics(split, scores, evidence, batch), **sizes}

    def units(self) -> tuple[Unit, ...]:
        state = (
            *self.patches.version,
            self.head.weight._version,
            self.alive._version,
        )  # rebuilt only after a change of either
        if self._units is None or self._units[0] != state:
            self._units = state, units_of(self.patches, self.head.weight.detach(), self.alive, self.domain.classes)
        return self._units[1]

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        return say(terms, self.head.weight, self.domain.classes, self.abstain_below)

    def check_recipe(self) -> None:
        grid_of(self.backbone, self.domain, type(self).__name__)  # pyright: ignore[reportArgumentType]

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head"}:
            self.patches.clear()

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Keeps the training patches in which each prototype is most present, and pictures those with any weight."""
        self.patches.fill(projection_set, self.domain, self.presence, relevant(self.head.weight) & self.alive)


def compressed(scores: Tensor) -> Tensor:
    """log(score² + 1), in the same order as scores >= 0: what the classification loss compares (section 3.2)."""
    return torch.log1p(scores.square())


def alignment(z: Tensor, other: Tensor) -> Tensor:
    """-mean over cells of log(z · z'), (B, D, h, w) each (section 3.1); each view follows the other, held fixed."""
    one, two = ((a * b.detach()).sum(1) for a, b in ((z, other), (other, z)))
    return -(torch.log(one + EPSILON).mean() + torch.log(two + EPSILON).mean()) / 2


def coverage(activation: Tensor) -> Tensor:
    """-mean_d log(tanh(Σ_batch p_d)): low if each prototype is present somewhere in the batch (section 3.1)."""
    return -torch.log(activation.sum(0).tanh() + EPSILON).mean()
