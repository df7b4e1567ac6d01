"""Filter2Noise: removes the noise of one picture with filters whose widths are the explanation.

Sun et al.: "Filter2Noise: Interpretable Self-Supervised Single-Image Denoising for Low-Dose CT with Attention-Guided
Bilateral Filtering", 2025, arXiv 2504.13519.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.domain import Domain, ImageDomain
from zoo.parts.layers.neighbour_filter import WIDTHS, NeighbourFilter, combined, neighbours, offsets_of
from zoo.parts.layers.noise_model import coloured, noise_covariances
from zoo.parts.layers.width_predictor import WidthPredictor
from zoo.parts.layers.zero_shot_losses import hidden_loss, published_losses, risk
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_above, check_at_least, check_between

PUBLISHED = ("pairs", "resolutions", "diagonals", "edges")
LARGEST = 1 << 27  # weights of a picture: half a gigabyte
WIDEST_MATCH = 31  # pixels
MOST_PATCHES = 1 << 12  # attention takes the square
RECIPE = Recipe(
    stages=(Stage("train", epochs=1, train=("predictors",), cosine=True),),
    lr=1e-3,
    weight_decay=0.01,
    optimizer="adamw",
    coefficients={"hidden": 1.0, "risk": 0.0, **dict.fromkeys(PUBLISHED, 0.0)},
)


@register(
    "filter2noise",
    modality="image",
    paper="Sun et al., 2025",
    small=Small({"radius": 1, "patch": 6, "width": 4}, task="restoration", scale={"predictors.0.first.weight": 9.0}),
)
class Filter2Noise(SelfInterpretable):
    """Each restored pixel is a sum over its noisy neighbours, whose weights follow from widths at each patch.

        s_i = widths of patch i for stage 1, 2, ...: vertical, horizontal and of the range      units "width"
        f = filter(filter(y, s¹), s²)                           see `zoo.parts.layers.neighbour_filter`
        f_p = y_p + Σ_o w_po (y_{p+o} - y_p)                    units "neighbour": the pixel itself, and each offset o

    w_po are the weights of all stages combined, so the terms are those of the noisy picture. The contribution of a
    neighbour is what it pulls the pixel by; removed, its weight goes to the pixel itself. Widths are no terms of the
    sum: their contribution is 0 and removing them changes nothing. They are what one edits: `edit(evidence,
    {"stage 1 range width, rows 1 to 8, columns 9 to 16": 0.5})` filters again with that width, exactly as the model
    would. Zero-shot: a fit adapts the widths to one noisy picture; on others of its size the model is a guess.

    The loss is "hidden" (see `zoo.parts.layers.zero_shot_losses.hidden_loss`), for 20 steps: longer fits restored less
    well. For noise that is correlated between neighbours use `block: 3`. Other terms have the coefficient 0: "risk"
    (`risk` there) is for Gaussian noise of the same covariances everywhere, correlated or not, which are estimated from
    the picture; in place of "hidden" it wants about 60 steps with lr 0.003. Four terms are of the published loss, there
    with 1/3, 1/3, 1/3 and 350.

    Differs from the published code: all channels of a colour picture are filtered with the same weights (there: weights
    get mixed between channels); the window has one size and weights fall to 0 at its border (there: a size that jumps
    with the largest width); neighbours outside of the picture have no weight (there: mirrored); the range of the first
    filter compares surroundings of 3 by 3 pixels, as non-local means does, because two noisy pixels alone say little,
    and that of later ones single pixels, because on filtered pictures these keep edges sharper (there: single pixels
    throughout; `match: 1`); the attention has no output layer, and what a patch itself gives is added to it; the loss
    is another by default, because that of the paper left the noise in small pictures.

    Args:
        domain: what inputs and outputs mean (`data.domain`): pictures to restore.
        filters: number of filters, one after the other, the stages.
        radius: of the window of each, in pixels.
        match: side of the surroundings that are compared, odd: one for all filters, or one for each, of which the last
            is also that of all further filters.
        patch: side of the patches with own widths.
        width: of the attention.
        start: first vertical, horizontal and range width of each filter, the last about 0.8 standard deviations of the
            noise for values in [0, 1].
        block: side of the blocks that "hidden" hides, odd: 1 for independent noise, 3 for noise that is correlated
            between neighbours.
        every: pixels between two hidden blocks.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: predictors.

    Raises:
        ValueError: a domain that is not one of pictures to restore, a picture that is too large, or a number out of
            range.
    """

    default_recipe = RECIPE
    weighs_classes = False
    tasks = ("regression",)
    domain: ImageDomain
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        filters: int = 2,
        radius: int = 4,
        match: int | tuple[int, ...] = (3, 1),
        patch: int = 8,
        width: int = 8,
        start: tuple[float, float, float] = (4.0, 4.0, 0.08),
        block: int = 1,
        every: int = 4,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not isinstance(self.domain, ImageDomain) or not self.domain.restored:
            raise ValueError(
                "Filter2Noise restores pictures; its data need a domain of images with `restored`, such as that of "
                "NoisyPicture."
            )
        check_between(1, 3, filters=filters)
        check_at_least(1, width=width, block=block)
        check_at_least(block + 1, every=every)
        if len(start) != len(WIDTHS):
            raise ValueError(f"start has three widths, {', '.join(WIDTHS)}; got {len(start)}.")
        for name, value in zip(WIDTHS, start, strict=True):
            check_above(0, **{f"start ({name})": value})
        if block % 2 == 0:
            raise ValueError(f"block must be odd, so that a pixel is in the middle; got {block}.")
        self.block, self.every, self.patch, self.start = block, every, patch, start
        self._covariances: tuple[Tensor, Tensor] | None = None  # a picture, and those of its noise
        channels, height, breadth = self.domain.shape
        self.sides = sides_of(match, filters)
        self.filters = tuple(NeighbourFilter(radius, side, patch) for side in self.sides)  # without parameters
        self.radius, self.reach = radius, filters * radius
        if (2 * self.reach + 1) ** 2 * height * breadth > LARGEST:
            raise ValueError(
                f"{(2 * self.reach + 1) ** 2} neighbours of {height} x {breadth} pixels are too many weights; use a "
                "smaller picture, `radius` or number of `filters`."
            )
        self.grid = (-(-height // patch), -(-breadth // patch))  # patches
        if self.grid[0] * self.grid[1] > MOST_PATCHES:
            raise ValueError(f"a picture has at most {MOST_PATCHES:,} patches; got {self.grid}. Use a larger `patch`.")
        self.predictors = nn.ModuleList(WidthPredictor(channels, patch, width, start) for _ in range(filters))
        self.register_buffer("mean", torch.tensor(self.domain.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(self.domain.std).view(-1, 1, 1), persistent=False)
        self.space = "value"
        self._units = self._build_units()

    @property
    def neighbours(self) -> int:
        """Number of units that are neighbours; the widths follow."""
        return (2 * self.reach + 1) ** 2

    def restore(self, picture: Tensor) -> Tensor:
        """The restored picture (B, C, H, W), of any size, for values in [0, 1], one filter after the other."""
        for each, predictor in zip(self.filters, self.predictors, strict=True):
            picture = each(picture, predictor(picture))
        return picture

    def restore_at_start(self, picture: Tensor) -> Tensor:
        """The restored picture (B, C, H, W) with the widths that a training begins with, the same in all patches."""
        for each in self.filters:
            grid = (-(-side // self.patch) for side in picture.shape[-2:])
            widths = picture.new_tensor(self.start).view(1, -1, 1, 1).expand(picture.shape[0], -1, *grid)
            picture = each(picture, widths)
        return picture

    def covariances(self, picture: Tensor) -> Tensor:
        """(H, W) the estimated covariances of the noise of a picture (B, C, H, W), kept for the next call.

        See `zoo.parts.layers.noise_model.noise_covariances`.
        """
        kept = self._covariances
        if kept is None or kept[0].device != picture.device or not torch.equal(kept[0], picture):
            kept = self._covariances = picture, noise_covariances(self.restore_at_start, picture)
        return kept[1]

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):
            picture = x.float() * self.scale + self.mean
            if self.training:  # the same without the weights of all stages combined
                restored = self.restore(picture)
                return Evidence(torch.ones_like(picture[:, 0, 0]), None, {"restored": restored.flatten(1)})
            guide, widths = picture, []
            for each, predictor in zip(self.filters, self.predictors, strict=True):
                widths.append(predictor(guide))
                guide = each(guide, widths[-1])
            every = torch.stack(widths, 1)  # (B, stages, 3, h, w)
            ones = torch.ones(x.shape[0], self.neighbours, device=x.device)
            activation = torch.cat([ones, every.flatten(1)], 1)
            return Evidence(activation, None, self._filtered(picture, every))

    def _filtered(self, picture: Tensor, widths: Tensor) -> dict[str, Tensor]:
        """The state for a picture in [0, 1] and widths (B, stages, 3, h, w)."""
        guide, weights = picture, None
        for stage, each in enumerate(self.filters):
            own = each.weights(guide, widths[:, stage])
            weights = own if weights is None else combined(weights, own)
            guide = (own[:, None] * neighbours(guide, self.radius)).sum(2)
        assert weights is not None
        return {"picture": picture, "weights": weights}

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """The evidence with other activations; with other widths, the picture is filtered again."""
        edited = super().intervene(evidence, mask, values)
        if not bool(mask[:, self.neighbours :].any()):
            return edited
        widths = edited.activation[:, self.neighbours :].unflatten(1, (len(self.predictors), len(WIDTHS), *self.grid))
        return replace(edited, state=self._filtered(edited.state["picture"], widths))

    def ablate(self, evidence: Evidence, units: Iterable[str | int]) -> Evidence:
        """The evidence without some neighbours; widths are no terms, so that they stay."""
        columns = (self.unit_index(unit) for unit in units)
        return self.edit(evidence, dict.fromkeys((k for k in columns if k < self.neighbours), 0.0))

    def readout(self, evidence: Evidence) -> Tensor:
        if "restored" in evidence.state:
            return evidence.state["restored"]
        picture, weights = evidence.state["picture"], evidence.state["weights"]
        counted = (weights * evidence.activation[:, : self.neighbours, None, None])[:, None]
        pulled = (counted * (neighbours(picture, self.reach) - picture[:, :, None])).sum(2)
        own = evidence.activation[:, self.neighbours // 2, None, None, None]
        return (own * picture + pulled).flatten(1)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        picture, weights = evidence.state["picture"], evidence.state["weights"]
        rows, pixels = torch.arange(picture.shape[0], device=target.device), picture.shape[2] * picture.shape[3]
        channel, pixel = target // pixels, target % pixels
        value = picture.flatten(2)[rows, channel, pixel]
        around = neighbours(picture, self.reach).flatten(3)[rows, channel, :, pixel]  # (B, K)
        pulls = weights.flatten(2)[rows, :, pixel] * (around - value[:, None])
        itself = torch.arange(self.neighbours, device=target.device) == self.neighbours // 2
        terms = evidence.activation[:, : self.neighbours] * torch.where(itself, value[:, None], pulls)
        rest = torch.zeros_like(evidence.activation[:, self.neighbours :])
        return torch.cat([terms, rest], 1), torch.zeros_like(value)

    def slopes(self, evidence: Evidence) -> None:
        """Not constant: scores are no linear function of the widths."""

    def units(self) -> tuple[Unit, ...]:
        return self._units

    def _build_units(self) -> tuple[Unit, ...]:
        units = [Unit(name_of(*o), "neighbour", source={"offset": list(o)}) for o in offsets_of(self.reach)]
        height, width = self.domain.size
        for stage in range(len(self.predictors)):
            for name in WIDTHS:
                for i in range(self.grid[0]):
                    for j in range(self.grid[1]):
                        top, left = i * self.patch, j * self.patch
                        below, right = min(top + self.patch, height), min(left + self.patch, width)
                        where = f"rows {top + 1} to {below}, columns {left + 1} to {right}"
                        source = {"stage": stage + 1, "width": name, "box": [top, left, below, right]}
                        source |= {"radius": self.radius, "match": self.sides[stage], "patch": self.patch}
                        units.append(Unit(f"stage {stage + 1} {name} width, {where}", "width", source=source))
        return tuple(units)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        picture = batch["input"].float() * self.scale + self.mean
        with without_autocast(picture):
            terms = [name for name in PUBLISHED if self.coefficients[name]]
            found = published_losses(self.restore, picture, terms)
            if self.coefficients["risk"]:
                drawn = None if self.training else torch.Generator().manual_seed(0)  # the same in every validation
                white = torch.randn(picture.shape, generator=drawn).to(picture)
                noise = coloured(white, self.covariances(picture))
                found["risk"] = risk(self.restore, picture, scores.view_as(picture), noise)
            if self.coefficients["hidden"]:
                place = None if self.training else self.every // 2  # the same in every validation
                found["hidden"] = hidden_loss(self.restore, picture, self.block, self.every, place)
        return found

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        said = []
        for row in terms["activation"][:, self.neighbours :]:
            widths = row.unflatten(0, (len(self.predictors), len(WIDTHS), -1)).mean(2)
            stages = (
                f"stage {i + 1}: {v:.2f} pixels down, {h:.2f} across, {r:.3f} of the range"
                for i, (v, h, r) in enumerate(widths.tolist())
            )
            said.append(f"Mean widths of {'; '.join(stages)}.")
        return tuple(said)


def name_of(dy: int, dx: int) -> str:
    """Name of a neighbour."""
    parts = [f"{abs(dy)} {'up' if dy < 0 else 'down'}"] if dy else []
    parts += [f"{abs(dx)} {'left' if dx < 0 else 'right'}"] if dx else []
    return ", ".join(parts) or "the pixel itself"


def sides_of(match: int | Sequence[int], filters: int) -> tuple[int, ...]:
    """Side of the surroundings that each filter compares; the last one given is also that of all further filters."""
    sides = (match,) if isinstance(match, int) else tuple(match)
    if not sides:
        raise ValueError("match must have at least one side; got none.")
    check_between(1, WIDEST_MATCH, match=max(sides))
    return (sides + sides[-1:] * filters)[:filters]
