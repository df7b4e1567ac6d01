"""Keypoint counting classifiers: classes are counted in matched points of their exemplars.

Wickstrøm et al.: "Keypoint Counting Classifiers", arXiv 2512.17891.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.grid import grid_of
from zoo.prototypes.layers.image_bank import Bank, check_images
from zoo.prototypes.layers.matching import foreground, keypoints, mutual_nearest
from zoo.prototypes.layers.selection import choose, survey
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(
        Stage("gather"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-4,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"cross_entropy": 1.0},
)


@register(
    "kcc",
    modality="image",
    paper="Wickstrøm et al., arXiv 2512.17891",
    small=Small(
        {"exemplars": 3, "foreground": False, "keypoints": 6, "thumbnail": 8},
        inputs="training",  # of a cluster of perfect matches, rounding would decide which represents it
        variants={
            "all": Small(
                {"keypoints": 0, "exemplars": 2, "choice": "nearest", "dim": 6, "whiten": 0.5}, inputs="halves"
            ),
            "foreground": Small({"exemplars": 4, "foreground": True, "unit": False}),
        },
    ),
)
class KeypointCounting(SelfInterpretable):
    """Scores classes by how many points of the image match points of a few exemplars of the class. Nothing is trained.

        z = patches of backbone(x)                (B, n, d)      n = h·w cells, of unit length
        e = patches of all exemplars              (E n, d)       E = C·Q, Q of each class, all classes in competition
        pairs (i, j): z_i and e_j are foreground, j is nearest to i and i is nearest to j
        keypoints: the pairs are clustered by k-means on the two cells' vectors, [z_i, e_j] / √2, to at most P
            clusters; each is represented by its pair of largest similarity
        s = (1 + cosine of the pair) / 2 in [0, 1]
        score_c = Σ over keypoints whose exemplar is of class c of 1 + s / (P + 1)        no bias

    Since Σ s / (P + 1) < 1, the whole part of a score is the **number of keypoints** of the class, and the rest, which
    grows with the mean similarity, decides between classes of equal number. Every exemplar is a unit, and its
    contribution to its class is exactly the terms of its keypoints. `details` tell of each exemplar its number of
    "keypoints", and of each of the P keypoints, (B, K, P), the "query cell" and "exemplar cell" (row by row, -1 if
    the keypoint is another exemplar's or there is none) and the "similarity".

    Foreground: patches whose first principal component lies above their image's mean + 0.2 standard deviations. The
    component is that of all training patches, and points to where the middle of the training images differs from
    their border.

    Recipe: the action `gather` chooses the exemplars, then an epoch measures. A training image that is an exemplar
    matches itself, so accuracies on the training set say little.

    How this differs from the official notebook: k-means starts from spread points instead of at random; exemplars are
    medoids of the class instead of given by hand; vectors have unit length; `dim` and `whiten` are options of the
    same distance after a principal component analysis, for backbones whose channels are many and unlike in scale.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`; frozen.
        exemplars: Q. A class with fewer training images has them all.
        choice: "medoids" of the class, or the images "nearest" to its mean.
        keypoints: P; 0 counts every pair, P = n.
        foreground: whether background is left out.
        margin: of the foreground, in standard deviations.
        unit: vectors of unit length; otherwise Euclidean distances of the vectors as they are, as published.
        dim: d, the first principal components that are kept; None for the backbone's channels.
        whiten: see `Bank`.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`.

    Raises:
        ValueError: a number out of range, fewer than two classes, inputs that are no images, or a backbone whose map
            is a single cell.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "vit_base_patch14_dinov2",
        exemplars: int = 5,
        choice: str = "medoids",
        keypoints: int = 10,
        foreground: bool = True,
        margin: float = 0.2,
        unit: bool = True,
        dim: int | None = None,
        whiten: float = 0.0,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = check_images(domain, "KeypointCounting")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if choice not in ("medoids", "nearest"):
            raise ValueError(f"choice must be 'medoids' or 'nearest'; got '{choice}'.")
        if exemplars < 1 or keypoints < 0:
            raise ValueError(f"expected exemplars >= 1 and keypoints >= 0; got {exemplars} and {keypoints}.")
        self.choice, self.foreground, self.margin, self.unit = choice, foreground, margin, unit
        self.backbone = create_backbone(backbone, domain.channels)
        self.grid = grid_of(self.backbone, domain, "KeypointCounting")
        cells, channels = self.grid[0] * self.grid[1], self.backbone.channels
        self.clustered = 0 < keypoints < cells
        self.count = keypoints if self.clustered else cells
        self.bank = Bank(domain, exemplars, channels, self.grid, dim, whiten, thumbnail)
        self.register_buffer("axis", torch.zeros(channels))
        self.register_buffer("middle", torch.zeros(channels))
        self.register_buffer("usable", torch.zeros(len(domain.classes) * exemplars, cells, dtype=torch.bool))
        self.space = "value"

    # Matching

    def vectors(self, maps: Tensor) -> Tensor:
        """Maps (B, D, h, w) as the vectors (B, n, d) that are compared."""
        patches = self.bank(maps)
        return F.normalize(patches, dim=2) if self.unit else patches

    def in_foreground(self, maps: Tensor) -> Tensor | None:
        """(B, n) bool, or None where all patches count."""
        patches = maps.float().flatten(2).mT
        return foreground(patches, self.axis, self.middle, self.margin) if self.foreground else None

    def evidence(self, x: Tensor) -> Evidence:
        maps = self.backbone(x).float()
        queries, exemplars = self.vectors(maps), self.bank.patches.flatten(0, 1)  # (B, n, d), (E n, d)
        number, _, mutual = mutual_nearest(queries, exemplars, self.in_foreground(maps), self.usable.flatten())
        partners = exemplars[number].float()  # (B, n, d)
        similarity = (1 + F.cosine_similarity(queries, partners, dim=2)) / 2
        if self.clustered:
            both = torch.cat([F.normalize(queries, dim=2), F.normalize(partners, dim=2)], 2)
            mutual = keypoints(both / 2**0.5, similarity, mutual, self.count)
        # The keypoints first, in the order of their cells, in P places.
        cell = mutual.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, : self.count]  # (B, P)
        valid, number, similarity = (t.gather(1, cell) for t in (mutual, number, similarity))
        cells = self.usable.shape[1]
        exemplar, place = number // cells, number % cells
        worth = (1 + similarity / (self.count + 1)) * valid
        empty = worth.new_zeros(cell.shape[0], len(self.usable))
        activation = empty.scatter_add(1, exemplar, worth)
        support = None
        if not self.training:
            flat = empty.new_zeros(cell.shape[0], self.usable.numel())
            flat = flat.scatter_add(1, exemplar * cells + cell, similarity * valid)
            support = flat.unflatten(1, (len(self.usable), *self.grid)).clamp(0, 1)
        state = {"query": cell, "exemplar": exemplar, "place": place, "similarity": similarity, "valid": valid}
        return Evidence(activation, support, state)

    # Scores

    def readout(self, evidence: Evidence) -> Tensor:
        return evidence.activation.unflatten(1, (-1, self.bank.per_class)).sum(2)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        own = self.bank.owner == target[:, None]  # (B, K)
        return evidence.activation * own, torch.zeros_like(evidence.activation[:, 0])

    def slopes(self, evidence: Evidence) -> Tensor:
        return F.one_hot(self.bank.owner, len(self.domain.classes)).to(evidence.activation)[None]

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        state, here = evidence.state, torch.arange(len(self.usable), device=evidence.activation.device)
        mine = (state["exemplar"][:, None] == here[:, None]) & state["valid"][:, None]  # (B, K, P)
        return {
            "keypoints": mine.sum(2),
            "query cell": torch.where(mine, state["query"][:, None], -1),
            "exemplar cell": torch.where(mine, state["place"][:, None], -1),
            "similarity": torch.where(mine, state["similarity"][:, None], 0.0),
        }

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """How many keypoints of each row match its target."""
        counts = terms["details"]["keypoints"].unflatten(1, (-1, self.bank.per_class)).sum(2)  # (B, C)
        mine = counts.gather(1, terms["target"][:, None])[:, 0].tolist()
        return tuple(
            f"{count} of {total} matched keypoints are in exemplars of {self.domain.classes[c]}"
            for count, total, c in zip(mine, counts.sum(1).tolist(), terms["target"].tolist(), strict=True)
        )

    def units(self) -> tuple[Unit, ...]:
        return self.bank.units("exemplar")

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": task_loss(scores, batch["target"], self.domain)}

    # Recipe

    def require_ready(self) -> None:
        self.bank.require_filled("KeypointCounting")

    def check_recipe(self) -> None:
        self.bank.check_recipe(self.stages, "KeypointCounting")

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Chooses the exemplars among the training images, and stores their patches."""
        found = survey(projection_set, self.backbone)
        rows = choose(found.pooled, found.target, self.domain.classes, self.bank.per_class, self.choice)
        self.bank.reduce(found)
        self.middle.copy_(found.cells.mean(0))
        self.axis.copy_(outwards(found.cells, found.covariance, self.grid))
        self.usable.zero_()
        for slots, maps in self.bank.fill(rows, projection_set, self.backbone, self.vectors):
            mask = self.in_foreground(maps)
            self.usable[slots] = True if mask is None else mask


def outwards(cells: Tensor, covariance: Tensor, grid: tuple[int, int]) -> Tensor:
    """(D,) the first principal component, pointing from the border of the map to its middle.

    Args:
        cells: (n, D) the mean of each cell.
        covariance: (D, D).
        grid: h and w, with h w = n.
    """
    axis = torch.linalg.eigh(covariance).eigenvectors[:, -1].float()
    inside = torch.zeros(grid, dtype=torch.bool, device=cells.device)
    inside[1:-1, 1:-1] = True
    along, inside = cells @ axis, inside.flatten()
    if not bool(inside.any()) or along[inside].mean() >= along[~inside].mean():  # too small a map has no middle
        return axis
    return -axis
