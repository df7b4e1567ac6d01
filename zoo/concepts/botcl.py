"""BotCL: concepts that nobody annotated, found by attention and kept honest by self-supervision.

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
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at

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
OF_DIGITS = {"area": 5.0, "consistency": 0.0, "distinctiveness": 0.0}  # published for reconstruction


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
    """Discovers k concepts as slots that attend to the image; classes are scored from how much each one finds.

        f = ReLU(BN(conv1x1(backbone(x))))            (B, d, L), L = h·w cells
        Z = Q K' / sqrt(d), K = keys(f + position)    (B, k, L), Q learned slots; rows rescaled: Z_k ΣZ / ΣZ_k
        A = sigmoid(Z)                                attention "sigmoid" (natural images), the support of a concept
          = softmax over concepts (Z) sigmoid(Z)      attention "softmax" (digits)
        t = tanh(Σ_l A)                               (B, k) the activation
        score = W t + b

        loss = task + self-supervision + area + quantity - consistency + distinctiveness   (section 3.3)
        supervision "contrastive":    0.1 retrieval, 0.1 area, 0.1 quantity, 0.01 consistency, 0.05 distinctiveness
        supervision "reconstruction": 0.1 reconstruction, 5 area, 0.1 quantity

    Two stages for natural images: the backbone learns with a max-pool classifier, then everything learns with the
    full loss. `gallery` keeps the training images in which each concept fires most. An intervention deactivates a
    concept: its t becomes 0.

    How this differs from the official code: all of the backbone learns in the second stage (there its first two
    blocks are frozen); the official test split stays out of training; one pass of attention
    (there: three identical ones); row sums near 0 are kept away from 0 in the rescaling, and `pooling="mean"` is
    offered, because sums of 49 sigmoids saturate the tanh at the start; closed forms of all regularisers;
    the decoder reconstructs pixels scaled to [-1, 1], which its tanh can reach.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        concepts: k.
        dim: d.
        supervision: "contrastive" or "reconstruction".
        attention: "sigmoid" or "softmax".
        pooling: "sum" (as published) or "mean" of attention before the tanh.
        gallery_size: images of each concept in the gallery.
        thumbnail: side in pixels of a picture in the gallery.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, classifier, project,
            slots, keys, decoder (reconstruction only), head.

    Raises:
        ValueError: inputs that are no images, an unknown choice or a number out of range.
    """

    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {
        "images.strength": "images.examples.value",
        "images.index": "images.examples.index",
    }

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
        for name, value, known in (
            ("supervision", supervision, ("contrastive", "reconstruction")),
            ("attention", attention, ("sigmoid", "softmax")),
            ("pooling", pooling, ("sum", "mean")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        for name, value in {"concepts": concepts, "gallery_size": gallery_size, "thumbnail": thumbnail}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
        if dim < 4 or dim % 4:
            raise ValueError(f"dim must be a multiple of 4, for the position code; got {dim}.")
        domain = Domain.from_dict(domain)
        if not isinstance(domain, ImageDomain) or domain.task != "classification":
            raise ValueError(f"BotCL classifies images; got the modality '{domain.modality}', task '{domain.task}'.")
        weights = {**(RECIPE.coefficients or {}), **(OF_DIGITS if supervision == "reconstruction" else {})}
        super().__init__(domain, recipe, default_recipe=replace(RECIPE, coefficients=weights))
        self.keep_arguments(locals())
        self.attention, self.pooling, self.count = attention, pooling, concepts
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
        self._units: tuple[tuple[int, int], tuple[Unit, ...]] | None = None

    def evidence(self, x: Tensor) -> Evidence:
        maps = self.backbone(x)
        features = self.project(maps)
        height, width = features.shape[2:]
        cells = features.flatten(2)  # (B, d, L)
        code = position_code(features.shape[1], height, width, cells.device)
        keys = self.keys((cells + code).mT)  # (B, L, d)
        scores = (self.slots @ keys.mT).float() * self.slots.shape[1] ** -0.5  # (B, k, L)
        scores = rescaled(scores)
        attention = scores.sigmoid()
        if self.attention == "softmax":
            attention = scores.softmax(1) * attention
        mass = attention.sum(2) if self.pooling == "sum" else attention.mean(2)
        state = {"mass": mass}
        if self.training:
            weight = attention / (cells.shape[1] if self.attention == "softmax" else attention.sum(2, keepdim=True))
            state |= {"maps": maps, "attention": attention, "features": weight @ cells.float().mT}
        return Evidence(mass.tanh(), None if self.training else attention.unflatten(2, (height, width)), state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, t = batch["target"], evidence.activation
        if self.training and self._only_the_backbone_learns:
            return {"task": F.cross_entropy(self.classifier(evidence.state["maps"].amax((2, 3))), target)}
        terms = {"task": F.cross_entropy(scores, target)}
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
        return "slots" not in stage_at(self.stages, self.current_epoch).stage.trained and (
            "classifier" in stage_at(self.stages, self.current_epoch).stage.trained
        )

    def _pixels(self, x: Tensor) -> Tensor:
        """Inputs as pixels in [-1, 1]."""
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.domain.mean, self.domain.std))
        return 2 * (x * std + mean) - 1

    def reconstruct(self, evidence: Evidence) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] that the concepts alone remember.

        Raises:
            ValueError: the model has no decoder.
        """
        if self.decoder is None:
            raise ValueError("this model has no decoder; train it with supervision 'reconstruction'.")
        return (self.decoder(evidence.activation).unflatten(1, self.domain.shape) + 1) / 2

    def units(self) -> tuple[Unit, ...]:
        index = self.images.examples.index
        state = (index._version, self.images.picture._version)  # rebuilt only after a gallery or a load
        if self._units is None or self._units[0] != state:
            index, pictures = index.tolist(), self.images.picture.cpu()
            units = []
            for k in range(self.count):
                seen = [i for i in index[k] if i >= 0]
                source = {"supervision": "discovered"} | ({"training images": seen} if seen else {})
                units.append(Unit(f"concept {k + 1}", "concept", None, source, pictures[k] if seen else None))
            self._units = state, tuple(units)
        return self._units[1]

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head", "decoder"}:
            self.images.clear()

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Keeps the training images in which each concept fires most, with where it looks."""
        of = lambda name: lambda x: getattr(self.evidence(x), name)  # noqa: E731
        self.images.fill(projection_set, self.domain, lambda x: self.evidence(x).state["mass"], of("support"))


def rescaled(scores: Tensor, smallest: float = 1e-3) -> Tensor:
    """Scores (B, k, L) with every row multiplied by (sum over all) / (sum of the row), section 3.1.

    A row's sum is kept at least `smallest` away from 0, on its own side, because the division would explode there.
    """
    row = scores.sum(2, keepdim=True)
    row = torch.where(row.abs() < smallest, torch.where(row < 0, -smallest, smallest), row)
    return scores / row * scores.sum((1, 2), keepdim=True)


def position_code(dim: int, height: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of the row and of the column of each cell, (dim, height·width); dim is a multiple of 4."""
    wave = 10_000 ** (-torch.arange(0, dim // 2, 2, device=device) / (dim // 2))  # (dim / 4,)
    parts = []
    for size, shape in ((height, (-1, height, 1)), (width, (-1, 1, width))):
        angle = wave[:, None] * torch.linspace(0, 2 * torch.pi, size + 1, device=device)[1:]
        parts += [f(angle).view(shape).expand(-1, height, width) for f in (torch.sin, torch.cos)]
    return torch.cat(parts).flatten(1)
