"""BotCL: concepts discovered by attention and self-supervision, without annotation.

Wang, Li, Nakashima, Nagahara: "Learning Bottleneck Concepts in Image Classification", CVPR 2023, arXiv 2304.10131.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.gallery import Gallery
from zoo.concepts.layers.regularisers import consistency, distinctiveness, quantity, retrieval
from zoo.concepts.layers.slot_attention import position_code, rescaled
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.functional import at_least_fp32

CONCEPTS = ("project", "slots", "keys", "decoder", "head")
RECIPE = Recipe(
    stages=(
        Stage("backbone", epochs=60, train=("backbone", "classifier"), decay_every=40),
        Stage("concepts", epochs=60, train=("backbone", *CONCEPTS), decay_every=40),
        Stage("gallery"),
        Stage("last", epochs=1, train=("head",)),
    ),
    lr=1e-4,
    weight_decay=0.01,
    optimizer="adamw",
    coefficients={
        "task": 1.0,
        "retrieval": 0.1,
        "reconstruction": 0.1,
        "area": 0.1,
        "quantity": 0.1,
        "consistency": 0.01,
        "distinctiveness": 0.05,
    },
)
RECONSTRUCTION = {"area": 5.0, "consistency": 0.0, "distinctiveness": 0.0}  # published weights for this supervision


@register(
    "botcl",
    modality="image",
    paper="Wang et al., CVPR 2023",
    small=Small(
        {"concepts": 4, "dim": 8, "gallery_size": 2, "thumbnail": 8},
        variants={"digits": Small({"supervision": "reconstruction", "attention": "softmax", "pooling": "mean"})},
    ),
)
class BotCL(SelfInterpretable):
    """Discovers k concepts as slots that attend to the image, and scores classes from their total attention.

        f = ReLU(BN(conv1x1(backbone(x))))            (B, d, L), L = h·w cells
        Z = Q K' / sqrt(d), K = keys(f + position)    (B, k, L), Q learned slots; rows rescaled: Z_k ΣZ / ΣZ_k
        A = sigmoid(Z)                                attention "sigmoid" (natural images), the support of a concept
          = softmax over concepts (Z) sigmoid(Z)      attention "softmax" (digits)
        t = tanh(Σ_l A)                               (B, k) the activation
        score = W t + b

        loss = task + self-supervision + area + quantity - consistency + distinctiveness   (section 3.3)
        supervision "contrastive":    0.1 retrieval, 0.1 area, 0.1 quantity, 0.01 consistency, 0.05 distinctiveness
        supervision "reconstruction": 0.1 reconstruction, 5 area, 0.1 quantity

    Two stages for natural images: first the backbone learns with a max-pool classifier, then the whole model learns
    with the full loss. The action `gallery` keeps the top-activating training images of each concept. An intervention
    deactivates a concept: it sets t to 0.

    Differs from the published code: the whole backbone learns in the second stage (published: its first two blocks are
    frozen); the test split is not used in training; one pass of attention (published: three identical ones); row sums
    near 0 are bounded away from 0 in the rescaling; `pooling="mean"` is available, because sums of 49 sigmoids saturate
    the tanh at the start of training; closed forms of all regularisers; the decoder reconstructs pixels scaled to
    [-1, 1], the range of its tanh.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        concepts: k.
        dim: d.
        supervision: "contrastive" or "reconstruction".
        attention: "sigmoid" or "softmax".
        pooling: "sum" (as published) or "mean" of attention before the tanh.
        gallery_size: number of training images per concept in the gallery.
        thumbnail: side of a picture in the gallery, in pixels.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, classifier, project,
            slots, keys, decoder (reconstruction only), head.

    Raises:
        ValueError: inputs other than images, a regression task, an unknown choice or a number out of range.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {
        "images.strength": "images.examples.value",
        "images.index": "images.examples.index",
    }
    domain: ImageDomain

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet18",
        concepts: int = 20,
        dim: int = 128,
        supervision: str = "contrastive",
        attention: str = "sigmoid",
        pooling: str = "sum",
        gallery_size: int = 5,
        thumbnail: int = 48,
        recipe: Recipe | None = None,
    ) -> None:
        check_choice(("contrastive", "reconstruction"), supervision=supervision)
        weights = {**(RECIPE.coefficients or {}), **(RECONSTRUCTION if supervision == "reconstruction" else {})}
        super().__init__(domain, recipe, default_recipe=replace(RECIPE, coefficients=weights))
        self.keep_arguments(locals())
        if not isinstance(self.domain, ImageDomain) or self.domain.task != "classification":
            raise ValueError(
                f"BotCL classifies images; got the modality '{self.domain.modality}', task '{self.domain.task}'."
            )
        check_choice(("sigmoid", "softmax"), attention=attention)
        check_choice(("sum", "mean"), pooling=pooling)
        check_at_least(1, concepts=concepts, gallery_size=gallery_size, thumbnail=thumbnail)
        if dim < 4 or dim % 4:
            raise ValueError(f"dim must be a multiple of 4, for the position code; got {dim}.")
        domain = self.domain
        self.attention, self.pooling = attention, pooling
        self.backbone = create_backbone(backbone, domain.channels)
        self.classifier = nn.Linear(self.backbone.channels, len(domain.classes))
        self.project = nn.Sequential(nn.Conv2d(self.backbone.channels, dim, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.slots = nn.Parameter(torch.randn(concepts, dim))
        self.keys = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        if supervision == "reconstruction":
            pixels = domain.channels * domain.size[0] * domain.size[1]
            self.decoder = nn.Sequential(nn.Linear(concepts, 400), nn.ReLU(), nn.Linear(400, pixels), nn.Tanh())
        else:
            self.decoder = None
        self.head = nn.Linear(concepts, len(domain.classes))
        self.images = Gallery(concepts, domain.channels, gallery_size, thumbnail)
        self._units = UnitCache()

    def evidence(self, x: Tensor) -> Evidence:
        maps = self.backbone(x)
        features = self.project(maps)
        height, width = features.shape[2:]
        cells = features.flatten(2)  # (B, d, L)
        code = position_code(features.shape[1], height, width, cells.device)
        keys = self.keys((cells + code).mT)  # (B, L, d)
        scores = at_least_fp32(self.slots @ keys.mT) * self.slots.shape[1] ** -0.5  # (B, k, L)
        scores = rescaled(scores)
        attention = scores.sigmoid()
        if self.attention == "softmax":
            attention = scores.softmax(1) * attention
        mass = attention.sum(2) if self.pooling == "sum" else attention.mean(2)
        state = {"mass": mass}
        if not self.training:
            return Evidence(mass.tanh(), attention.unflatten(2, (height, width)), state)
        weight = attention / (cells.shape[1] if self.attention == "softmax" else attention.sum(2, keepdim=True))
        state |= {"maps": maps, "attention": attention, "features": weight @ at_least_fp32(cells).mT}
        return Evidence(mass.tanh(), None, state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, weights, t = batch["target"], batch.get("class_weights"), evidence.activation
        if self.training and self._only_the_backbone_learns:
            return {"task": F.cross_entropy(self.classifier(evidence.state["maps"].amax((2, 3))), target, weights)}
        terms = {"task": F.cross_entropy(scores, target, weights)}
        if self.decoder is not None:
            terms["reconstruction"] = F.mse_loss(self.decoder(t), self._pixels(batch["input"]).flatten(1))
        if self.training:
            codes, mass = 2 * t - 1, evidence.state["mass"]
            if self.decoder is None:
                terms["retrieval"] = retrieval(codes, target)
            features = evidence.state["features"]
            terms |= {
                "area": evidence.state["attention"].mean(),
                "quantity": quantity(codes),
                "consistency": -consistency(features, mass),
                "distinctiveness": distinctiveness(features, mass),
            }
        return terms

    @property
    def _only_the_backbone_learns(self) -> bool:
        trained = stage_at(self.stages, self.current_epoch).stage.trained
        return "classifier" in trained and "slots" not in trained

    def _pixels(self, x: Tensor) -> Tensor:
        """Inputs as pixels in [-1, 1]."""
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.domain.mean, self.domain.std))
        return 2 * (x * std + mean) - 1

    def reconstruct(self, evidence: Evidence) -> Tensor:
        """Images (B, C, H, W) in [0, 1] that the decoder reconstructs from the concepts.

        Raises:
            ValueError: the model has no decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train it with supervision 'reconstruction'.")
        return (self.decoder(evidence.activation).unflatten(1, self.domain.shape) + 1) / 2

    def units(self) -> tuple[Unit, ...]:
        return self._units.get((self.images.examples.index, self.images.picture), self._build_units)

    def _build_units(self) -> list[Unit]:
        units = []
        pictures = self.images.picture.cpu()
        for k, row in enumerate(self.images.examples.index.tolist()):
            found = [i for i in row if i >= 0]
            source = {"supervision": "discovered"} | ({"training images": found} if found else {})
            units.append(Unit(f"concept {k + 1}", "concept", None, source, pictures[k] if found else None))
        return units

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head", "decoder"}:
            self.images.clear()

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Finds the top-activating training images of each concept, and draws its attention on them."""
        self.images.fill(projection_set, self.domain, self._mass, self._attention)

    def _mass(self, x: Tensor) -> Tensor:
        return self.evidence(x).state["mass"]

    def _attention(self, x: Tensor) -> Tensor:
        support = self.evidence(x).support
        assert support is not None  # actions run in evaluation mode
        return support
