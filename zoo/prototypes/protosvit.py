"""A light head of prototypes on a frozen vision foundation model: a variant of ProtoS-ViT and ProtoFM.

Turbé et al.: "ProtoS-ViT: Visual foundation models for sparse self-explainable classifications", arXiv 2406.10025;
and of the same group "Tell me why: Visual foundation models as self-explainable classifiers" (ProtoFM), 2025.
"""

from collections.abc import Iterable, Mapping
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
from zoo.prototypes.layers.components import ACTION, PrincipalComponents, Projection
from zoo.prototypes.layers.coverage import coverage
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.second_view import on_first, second_view
from zoo.prototypes.layers.selection import survey
from zoo.prototypes.layers.sparse_head import SizeMetrics, shrink_, size_statements, sparse_head
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_above, check_at_least, check_choice
from zoo.utils.functional import at_least_fp32
from zoo.utils.options import parse_options

HEAD = ("project", "prototypes", "smooth", "head")
RECIPE = Recipe(
    stages=(
        Stage("train", epochs=30, train=HEAD, decay_every=20),
        Stage("gallery"),
        Stage("measure", epochs=1, train=()),
    ),
    lr={
        "backbone": 0.0,
        "project": 1e-3,
        "prototypes": 1e-3,
        "smooth": 1e-2,
        "head": 3e-2,
    },
    weight_decay=0.0,
    optimizer="adamw",
    coefficients={
        "cross_entropy": 1.0,
        "entropy": 0.1,
        "hoyer": 0.01,
        "coverage": 1.0,
        "consistency": 1.0,
        "importance": 0.0,
        "patch_coverage": 0.0,
    },
)
WITH_COMPONENTS = {"stages": [Stage(ACTION), *(RECIPE.stages or ())]}
TINY = 1e-8
TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}


@register(
    "protosvit",
    modality="image",
    paper="after Turbé et al., 2024 and 2025",
    small=Small(
        {"prototypes": 5, "projection": {"dim": 6}, "patches": 3, "thumbnail": 16},
        variants={
            "vit": Small({"backbone": {**TINY_VIT, "img_size": (12, 10)}}),
            "mean": Small({"pooling": "mean", "kernel": 1}),
            "components": Small({"projection": {"dim": 6, "components": 3}, "recipe": WITH_COMPONENTS}),
        },
    ),
)
class ProtoSViT(SelfInterpretable):
    """Scores classes by how much of each of K prototypes the patch tokens of a frozen backbone show.

        t = project(backbone(x))                        (B, D, h, w)   1x1 convolution on frozen patch tokens, or on
                                                                       their principal components
        s = softmax over prototypes (cos(t, p_k) / τ)   (B, K, h, w)   assignment of each patch to the prototypes
        m = smooth(s)                                   (B, K, h, w)   depth-wise convolution: spatial coherence
        g_k = max (or mean) over cells of m_k           (B, K) in [0, 1], the activation
        score = g Wᵀ, W >= 0 and sparse, no bias        (B, C)

        loss = cross_entropy + entropy + hoyer + coverage + consistency, each with its coefficient
        entropy     = mean over patches of -Σ_k s_k log s_k: one prototype for each patch
        hoyer       = mean_i (Σ_k g_k)² / Σ_k g_k²: few prototypes for each image; the square of Hoyer's measure of
                      sparsity, Yang, Wen, Li, "DeepHoyer", ICLR 2020
        coverage    = -mean_k log(tanh(Σ_batch g_k)): every prototype somewhere in a batch             (PIP-Net)
        consistency = mean over patches of the Jensen-Shannon divergence, in nats, of s in two views of an image, which
                      share their geometry
    and of the published code, with coefficients 0 unless they are set:
        importance     = mean_i (Σ_ck u_ck)² / Σ_ck u_ck² / √(C K), u_ck = W_ck g_k: few terms in the scores
        patch_coverage = -mean_k log(tanh(Σ_patches s_k)), over all patches of a batch: every prototype in some patch

    ProtoFM keeps this architecture, a frozen foundation model under about a million learned parameters and class scores
    that are weighted sums of prototypes; its additional training objectives are not implemented here.
    W becomes max(W - `shrink`, 0) after each step, as in PIP-Net. `gallery` stores the training patches in which each
    prototype fires most. Metrics: global size (prototypes with any weight), local size (those with a contribution to
    the predicted class).

    Consistency needs `views: 2` of the data, with `augment: pipnet` or `mirror`; without two views, and with features
    that are cached from one view, set its coefficient to 0.

    Limits: the receptive field of a cell is larger than the patch in the picture.

    Differs from the published code, whose results are not to be expected of this model: the kernels of the one
    depth-wise convolution are non-negative and sum to 1, so that a map remains an assignment and g is in [0, 1] (there:
    the sum of a 3 x 3 and a 1 x 1 depth-wise convolution, layer norm and ReLU, whose output has no bounds); no ReLU
    before the projection; no entropy term there, and the sparsity is that of `importance` plus 0.01 its norm; the
    consistency there is that of the projected patches; prototypes are not pruned by Fisher information; principal
    components are an option of ours. The published loss terms without the norm: `coefficients: {entropy: 0, hoyer: 0,
    coverage: 0, importance: 0.01, patch_coverage: 1}`.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`; published: DINOv2. The default recipe freezes it.
        prototypes: K.
        projection: the 1x1 convolution to D channels, see `zoo.prototypes.layers.components.Projection`.
        temperature: τ, above 0.
        kernel: side of the depth-wise convolution in cells, odd; 1: no smoothing.
        pooling: "max" or "mean".
        shrink: subtracted from the weights of the head after each step.
        abstain_below: an image has no evidence if every score is below this.
        patches: n, stored training patches of each prototype; the first has a picture.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, project, prototypes, smooth, head.

    Raises:
        ValueError: an unknown choice, a number out of range, fewer than two classes, or inputs that are not images.
    """

    default_recipe = RECIPE
    former_names = ChannelPrototypes.former_names
    domain: ImageDomain
    head: nn.Linear

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "vit_base_patch14_reg4_dinov2",
        prototypes: int = 256,
        projection: Projection | None = None,
        temperature: float = 0.1,
        kernel: int = 3,
        pooling: str = "max",
        shrink: float = 1e-3,
        abstain_below: float = 0.1,
        patches: int = 10,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "ProtoSViT")
        check_at_least(2, prototypes=prototypes)
        check_at_least(1, patches=patches, thumbnail=thumbnail)
        check_at_least(0, shrink=shrink)
        check_above(0, temperature=temperature)
        check_choice(("max", "mean"), pooling=pooling)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of cells; got {kernel}.")
        super().__init__(domain, recipe)
        projection = parse_options(Projection, projection, "projection")
        self.keep_arguments(locals())
        self.temperature, self.pooling = temperature, pooling
        self.shrink, self.abstain_below = shrink, abstain_below
        self.backbone = create_backbone(backbone, domain.channels)
        channels, count = self.backbone.channels, projection.components
        self.components = None if count is None else PrincipalComponents(channels, count)
        self.project = nn.Conv2d(count or channels, projection.dim, 1)
        self.prototypes = nn.Parameter(torch.randn(prototypes, projection.dim))
        self.smooth = nn.Parameter(torch.zeros(prototypes, kernel, kernel))
        self.head = sparse_head(prototypes, len(domain.classes))
        self.patches = ChannelPrototypes(prototypes, domain.channels, patches, thumbnail)
        self.sizes = SizeMetrics()

    # The computation

    def assign(self, x: Tensor) -> Tensor:
        """Assignment of each patch to the prototypes, (B, K, h, w); sums to 1 over them."""
        maps = self.backbone(x)
        maps = maps if self.components is None else self.components(maps)
        tokens = F.normalize(at_least_fp32(self.project(maps)), dim=1)
        vectors = F.normalize(at_least_fp32(self.prototypes), dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return (F.conv2d(tokens, vectors[:, :, None, None]) / self.temperature).softmax(1)

    def smoothed(self, assignment: Tensor) -> Tensor:
        """An assignment (B, K, h, w) smoothed by each prototype's kernel, in [0, 1]."""
        side = self.smooth.shape[1]
        kernels = at_least_fp32(self.smooth).flatten(1).softmax(1).view(-1, 1, side, side)
        with torch.autocast(assignment.device.type, enabled=False):
            padded = F.pad(assignment, (side // 2,) * 4, mode="replicate")
            return F.conv2d(padded, kernels, groups=kernels.shape[0])

    def evidence(self, x: Tensor) -> Evidence:
        assignment, alive = self.assign(x), self.patches.alive
        maps = self.smoothed(assignment)
        activation = maps.amax((2, 3)) if self.pooling == "max" else maps.mean((2, 3))
        support = maps.clamp(0, 1) * alive[:, None, None]
        # In training the assignment is a state instead of a support, because losses need its gradients.
        where, state = (None, {"assignment": assignment}) if self.training else (support, {})
        return Evidence(activation * alive, where, state)

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(scores, batch["target"], batch.get("class_weights"))}
        if not self.training:
            return terms
        assignment, g = evidence.state["assignment"], evidence.activation
        terms |= {"entropy": entropy(assignment), "hoyer": hoyer_square(g), "coverage": coverage(g)}
        if self.coefficients["importance"]:
            terms["importance"] = importance(g, self.head.weight)
        if self.coefficients["patch_coverage"]:
            terms["patch_coverage"] = coverage(assignment.transpose(0, 1).flatten(1).T)
        if self.coefficients["consistency"]:
            view = second_view(batch, "ProtoSViT's consistency", ", or the coefficient of consistency to 0")
            terms["consistency"] = jensen_shannon(assignment, on_first(self.assign(view), batch))
        return terms

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.head.weight.requires_grad:
            shrink_(self.head.weight, self.shrink)

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        sizes = self.sizes.update(split, scores, evidence.activation, self.head.weight * self.patches.alive)
        return {**super().update_metrics(split, scores, evidence, batch), **sizes}

    def require_ready(self) -> None:
        if self.components is not None:
            self.components.require_fitted("ProtoSViT")

    def check_recipe(self) -> None:
        require_grid(self.backbone, self.domain, "ProtoSViT")
        if self.components is not None:
            self.components.check_recipe(self.stages, ["backbone"], "ProtoSViT")

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head"}:
            self.patches.clear()

    @action
    def fit_components(self, projection_set: ProjectionSet) -> None:
        """Sets the principal components of the training images' maps."""
        if self.components is None:
            raise ValueError("the recipe has the action fit_components: set projection.components of ProtoSViT too.")
        self.components.fit(survey(projection_set, self.backbone))

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Stores the training patches in which each prototype fires most, with a picture if it has any weight."""
        self.patches.fill(projection_set, self.domain, lambda x: self.smoothed(self.assign(x)), self.head.weight)

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        return self.patches.units(self.head.weight, self.domain.classes)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        return size_statements(terms, self.head.weight, self.domain.classes, self.abstain_below)

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number, see `ChannelPrototypes.remove`."""
        self.patches.remove(self.unit_index(unit) for unit in units)


def entropy(assignment: Tensor) -> Tensor:
    """Mean entropy over K in nats of an assignment (B, K, h, w), in [0, log K]."""
    return -(assignment * assignment.clamp_min(TINY).log()).sum(1).mean()


def hoyer_square(activation: Tensor) -> Tensor:
    """mean_i (Σ_k |g_k|)² / Σ_k g_k² of (B, K), in [1, K]; 1 if a single prototype fires."""
    squares = activation.square().sum(1).clamp_min(TINY)
    return (activation.abs().sum(1).square() / squares).mean()


def importance(activation: Tensor, weight: Tensor) -> Tensor:
    """Mean of (Σ u)² / Σ u² / √(C K) over the terms u = W g >= 0 of all scores, from (B, K) and (C, K)."""
    total = activation.abs() @ weight.abs().sum(0)  # (B,) Σ_ck u_ck
    squares = activation.square() @ weight.square().sum(0)
    return (total.square() / squares.clamp_min(TINY)).mean() / weight.numel() ** 0.5


def jensen_shannon(assignment: Tensor, other: Tensor) -> Tensor:
    """Mean over cells of the Jensen-Shannon divergence in nats of two assignments (B, K, h, w), in [0, log 2]."""
    middle = ((assignment + other) / 2).clamp_min(TINY).log()
    one, two = (s * (s.clamp_min(TINY).log() - middle) for s in (assignment, other))
    return ((one + two) / 2).sum(1).mean()
