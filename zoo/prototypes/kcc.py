"""Keypoint counting classifiers: a class scores by the number of image points that match points of its exemplars.

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
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.image_bank import ImageBank
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.matching import foreground, keypoints, mutual_nearest
from zoo.prototypes.layers.points import Points, upgrade_points
from zoo.prototypes.layers.reduction import Reduction, upgrade_reduction
from zoo.prototypes.layers.selection import choose, survey
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.functional import at_least_fp32
from zoo.utils.options import parse_options

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
        {"exemplars": 3, "points": {"foreground": "none", "keypoints": 6}, "thumbnail": 8},
        inputs="training",  # of a cluster of perfect matches, rounding would decide which represents it
        variants={
            "all": Small(
                {
                    "points": {"keypoints": 0},
                    "exemplars": 2,
                    "choice": "nearest",
                    "reduction": {"dim": 6, "whiten": 0.5},
                },
                inputs="halves",
            ),
            "foreground": Small({"exemplars": 4, "points": {"keypoints": 6}, "unit": False}),
            "patches": Small(
                {"exemplars": 4, "points": {"keypoints": 6, "foreground": "patches", "representative": "similarity"}}
            ),
        },
    ),
)
class KeypointCounting(SelfInterpretable):
    """Scores classes by how many points of the image match points of a few exemplars of the class. Nothing is trained.

        z = patches of backbone(x)                (B, n, d)      n = h·w cells, of unit length
        e = patches of all exemplars              (E n, d)       E = C·Q, Q of each class, all classes in competition
        pairs (i, j): j is nearest to i, i is nearest to j (`mutual`), and z_i and e_j are foreground
        keypoints: the pairs are clustered by k-means on the two cells' vectors, [z_i, e_j] / √2, to at most P
            clusters; each is represented by its pair nearest to its centre
        s = (1 + cosine of the pair) / 2 in [0, 1]
        score_c = Σ over keypoints whose exemplar is of class c of 1 + s / (P + 1)        no bias

    Since Σ s / (P + 1) < 1, the integer part of a score is the **number of keypoints** of the class; the fraction grows
    with the mean similarity and decides between classes of equal number. Every exemplar is a unit, and its contribution
    to its class is exactly the sum of its keypoints' terms. `details` give for each exemplar its number of "keypoints",
    and for each of the P keypoints, (B, K, P), the "query cell" and "exemplar cell" (counted row by row, -1 if the
    keypoint belongs to another exemplar or does not exist) and the "similarity".

    Foreground: patches whose first principal component lies above their image's mean + 0.2 standard deviations. The
    component is that of all training patches, and points from the border of the training images to their middle.

    Recipe: the action `gather` chooses the exemplars, then an epoch measures. A training image that is an exemplar
    matches itself, so accuracies on the training set mean little.

    Differs from the published code: k-means starts from spread points instead of at random, and a cluster is
    represented by one of its own pairs; exemplars are medoids of the class instead of given by hand; the principal
    component is that of the training set instead of that of each query with its exemplars; vectors have unit length;
    pairs need not be mutual; patches may be reduced first, to principal components, for backbones with many channels of
    different scale, or to Fisher's discriminants of the training images, a metric that was learned.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`; frozen.
        exemplars: Q; all images of a class with fewer training images.
        choice: "medoids" of the class, or the images "nearest" to its mean.
        points: which pairs become keypoints, see `zoo.prototypes.layers.points.Points`.
        unit: scale vectors to unit length; otherwise Euclidean distances of unscaled vectors, as published.
        reduction: of the channels of patches before they are compared, see
            `zoo.prototypes.layers.reduction.Reduction`; by default they stay as they are.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`.

    Raises:
        ValueError: a number out of range, fewer than two classes, inputs that are not images, or a backbone whose map
            is a single cell.
    """

    default_recipe = RECIPE
    space = "value"
    domain: ImageDomain
    axis: Tensor
    middle: Tensor
    usable: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "vit_base_patch14_dinov2",
        exemplars: int = 5,
        choice: str = "medoids",
        points: Points | None = None,
        unit: bool = True,
        reduction: Reduction | None = None,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "KeypointCounting")
        super().__init__(domain, recipe)
        points, reduction = parse_options(Points, points, "points"), parse_options(Reduction, reduction, "reduction")
        self.keep_arguments(locals())
        check_choice(("medoids", "nearest"), choice=choice)
        check_at_least(1, exemplars=exemplars)
        self.choice, self.points, self.unit = choice, points, unit
        self.backbone = create_backbone(backbone, domain.channels)
        self.grid = require_grid(self.backbone, domain, "KeypointCounting")
        cells, channels = self.grid[0] * self.grid[1], self.backbone.channels
        self.clustered = 0 < points.keypoints < cells
        self.count = points.keypoints if self.clustered else cells
        self.bank = ImageBank(domain, exemplars, channels, self.grid, reduction, thumbnail)
        self.register_buffer("axis", torch.zeros(channels))
        self.register_buffer("middle", torch.zeros(channels))
        self.register_buffer("usable", torch.zeros(len(domain.classes) * exemplars, cells, dtype=torch.bool))

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return upgrade_reduction(upgrade_points(super().upgrade_arguments(arguments)))

    # Matching

    def vectors(self, maps: Tensor) -> Tensor:
        """Maps (B, D, h, w) as vectors (B, n, d) to compare."""
        patches = self.bank(maps)
        return F.normalize(patches, dim=2) if self.unit else patches

    def in_foreground(self, maps: Tensor) -> Tensor | None:
        """(B, n) bool, which patches count; None for all."""
        if self.points.foreground == "none":
            return None
        return foreground(at_least_fp32(maps).flatten(2).mT, self.axis, self.middle, self.points.margin)

    def evidence(self, x: Tensor) -> Evidence:
        maps = at_least_fp32(self.backbone(x))
        queries, exemplars = self.vectors(maps), self.bank.patches.flatten(0, 1)  # (B, n, d), (E n, d)
        number, pairs = self._pairs(maps, queries, exemplars)
        partners = at_least_fp32(exemplars[number])  # (B, n, d)
        similarity = (1 + F.cosine_similarity(queries, partners, dim=2)) / 2
        if self.clustered:
            both = torch.cat([F.normalize(queries, dim=2), F.normalize(partners, dim=2)], 2)
            weight = similarity if self.points.representative == "similarity" else None
            pairs = keypoints(both / 2**0.5, similarity, pairs, self.count, weight)
        # The keypoints, ordered by cell, in the first of P places.
        cell = pairs.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, : self.count]  # (B, P)
        valid, number, similarity = (t.gather(1, cell) for t in (pairs, number, similarity))
        cells = self.usable.shape[1]
        exemplar, place = number // cells, number % cells
        term = (1 + similarity / (self.count + 1)) * valid
        empty = term.new_zeros(cell.shape[0], len(self.usable))
        activation = empty.scatter_add(1, exemplar, term)
        support = None
        if not self.training:
            flat = empty.new_zeros(cell.shape[0], self.usable.numel())
            flat = flat.scatter_add(1, exemplar * cells + cell, similarity * valid)
            support = flat.unflatten(1, (len(self.usable), *self.grid)).clamp(0, 1)
        state = {"query": cell, "exemplar": exemplar, "place": place, "similarity": similarity, "valid": valid}
        return Evidence(activation, support, state)

    def _pairs(self, maps: Tensor, queries: Tensor, exemplars: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n) number of the exemplars' patch nearest to each patch, and (B, n) bool, which of these pairs count."""
        mask, usable = self.in_foreground(maps), self.usable.flatten()
        compete, among = mask, usable  # foreground patches alone
        if self.points.foreground != "patches":
            compete, among = None, self.bank.filled[:, None].expand_as(self.usable).flatten()
        number, _, mutual = mutual_nearest(queries, exemplars, compete, among)
        pairs = usable[number]
        if self.points.mutual:
            pairs = pairs & mutual
        return number, pairs if mask is None else pairs & mask

    # Scores

    def readout(self, evidence: Evidence) -> Tensor:
        return self.bank.class_sums(evidence.activation)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.bank.contributions(evidence.activation, target)

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        return self.bank.mean_contributions(evidence.activation)

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.bank.slopes(evidence.activation)

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
        counts = self.bank.class_sums(terms["details"]["keypoints"])  # (B, C)
        mine = counts.gather(1, terms["target"][:, None])[:, 0].tolist()
        return tuple(
            f"{count} of {total} matched keypoints are in exemplars of {self.domain.classes[c]}"
            for count, total, c in zip(mine, counts.sum(1).tolist(), terms["target"].tolist(), strict=True)
        )

    def units(self) -> tuple[Unit, ...]:
        return self.bank.units("exemplar")

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}

    # Recipe

    def require_ready(self) -> None:
        self.bank.require_filled("KeypointCounting")

    def check_recipe(self) -> None:
        self.bank.check_recipe(self.stages, "KeypointCounting")

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Chooses the exemplars among the training images, and stores their patches."""
        found = survey(projection_set, self.backbone)
        self.bank.fit_reduction(found)
        pooled = self.bank.reduce(found.pooled)
        rows = choose(pooled, found.target, self.domain.classes, self.bank.per_class, self.choice)
        self.middle.copy_(found.cells.mean(0))
        self.axis.copy_(outwards(found.cells, found.covariance, self.grid))
        self.usable.zero_()
        for slots, maps in self.bank.fill(rows, projection_set, self.backbone, self.vectors):
            mask = self.in_foreground(maps)
            self.usable[slots] = True if mask is None else mask


def outwards(cells: Tensor, covariance: Tensor, grid: tuple[int, int]) -> Tensor:
    """(D,) the first principal component, pointing from the border of the map to its middle.

    Args:
        cells: (n, D) mean over the images for each cell.
        covariance: (D, D) of all patches.
        grid: h and w, with h·w = n.
    """
    axis = torch.linalg.eigh(covariance).eigenvectors[:, -1].float()
    inside = torch.zeros(grid, dtype=torch.bool, device=cells.device)
    inside[1:-1, 1:-1] = True
    along, inside = cells @ axis, inside.flatten()
    if not bool(inside.any()) or along[inside].mean() >= along[~inside].mean():  # a map below 3 x 3 has no middle
        return axis
    return -axis
