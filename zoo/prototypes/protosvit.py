"""ProtoS-ViT and ProtoFM: a light head of prototypes on a frozen vision foundation model.

Turbé et al.: "ProtoS-ViT: Visual foundation models for sparse self-explainable classifications", arXiv 2406.10025;
and of the same group "Tell me why: Visual foundation models as self-explainable classifiers" (ProtoFM), 2025.
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
from zoo.prototypes.layers.patches import PatchGallery
from zoo.prototypes.layers.removal import Forbidding
from zoo.prototypes.layers.sparse_scores import Sizes, relevant, say, shrink_, units_of
from zoo.prototypes.pipnet import coverage
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

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
    },
)
TINY = 1e-8


TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}


@register(
    "protosvit",
    modality="image",
    paper="Turbé et al., 2024 and 2025",
    small=Small(
        {"prototypes": 5, "dim": 6, "patches": 3, "thumbnail": 16},
        variants={
            "vit": Small({"backbone": {**TINY_VIT, "img_size": (12, 10)}}),
            "mean": Small({"pooling": "mean", "kernel": 1}),
        },
    ),
)
class ProtoSViT(Forbidding, SelfInterpretable):
    """Scores classes by how much of each of K prototypes the patch tokens of a frozen backbone show.

        t = project(backbone(x))                        (B, D, h, w)   1x1 convolution on frozen patch tokens
        s = softmax over prototypes (cos(t, p_k) / τ)   (B, K, h, w)   each patch is shared out among the prototypes
        m = smooth(s)                                   (B, K, h, w)   depth-wise convolution: spatial coherence
        g_k = max (or mean) over cells of m_k           (B, K) in [0, 1], the activation
        score = g Wᵀ, W >= 0 and sparse, no bias        (B, C)

        loss = cross_entropy + entropy + hoyer + coverage + consistency, each with its coefficient
        entropy     = mean over patches of -Σ_k s_k log s_k: one prototype for each patch              (ProtoS-ViT)
        hoyer       = mean_i (Σ_k g_k)² / Σ_k g_k²: few prototypes for each image; the square of Hoyer's measure of
                      sparsity, Yang, Wen, Li, "DeepHoyer", ICLR 2020                                  (ProtoS-ViT)
        coverage    = -mean_k log(tanh(Σ_batch g_k)): every prototype somewhere in a batch             (PIP-Net)
        consistency = mean over patches of the Jensen-Shannon divergence, in nats, of s in two views of an image, which
                      share their geometry                                                             (ProtoS-ViT)

    ProtoFM keeps this architecture, a frozen foundation model under about a million learned parameters and class scores
    that are weighted sums of prototypes, and adds training objectives of its own, which are not built here.
    W becomes max(W - `shrink`, 0) after each step, as in PIP-Net. `gallery` keeps the training patches in which each
    prototype fires most. Metrics: global size (prototypes with any weight), local size (those that speak for the
    predicted class).

    Consistency needs `views: 2` of the data; without two views, and with features that are cached from one view,
    set its coefficient to 0.

    How this differs from the official code: the kernels of the depth-wise convolution are non-negative and sum to 1 (a
    softmax over their cells, repeated at the border), so that a map remains a share and g is in [0, 1]; τ, pooling,
    kernel and the weights of the losses are settings with defaults of this implementation.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`; published: DINOv2. It stays frozen in the default recipe.
        prototypes: K.
        dim: D.
        temperature: τ, above 0.
        kernel: side of the depth-wise convolution in cells, odd; 1: no smoothing.
        pooling: "max" or "mean".
        shrink: what each step takes off the weights of the head.
        abstain_below: an image has no evidence if every score is below this.
        patches: n, patches of each prototype that the gallery keeps; the first is pictured.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, project, prototypes,
            smooth, head.

    Raises:
        ValueError: an unknown choice, a number out of range, fewer than two classes, or inputs that are no images.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "vit_base_patch14_reg4_dinov2",
        prototypes: int = 256,
        dim: int = 256,
        temperature: float = 0.1,
        kernel: int = 3,
        pooling: str = "max",
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
                f"ProtoSViT classifies images into two or more classes; got {len(domain.classes)} of modality "
                f"'{domain.modality}' for a {domain.task}."
            )
        for name, value, least in (
            ("prototypes", prototypes, 2),
            ("dim", dim, 1),
            ("shrink", shrink, 0),
            ("patches", patches, 1),
            ("thumbnail", thumbnail, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}.")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0; got {temperature}.")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of cells; got {kernel}.")
        if pooling not in ("max", "mean"):
            raise ValueError(f"pooling must be 'max' or 'mean'; got '{pooling}'.")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.temperature, self.pooling = temperature, pooling
        self.shrink, self.abstain_below = shrink, abstain_below
        self.backbone = create_backbone(backbone, domain.channels)
        self.project = nn.Conv2d(self.backbone.channels, dim, 1)
        self.prototypes = nn.Parameter(torch.randn(prototypes, dim))
        self.smooth = nn.Parameter(torch.zeros(prototypes, kernel, kernel))
        self.head = nn.Linear(prototypes, len(domain.classes), bias=False)
        nn.init.normal_(self.head.weight, 1.0, 0.1)
        shrink_(self.head.weight, 0)
        self.patches = PatchGallery(prototypes, domain.channels, patches, thumbnail)
        self.sizes = Sizes()
        self.start_alive(prototypes)
        self._units: tuple[tuple[int, ...], tuple[Unit, ...]] | None = None

    def assign(self, x: Tensor) -> Tensor:
        """How each patch is shared out among the prototypes, (B, K, h, w), sum 1 over them."""
        tokens = F.normalize(self.project(self.backbone(x)).float(), dim=1)
        vectors = F.normalize(self.prototypes.float(), dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return (F.conv2d(tokens, vectors[:, :, None, None]) / self.temperature).softmax(1)

    def maps(self, shares: Tensor) -> Tensor:
        """Shares (B, K, h, w) smoothed by each prototype's kernel, in [0, 1]."""
        side = self.smooth.shape[1]
        kernels = self.smooth.float().flatten(1).softmax(1).view(-1, 1, side, side)
        with torch.autocast(shares.device.type, enabled=False):
            padded = F.pad(shares, (side // 2,) * 4, mode="replicate")
            return F.conv2d(padded, kernels, groups=kernels.shape[0])

    def evidence(self, x: Tensor) -> Evidence:
        shares = self.assign(x)
        maps = self.maps(shares)
        activation = maps.amax((2, 3)) if self.pooling == "max" else maps.mean((2, 3))
        seen = maps.clamp(0, 1) * self.alive[:, None, None]
        support, state = (None, {"shares": shares}) if self.training else (seen, {})
        return Evidence(activation * self.alive, support, state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(scores, batch["target"])}
        if not self.training:
            return terms
        shares, g = evidence.state["shares"], evidence.activation
        terms |= {"entropy": entropy(shares), "hoyer": hoyer_square(g), "coverage": coverage(g)}
        if self.coefficients["consistency"]:
            if "view" not in batch:
                raise ValueError(
                    "ProtoSViT's consistency compares two views of each image, and this batch has one (keys: "
                    f"{', '.join(sorted(batch))}); set data.init_args.views to 2 and augment to 'pipnet', or the "
                    "coefficient of consistency to 0."
                )
            terms["consistency"] = jensen_shannon(shares, self.assign(batch["view"]))
        return terms

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
        """Keeps the training patches in which each prototype fires most, and pictures those with any weight."""
        found = lambda x: self.maps(self.assign(x))  # noqa: E731
        self.patches.fill(projection_set, self.domain, found, relevant(self.head.weight) & self.alive)


def entropy(shares: Tensor) -> Tensor:
    """Mean entropy in nats of shares (B, K, h, w) over K, in [0, log K]."""
    return -(shares * shares.clamp_min(TINY).log()).sum(1).mean()


def hoyer_square(activation: Tensor) -> Tensor:
    """mean_i (Σ_k |g_k|)² / Σ_k g_k² of (B, K), in [1, K]: 1 where one of them is all there is."""
    squares = activation.square().sum(1).clamp_min(TINY)
    return (activation.abs().sum(1).square() / squares).mean()


def jensen_shannon(shares: Tensor, other: Tensor) -> Tensor:
    """Mean over cells of the Jensen-Shannon divergence in nats of two shares (B, K, h, w) over K, in [0, log 2]."""
    middle = ((shares + other) / 2).clamp_min(TINY).log()
    one, two = (s * (s.clamp_min(TINY).log() - middle) for s in (shares, other))
    return ((one + two) / 2).sum(1).mean()
