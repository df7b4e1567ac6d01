"""Sum-of-Parts: the score is a sparse sum of what the backbone says of a few groups of elements, each seen alone.

You, Qu, Gatti, Jain, Wong: "Sum-of-Parts: Self-Attributing Neural Networks with End-to-End Learning of Feature Groups",
ICML 2025, arXiv 2310.16316.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, TextDomain
from zoo.parts.layers.element_features import CopiedFeatures, create_projection
from zoo.parts.layers.elements import FILLS, Elements, Grouping, group_size
from zoo.parts.layers.group_generator import GroupGenerator, membership, strongest
from zoo.parts.layers.group_selector import GroupSelector
from zoo.parts.layers.masked_backbone import MaskedEncoder, create_masked_encoder
from zoo.parts.layers.unit_logits import Voting
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(
        Stage("whole", epochs=10, train=("backbone", "head")),
        Stage("masked", epochs=10, train=("backbone", "head"), masked=True),
        Stage("clone"),
        Stage("groups", epochs=5, train=("projection", "generator", "selector")),
    ),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
CHOICES = {
    "scale": ("mass", "none"),
    "gradient": ("scale", "straight_through"),
    "anchors": ("stride", "all", "learned"),
    "fill": FILLS,
    "tokens": ("masked", "dropped"),
    "select_by": ("output", "input"),
}


TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}


@register(
    "sop",
    modality=("image", "text", "series", "table"),
    paper="You et al., ICML 2025 (Sum-of-Parts)",
    small=Small(
        {"elements": {"patch": 2}, "groups": 6},
        scale={"head.weight": 20.0, "selector.classes": 20.0},  # groups that do not depend on rounding
        variants={
            "input": Small({"select_by": "input"}),
            "all": Small({"anchors": "all", "elements": {"patch": 5}}),
            "learned": Small({"anchors": "learned", "heads": 2}),
            "unscaled": Small({"scale": "none", "gradient": "straight_through", "heads": 2}),
            "blur": Small({"fill": "blur"}),
            "mean": Small({"fill": "mean"}),
            "token": Small({"fill": "token"}),
            "vit": Small({"backbone": TINY_VIT, "elements": {}}),
            "vit-dropped": Small({"backbone": TINY_VIT, "elements": {}, "tokens": "dropped"}),
            "rows": Small({"elements": {}, "groups": 3, "size": 2, "blur": 1}, on="table"),
            "series": Small({"elements": {"patch": 3}, "groups": 3, "size": 0.4}, on="series"),
            "series-patch": Small(
                {"elements": {"patch": 3}, "groups": 3, "size": 0.4, "projection": "patch", "fill": "blur"}, on="series"
            ),
            "texts": Small({"elements": {}, "groups": 4, "size": 0.5}, on="text"),
            "texts-dropped": Small({"elements": {}, "groups": 4, "size": 0.5, "tokens": "dropped"}, on="text"),
        },
    ),
)
class SumOfParts(Voting, SelfInterpretable):
    """Turns a backbone into a sum over groups of the input's elements, and the sum into the explanation.

        e = projection(x)                              (B, L, E) features of the L elements, see `Elements`
        A = generator(e)                               (B, M, L) attention: a row for each group
        g = the k strongest elements of each row       (B, M, L) in {0, 1}
        c = mass of A inside g - mass outside          (B, M)    in [-1, 1]
        y = head(h), h = backbone(x ⊙ g)               (B, M, C) each group is seen alone
        θ = selector(h)                                (B, M, C) sparse, sums to 1 over the groups
        score = Σ_i c_i θ_i y_i

    A group's activation is c, its contribution c θ y, and there is no bias. Everything that a group's y depends on lies
    inside the group: pixels outside of it change nothing, bit for bit, as long as the group is the same.

    Recipe: the backbone learns on whole inputs (`whole`) and then on random groups (`masked`, a stage of this name),
    the action `clone` copies it into the projection and its head into the class queries, then the groups are learned
    (`groups`). A stage that trains neither generator, projection nor selector trains the backbone alone.

    How this differs from the official code: the backbone learns to see groups before it has to judge them, without
    which most of the accuracy is lost (leave out the stage `masked` for the published recipe); features are normalised
    before the attention, so its scale needs no tuning (`normalise: false` for raw ones); only attention rows that are
    used are computed; all heads learn at once; masks belong to the sample that they were made for.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`; a Vision Transformer of timm keeps its own pooling.
        elements: `patch` in pixels or steps, or `sentences`, see `Elements`; a Vision Transformer has its own patch.
        groups: M.
        size: elements of a group, as a share of those that there are, or as a whole number.
        heads: of the generator.
        projection: "copy": a copy of the backbone, whose map is fitted to the grid of elements; "patch": a layer on
            each element's own values and one Transformer block, for inputs without such a map; "auto": the first that
            this backbone allows.
        scale: "mass": c, as published; through it alone the task teaches the generator. "none": c = 1, for regression,
            where c would rescale the value; then the generator learns by `gradient="straight_through"` only.
        gradient: "scale": as published, which raises or lowers the mass of the elements that are in a group;
            "straight_through": also through the masks, by which a group learns *which* elements to hold (costs a
            backward pass through the backbone).
        anchors: "stride", as published; "all" elements; or "learned" queries, see `GroupGenerator`.
        fill: what hides an element: "zero", "mean", "blur" or "token" (learned), see `Elements.hide`.
        tokens: "masked", or "dropped": a Vision Transformer then runs on the group's tokens alone. That is another
            function, several times cheaper; for texts it is the same function.
        select_by: "output": θ sees h, as published; "input": θ sees the mean of e over the group, so that groups that
            no class needs are never run.
        sharpness: of the attention, the paper's s_g is sharpness / √E; by default the action `clone` sets it so that
            c is 0.5 in the mean at the start. If it is low, c starts negative, which a warning tells.
        selection: the paper's s_s.
        blur: side of the Gaussian over the attention's scores in cells, odd; 1 for none. Published: 3 (images), 15
            (texts), 1 (maps).
        normalise: features to unit variance before the attention.
        memory: that masked passes may take at one time, roughly, in MiB; by default 2048 on a GPU, and 16 on a CPU,
            where what stays in the cache is fastest.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, projection,
            generator, selector.

    Raises:
        ValueError: an unknown choice; a size of no elements or more than there are; more groups than candidates; a
            backbone that cannot read these inputs, or none for this choice of tokens or fill.
    """

    default_recipe = RECIPE
    adjustable: ClassVar[tuple[str, ...]] = ("groups", "size", "heads")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        elements: dict[str, int] | None = None,
        groups: int = 20,
        size: float | int = 0.2,
        heads: int = 1,
        projection: str = "auto",
        scale: str = "mass",
        gradient: str = "scale",
        anchors: str = "stride",
        fill: str = "zero",
        tokens: str = "masked",
        select_by: str = "output",
        sharpness: float | None = None,
        selection: float = 0.1,
        blur: int = 3,
        normalise: bool = True,
        memory: int | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        chosen = {"scale": scale, "gradient": gradient, "anchors": anchors, "fill": fill, "tokens": tokens}
        for name, value in {**chosen, "select_by": select_by}.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}; got '{value}'.")
        numbers = {"sharpness": sharpness, "selection": selection, "memory": memory, "blur": blur}
        if min(v for v in numbers.values() if v is not None) <= 0 or blur % 2 == 0:
            raise ValueError(
                "expected sharpness, selection and memory above 0 and an odd blur >= 1; got "
                f"{', '.join(f'{name} {value}' for name, value in numbers.items())}."
            )
        if gradient == "straight_through" and isinstance(self.domain, TextDomain):
            raise ValueError("gradient='straight_through' needs inputs that are numbers, and words are none.")
        self.mass, self.through, self.by_input = scale == "mass", gradient == "straight_through", select_by == "input"
        encoder, patch = create_masked_encoder(backbone, self.domain)
        self.elements = Elements(self.domain, **{**({"patch": patch} if patch else {}), **(elements or {})})
        self.backbone = MaskedEncoder(encoder, self.elements, fill, tokens == "dropped", memory)
        self.head = nn.Linear(self.backbone.channels, len(self.domain.classes))
        self.projection = create_projection(projection, encoder, self.elements)
        self.anchors, self.grouping = anchors, Grouping(groups, size, heads)
        if anchors == "all":
            self.grouping = Grouping(heads * self.elements.count, size, heads)
        self.grouping.check(self.elements.count, anchors, self.grouping)
        width = self.projection.channels
        self.generator = GroupGenerator(width, self.elements, groups, heads, anchors, sharpness or 4.0, blur, normalise)
        self.free = sharpness is None
        states = width if self.by_input else self.backbone.channels
        self.selector = GroupSelector(states, len(self.domain.classes), selection)
        self.space = "logit" if self.domain.task == "classification" else "value"
        self.warned = False

    @contextmanager
    def adjusted(self, **options: Any) -> Iterator[None]:
        """The model with another number of groups or heads, or another size of groups, for the moment.

        Raises:
            ValueError: more groups than candidates, more heads than the model has, or an impossible size.
        """
        before, wanted = self.grouping, replace(self.grouping, **options)
        wanted.check(self.elements.count, self.anchors, before)
        self.grouping = wanted
        try:
            yield
        finally:
            self.grouping = before

    # Recipe

    @property
    def phase(self) -> str:
        """What is learned now: the backbone on "whole" or "masked" inputs, or the "groups", as outside of a fit."""
        stage = self.stage
        if stage is None or not stage.trained or {"projection", "generator", "selector"} & set(stage.trained):
            return "groups"
        return "masked" if stage.masked else "whole"

    def require_ready(self) -> None:
        if self.phase != "groups":
            raise RuntimeError("the backbone is still being trained, there are no groups yet; wait for the last stage.")

    @action
    def clone(self, projection_set: ProjectionSet) -> None:
        """Copies the trained backbone into the projection, and its head into the class queries of the selector."""
        if isinstance(self.projection, CopiedFeatures):
            self.projection.encoder.load_state_dict(self.backbone.encoder.state_dict())
        if self.selector.classes.shape == self.head.weight.shape:
            self.selector.classes.copy_(self.head.weight)
        if self.free and self.mass:
            seen = []
            for batch in islice(projection_set, 4):
                present = self.elements.present(batch["input"])
                scores, _ = self.generator(self.projection(batch["input"]), present, self.grouping)
                seen.append((scores, strongest(scores, self._sizes(batch["input"], present))))
            self.generator.sharpen(seen)

    # Evidence

    def evidence(self, x: Tensor) -> Evidence:
        phase = self.phase
        if phase != "groups":
            return self._pretraining(x, random=phase == "masked")
        features, present = self.projection(x), self.elements.present(x)
        scores, attention = self.generator(features, present, self.grouping)
        mask = strongest(scores.detach(), self._sizes(x, present))
        if present is not None:
            mask = mask & present[:, None]
        mass = self._mass(attention, mask) if self.mass else torch.ones_like(attention[..., 0])
        theta = wanted = None
        if self.by_input:
            theta = self.selector(mask.to(features.dtype) @ features / mask.sum(2, keepdim=True).clamp_min(1))
            wanted = (theta > 0).any(2)
        passed = membership(scores, mask) if self.through and self.training else mask
        states = self.backbone.groups(x, passed, self._size(), wanted)
        alone = self.head(states)
        theta = self.selector(states) if theta is None else theta
        support = None if self.training else mask.unflatten(2, self.elements.grid).float()
        return Evidence(mass, support, {"votes": theta * alone, "theta": theta, "alone": alone})

    def _pretraining(self, x: Tensor, random: bool) -> Evidence:
        """A single group with all the weight: the whole input, or a random group as smooth as the generator's.

        Every other random group, in the mean, has the size of a group; the others anything up to the whole.
        """
        present, more = self.elements.present(x), 1.0
        mask = torch.ones(x.shape[0], 1, self.elements.count, dtype=torch.bool, device=x.device)
        if random:
            more = max(2 * torch.rand(()).item() - 1, 0.0)
            noise = self.generator.blurred(torch.randn(mask.shape, device=x.device))
            if present is not None:
                noise = noise.masked_fill(~present[:, None], -torch.inf)
            mask = strongest(noise, self._sizes(x, present, more))
        votes = self.head(self.backbone.groups(x, mask, self._size(more)))
        return Evidence(torch.ones_like(votes[..., 0]), None, {"votes": votes})

    def _size(self, more: float = 0.0) -> int:
        """Elements of a group of an input that has them all; `more` in [0, 1] leads from there to all elements."""
        least = group_size(self.grouping.size, self.elements.count)
        return least + round(more * (self.elements.count - least))

    def _sizes(self, x: Tensor, present: Tensor | None, more: float = 0.0) -> Tensor:
        """(B,) elements of a group; a share is one of those that are present, at least one."""
        if present is None:
            return torch.full((x.shape[0],), self._size(more), device=x.device)
        there, size = present.sum(1), self.grouping.size
        if isinstance(size, int):
            return torch.minimum(torch.full_like(there, self._size(more)), there)
        share = size + more * (1 - size)
        return torch.minimum((share * there).floor().long().clamp_min(1), there)

    def _mass(self, attention: Tensor, mask: Tensor) -> Tensor:
        """C (B, M), attention inside of the groups minus attention outside."""
        mass = 2 * (attention * mask).sum(2) - 1
        if self.training and not self.warned and not torch.compiler.is_compiling():
            self.warned = True
            if (mean := float(mass.detach().mean())) < 0:
                warnings.warn(
                    f"the groups hold less than half of the attention (mean c = {mean:.2f}), which turns the signs of "
                    "all contributions; raise sharpness, or use larger groups.",
                    stacklevel=2,
                )
        return mass

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Of each group its weight θ for the target, and the score y that the target gets from it alone."""
        column = target[:, None, None].expand(-1, evidence.activation.shape[1], 1)
        return {
            "weight": evidence.state["theta"].gather(2, column)[..., 0],
            "score alone": evidence.state["alone"].gather(2, column)[..., 0],
        }

    def units(self) -> tuple[Unit, ...]:
        source = {"patch": self.elements.patch}
        return tuple(Unit(f"group {i + 1}", "group", source=source) for i in range(self.grouping.groups))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain)}
