"""Visual correspondence classifiers: the training images whose patches match best vote for their class.

Taesiri, Nguyen, Nguyen: "Visual correspondence-based explanations improve AI robustness and human-AI team accuracy",
NeurIPS 2022, arXiv 2208.00780.
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
from zoo.prototypes.layers.matcher import Matcher, parse_matcher
from zoo.prototypes.layers.reduction import Reduction, upgrade_reduction
from zoo.prototypes.layers.selection import choose, survey
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_above, check_choice
from zoo.utils.functional import at_least_fp32, tied
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
VOTES = ("one", "similarity")
# Arguments of earlier versions -> fields of the matcher.
FORMER = {"matching": "method", "pairs": "pairs", "weights": "weights", "epsilon": "epsilon", "steps": "steps"}


@register(
    "correspondence",
    modality="image",
    paper="Taesiri et al., NeurIPS 2022",
    small=Small(
        {"candidates": 6, "neighbours": 4, "matcher": {"pairs": 3, "flows": "all"}, "per_class": 4, "thumbnail": 8},
        inputs="halves",
        variants={
            "mutual": Small({"matcher": {"method": "mutual", "weights": "uniform", "pairs": 3}}),
            "weighted": Small(
                {"vote": "similarity", "temperature": 0.5, "reduction": {"dim": 4}, "per_class": 2}
                | {"matcher": {"pairs": 3}}
            ),
            "discriminants": Small({"reduction": {"method": "discriminants"}, "matcher": {"pairs": 3}}),
        },
    ),
)
class Correspondence(SelfInterpretable):
    """Scores classes by the votes of the training images that match the input patch by patch. Nothing is trained.

        1. candidates: the N training images of largest cosine of the mean over the patches, the cells of backbone(x)
        2. match(x, candidate), from the n·n cosines of patches z_i of x and c_j of the candidate, ranks them again;
           with a_i ∝ z_i · mean c and b_j ∝ c_j · mean z, the cross-correlations, negative ones 0, both of sum 1:
           "emd"     EMD-Corr: the sum of T_ij cos(z_i, c_j) over the `pairs` largest T_ij (`flows: all`: over all, as
                     in the paper's formula) of the plan that minimises Σ T_ij (1 - cos(z_i, c_j)), T >= 0, T 1 = a,
                     Tᵀ 1 = b, by Sinkhorn's algorithm with entropy ε
           "mutual"  CHM-Corr without the Hough network, by mutual nearest patches: the sum of the `pairs` largest
                     √(a_i b_j) cos(z_i, c_j) of patches i, j of which each is the nearest of the other
        3. score_c = Σ of the votes of those of the k best matches that are of class c             no bias

    Matches that are equal up to rounding rank by the cosine of step 1. A vote is 1 as published, where classes of equal
    votes tie (the first wins), or exp((match - best match) / τ) with `vote="similarity"`. Every stored training image
    is a unit; its activation is its vote, 0 unless it is among the k, and its contribution is that vote to its own
    class, else 0. `details` give for each image its "rank" (from 1; 0 if it does not vote), its "match", the "cosine"
    of step 1, and its `pairs` best patch pairs, (B, K, pairs): "query cell" and "exemplar cell" (counted row by row, -1
    for none) and "similarity". For "emd" these are the pairs with the largest T_ij, of all flows the largest terms.

    Recipe: the action `gather` stores the training images, then an epoch measures. A training image is its own nearest
    neighbour, so accuracies on the training set mean little.

    Differs from the published code: all candidates of all inputs are matched in batches; Sinkhorn's algorithm runs a
    fixed number of steps instead of ending at a coarse threshold; the partner of a patch is its mutual nearest one and
    not that of a Hough matching network. Patches may be reduced to principal components, because the training set is
    part of the checkpoint, or to Fisher's discriminants of the training images, a metric that was learned; candidates
    and medoids are then chosen by the reduced patches too.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`; frozen.
        matcher: how the patches of two images are matched, see `zoo.prototypes.layers.matcher.Matcher`.
        candidates: N.
        neighbours: k, at most N.
        vote: "one" or "similarity".
        temperature: τ > 0 of that vote (Wu et al., "Unsupervised feature learning", CVPR 2018).
        per_class: stored training images of each class; a class that has more is represented by its medoids.
        reduction: of the channels of patches before they are compared, see
            `zoo.prototypes.layers.reduction.Reduction`; by default they stay as they are.
        thumbnail: side in pixels of the stored pictures.
        recipe: see `zoo.training.recipe.Recipe`.

    Raises:
        ValueError: a number out of range, an unknown choice, fewer than two classes, inputs that are not images, or a
            backbone whose map is a single cell.
    """

    default_recipe = RECIPE
    space = "value"
    domain: ImageDomain

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet50",
        matcher: Matcher | None = None,
        candidates: int = 50,
        neighbours: int = 20,
        vote: str = "one",
        temperature: float = 0.05,
        per_class: int = 30,
        reduction: Reduction | None = None,
        thumbnail: int = 32,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "Correspondence")
        matcher, reduction = parse_matcher(matcher), parse_options(Reduction, reduction, "reduction")
        check_choice(VOTES, vote=vote)
        check_above(0, temperature=temperature)
        if not 1 <= neighbours <= candidates <= per_class * len(domain.classes):
            raise ValueError(
                f"expected 1 <= neighbours <= candidates <= {per_class * len(domain.classes)}, the largest number of "
                f"stored training images (per_class times the classes); got {neighbours} and {candidates}."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.matcher, self.candidates, self.neighbours = matcher, candidates, neighbours
        self.temperature = temperature if vote == "similarity" else None
        self.backbone = create_backbone(backbone, domain.channels)
        self.grid = require_grid(self.backbone, domain, "Correspondence")
        if (cells := self.grid[0] * self.grid[1]) < matcher.pairs:
            raise ValueError(f"pairs must be 1 to {cells}, the cells of the map; got {matcher.pairs}.")
        self.bank = ImageBank(domain, per_class, self.backbone.channels, self.grid, reduction, thumbnail)

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        current = upgrade_reduction(super().upgrade_arguments(arguments))
        found = {FORMER[name]: current.pop(name) for name in FORMER if name in current}
        matcher = {"flows": "all", **(current.get("matcher") or {}), **found}  # which older checkpoints added up
        return {**current, "matcher": matcher}

    # Matching

    def evidence(self, x: Tensor) -> Evidence:
        maps = at_least_fp32(self.backbone(x))
        with torch.autocast(x.device.type, enabled=False):
            patches, stored = self.bank(maps), at_least_fp32(self.bank.patches)
            cosines = F.normalize(patches.mean(1), dim=1) @ F.normalize(stored.mean(1), dim=1).T  # (B, E)
            cosine, slot = cosines.masked_fill(~self.bank.filled, -torch.inf).topk(self.candidates, 1)
            found = self.matcher.match_bank(patches, stored, slot)
            rank = tied(found.value).sort(dim=1, descending=True, stable=True).indices[:, : self.neighbours]  # (B, K)
            value = found.value.gather(1, rank)
        slot, cosine = slot.gather(1, rank), cosine.gather(1, rank)
        votes = torch.ones_like(value)
        if self.temperature is not None:
            votes = ((value - value[:, :1]) / self.temperature).exp()
        wide = rank[..., None].expand(-1, -1, self.matcher.pairs)
        query, place, similarity = (t.gather(1, wide) for t in (found.query, found.other, found.similarity))
        order = torch.arange(1, self.neighbours + 1, device=slot.device).expand_as(slot)
        state = {"rank": self.spread(slot, order), "match": self.spread(slot, value)}
        state |= {"cosine": self.spread(slot, cosine), "similarity": self.spread(slot, similarity)}
        state |= {"query": self.spread(slot, query, -1), "place": self.spread(slot, place, -1)}
        support = None
        if not self.training:
            flat = similarity.new_zeros(*rank.shape, self.grid[0] * self.grid[1])
            strength = similarity.clamp(0, 1) * (query >= 0)
            fires = flat.scatter_reduce(2, query.clamp_min(0), strength, "amax")
            support = self.spread(slot, fires).unflatten(2, self.grid)
        return Evidence(self.spread(slot, votes), support, state)

    def spread(self, slot: Tensor, values: Tensor, fill: int = 0) -> Tensor:
        """Values (B, k, ...) of the neighbours, in their places `slot` (B, k) among all images, (B, E, ...)."""
        out = values.new_full((slot.shape[0], len(self.bank.patches), *values.shape[2:]), fill)
        return out.scatter(1, slot.view(*slot.shape, *[1] * (values.ndim - 2)).expand_as(values), values)

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
        names = {"query": "query cell", "place": "exemplar cell"}
        return {names.get(name, name): value for name, value in evidence.state.items()}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """How many neighbours of each row are of its target, and which of them match best."""
        names, ranks = self.bank.names(), terms["details"]["rank"]
        own = (ranks > 0) & (self.bank.owner == terms["target"][:, None])
        order = ranks.where(own, ranks.shape[1]).argsort(dim=1, stable=True)[:, :3].tolist()
        texts = []
        for best, count, c in zip(order, own.sum(1).tolist(), terms["target"].tolist(), strict=True):
            which = f", the best of them {', '.join(names[j] for j in best[:count])}" if count else ""
            texts.append(f"{count} of {self.neighbours} neighbours are of {self.domain.classes[c]}{which}")
        return tuple(texts)

    def units(self) -> tuple[Unit, ...]:
        return self.bank.units("training image")

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"cross_entropy": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}

    # Recipe

    def require_ready(self) -> None:
        self.bank.require_filled("Correspondence")

    def check_recipe(self) -> None:
        self.bank.check_recipe(self.stages, "Correspondence")

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Stores the training images, of large classes the medoids.

        Raises:
            ValueError: fewer training images than candidates, or a class without any.
        """
        found = survey(projection_set, self.backbone)
        self.bank.fit_reduction(found)
        pooled = self.bank.reduce(found.pooled)
        rows = choose(pooled, found.target, self.domain.classes, self.bank.per_class, "medoids")
        if (kept := int((rows >= 0).sum())) < self.candidates:
            raise ValueError(
                f"{self.candidates} candidates are to be matched, but only {kept} training images are stored; lower "
                "candidates and neighbours."
            )
        for _ in self.bank.fill(rows, projection_set, self.backbone, self.bank):
            pass
