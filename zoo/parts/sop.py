"""Sum-of-Parts: the score is a sparse weighted sum of the backbone's logits for a few masked groups of elements.

You, Qu, Gatti, Jain, Wong: "Sum-of-Parts: Self-Attributing Neural Networks with End-to-End Learning of Feature Groups",
ICML 2025, arXiv 2310.16316.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits, of_target
from zoo.domain import Domain, TextDomain
from zoo.networks.element_features import CopiedFeatures, create_projection
from zoo.networks.elements import Elements
from zoo.networks.target_units import in_target_units, learned_weight
from zoo.parts.layers.flat_arguments import upgrade_flat
from zoo.parts.layers.group_generator import (
    GeneratorOptions,
    GroupGenerator,
    highest,
    straight_through,
    warn_if_negative,
)
from zoo.parts.layers.group_selector import GroupSelector, SelectorOptions
from zoo.parts.layers.grouping import Grouping
from zoo.parts.layers.masked_backbone import MaskedEncoder, Masking, create_masked_encoder
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_choice
from zoo.utils.options import parse_options

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
TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
VIT = {"backbone": TINY_VIT, "elements": {}}  # options of the small models that tests build
STRETCHES = {"elements": {"patch": 3}, "grouping": {"groups": 3, "size": 0.4}}
WORDS = {"elements": {}, "grouping": {"groups": 4, "size": 0.5}}


@register(
    "sop",
    modality=("image", "text", "series", "table"),
    paper="You et al., ICML 2025 (Sum-of-Parts)",
    small=Small(
        {"elements": {"patch": 2}, "grouping": {"groups": 6}},
        scale={"head.weight": 20.0, "selector.classes": 20.0},  # groups that do not depend on rounding
        variants={
            "input": Small({"selector": {"reads": "input"}}),
            "all": Small({"grouping": {"groups": 6, "anchors": "all"}, "elements": {"patch": 5}}),
            "learned": Small({"grouping": {"groups": 6, "anchors": "learned", "heads": 2}}),
            "unscaled": Small({"scale": "none", "gradient": "straight_through", "grouping": {"groups": 6, "heads": 2}}),
            "blur": Small({"masking": {"fill": "blur"}}),
            "zero-border": Small({"generator": {"border": "zero"}}),
            "mean": Small({"masking": {"fill": "mean"}}),
            "token": Small({"masking": {"fill": "token"}}),
            "vit": Small(VIT),
            "vit-dropped": Small({**VIT, "masking": {"tokens": "dropped"}}),
            "rows": Small({"elements": {}, "grouping": {"groups": 3, "size": 2}, "generator": {"blur": 1}}, on="table"),
            "series": Small(STRETCHES, on="series"),
            "series-patch": Small({**STRETCHES, "projection": "patch", "masking": {"fill": "blur"}}, on="series"),
            "texts": Small(WORDS, on="text"),
            "texts-dropped": Small({**WORDS, "masking": {"tokens": "dropped"}}, on="text"),
        },
    ),
)
class SumOfParts(UnitLogits):
    """Turns a backbone into a sum over groups of the input's elements; its terms are the explanation.

        e = projection(x)                              (B, L, E) features of the L elements, see `Elements`
        A = generator(e)                               (B, M, L) attention: a row for each group
        g = the k highest elements of each row         (B, M, L) in {0, 1}
        c = attention inside g - attention outside     (B, M)    in [-1, 1]
        y = head(h), h = backbone(x ⊙ g)               (B, M, C) logits of each group by itself
        θ = selector(h)                                (B, M, C) sparse, sums to 1 over the groups
        score = Σ_i c_i θ_i y_i

    A group's activation is c and its contribution c θ y; there is no bias. A group's y depends on nothing outside of
    the group: with the groups held, other pixels change nothing, bit for bit.

    Recipe: the backbone trains on complete inputs (stage `whole`) and then on random groups (`masked`, a stage with
    this flag); the action `clone` copies it into the projection and its head into the class queries; then the groups
    are trained (`groups`). A stage that trains neither generator, projection nor selector trains the backbone alone.

    Differs from the published code: the backbone is trained on random groups before the groups are learned, without
    which most of the accuracy is lost (leave out the stage `masked` for the published recipe); features are normalised
    before the attention, so its scale needs no tuning (`generator: {normalise: false}` for raw ones); only attention
    rows that are used are computed; all heads train at once; each sample uses its own masks; the blur of the scores is
    a mean over the cells that exist.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`; a Vision Transformer of timm keeps its own pooling.
        elements: `patch` in pixels or steps, or `sentences`, see `Elements`; a Vision Transformer has its own patch.
        grouping: number and size of the groups, see `zoo.parts.layers.grouping.Grouping`.
        generator: options of the attention, see `zoo.parts.layers.group_generator.GeneratorOptions`.
        masking: how hidden elements are replaced, see `zoo.parts.layers.masked_backbone.Masking`.
        selector: options of θ, see `zoo.parts.layers.group_selector.SelectorOptions`.
        projection: "copy": a copy of the backbone, its feature map fitted to the grid of elements; "patch": a layer on
            the values of each element and one Transformer block, for inputs without such a map; "auto": the first of
            them that this backbone allows.
        scale: "mass": c as above, as published; the task trains the generator through it alone. "none": c = 1, for
            regression, where c would rescale the value; then only `gradient="straight_through"` trains the generator.
        gradient: "scale": through c, as published, which raises or lowers the attention of all elements of a group;
            "straight_through": also through the masks, which trains *which* elements a group has, at the cost of a
            backward pass through the backbone.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, projection, generator, selector.

    Raises:
        ValueError: an unknown choice; an impossible size of groups; more groups than candidates; a backbone that cannot
            read these inputs, or does not fit the masking.
    """

    default_recipe = RECIPE
    adjustable: ClassVar[tuple[str, ...]] = ("groups", "size", "heads")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        elements: dict[str, int] | None = None,
        grouping: Grouping | None = None,
        generator: GeneratorOptions | None = None,
        masking: Masking | None = None,
        selector: SelectorOptions | None = None,
        projection: Literal["auto", "copy", "patch"] = "auto",
        scale: Literal["mass", "none"] = "mass",
        gradient: Literal["scale", "straight_through"] = "scale",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        grouping = parse_options(Grouping, grouping, "grouping")
        generator = parse_options(GeneratorOptions, generator, "generator")
        masking = parse_options(Masking, masking, "masking")
        selector = parse_options(SelectorOptions, selector, "selector")
        self.keep_arguments(locals())
        check_choice(("mass", "none"), scale=scale)
        check_choice(("scale", "straight_through"), gradient=gradient)
        if gradient == "straight_through" and isinstance(self.domain, TextDomain):
            raise ValueError("gradient='straight_through' requires continuous inputs; text tokens are discrete.")
        self.scale, self.gradient, self.by_input = scale, gradient, selector.reads == "input"
        encoder, patch = create_masked_encoder(backbone, self.domain)
        self.elements = Elements(self.domain, **{**({"patch": patch} if patch else {}), **(elements or {})})
        self.backbone = MaskedEncoder(encoder, self.elements, masking)
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(self.domain.classes)), self.domain)
        self.projection = create_projection(projection, encoder, self.elements)
        count = self.elements.count
        every = grouping.anchors == "all"
        self.grouping = replace(grouping, groups=grouping.heads * count) if every else grouping
        self.grouping.check(count, self.grouping)
        width = self.projection.channels
        self.generator = GroupGenerator(width, self.elements, grouping, generator)
        self.find_sharpness = generator.sharpness is None
        states = width if self.by_input else self.backbone.channels
        self.selector = GroupSelector(states, len(self.domain.classes), selector.scale)
        self.space = "logit" if self.domain.task == "classification" else "value"
        self.warned = False

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return upgrade_flat(super().upgrade_arguments(arguments))

    @contextmanager
    def adjusted(self, **options: Any) -> Iterator[None]:
        """Uses another number of groups or heads, or another size of groups, within the block.

        Raises:
            ValueError: more groups than candidates, more heads than the model has, or an impossible size.
        """
        before, wanted = self.grouping, replace(self.grouping, **options)
        wanted.check(self.elements.count, before)
        self.grouping = wanted
        try:
            yield
        finally:
            self.grouping = before

    # Recipe

    @property
    def phase(self) -> Literal["whole", "masked", "groups"]:
        """What is trained: the backbone, on "whole" or "masked" inputs, or the "groups"; outside of a fit the last."""
        stage = self.stage
        if stage is None or not stage.trained or {"projection", "generator", "selector"} & set(stage.trained):
            return "groups"
        return "masked" if stage.masked else "whole"

    def require_ready(self) -> None:
        if self.phase != "groups":
            raise RuntimeError(
                "the current stage trains the backbone, so there are no groups yet; explain after the last stage."
            )

    @action
    def clone(self, projection_set: ProjectionSet) -> None:
        """Copies the trained backbone into the projection, and its head into the class queries of the selector."""
        if isinstance(self.projection, CopiedFeatures):
            self.projection.encoder.load_state_dict(self.backbone.encoder.state_dict())
        if self.selector.classes.shape == self.head.weight.shape:
            self.selector.classes.copy_(learned_weight(self.head))
        if self.find_sharpness and self.scale == "mass":
            seen = []
            for batch in islice(projection_set, 4):
                x, present = batch["input"], self.elements.present(batch["input"])
                scores, _ = self.generator(self.projection(x), present, self.grouping)
                seen.append((scores, highest(scores, self.grouping.sizes(x, self.elements.count, present))))
            self.generator.sharpen(seen)

    # Evidence

    def evidence(self, x: Tensor) -> Evidence:
        phase = self.phase
        if phase != "groups":
            return self._pretraining(x, random=phase == "masked")
        features, present = self.projection(x), self.elements.present(x)
        scores, attention = self.generator(features, present, self.grouping)
        mask = highest(scores.detach(), self.grouping.sizes(x, self.elements.count, present))
        if present is not None:
            mask = mask & present[:, None]
        mass = self._mass(attention, mask) if self.scale == "mass" else torch.ones_like(attention[..., 0])
        theta = wanted = None
        if self.by_input:
            theta = self.selector(mask.to(features.dtype) @ features / mask.sum(2, keepdim=True).clamp_min(1))
            wanted = (theta > 0).any(2)
        through = self.gradient == "straight_through" and self.training
        passed = straight_through(scores, mask) if through else mask
        states = self.backbone.groups(x, passed, self.grouping.largest(self.elements.count), wanted)
        logits = self.head(states)
        theta = self.selector(states) if theta is None else theta
        support = self.elements.support(mask, x).float() if self.places_wanted else None
        state = {"unit_logits": theta * logits, "theta": theta, "group_logits": logits}
        return Evidence(mass, support, state)

    def _pretraining(self, x: Tensor, random: bool) -> Evidence:
        """Evidence of a single group with all the weight: the complete input, or a random group.

        Random groups are as smooth as those of the generator. Half of them have the size of a group, the others any
        size up to the complete input.
        """
        present, growth = self.elements.present(x), 1.0
        mask = torch.ones(x.shape[0], 1, self.elements.count, dtype=torch.bool, device=x.device)
        if random:
            growth = max(2 * torch.rand(()).item() - 1, 0.0)
            noise = self.generator.blurred(torch.randn(mask.shape, device=x.device), present)
            if present is not None:
                noise = noise.masked_fill(~present[:, None], -torch.inf)
            mask = highest(noise, self.grouping.sizes(x, self.elements.count, present, growth))
        logits = self.head(self.backbone.groups(x, mask, self.grouping.largest(self.elements.count, growth)))
        return Evidence(torch.ones_like(logits[..., 0]), None, {"unit_logits": logits})

    def _mass(self, attention: Tensor, mask: Tensor) -> Tensor:
        """C (B, M), the attention inside each group minus the attention outside."""
        mass = 2 * (attention * mask).sum(2) - 1
        if self.training and not self.warned and not torch.compiler.is_compiling():
            self.warned = True
            warn_if_negative(mass.detach())
        return mass

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Each group's weight θ for the target, and the target's logit y for the group by itself."""
        state = evidence.state
        return {"weight": of_target(state["theta"], target), "group logit": of_target(state["group_logits"], target)}

    def units(self) -> tuple[Unit, ...]:
        source = {"patch": self.elements.patch}
        return tuple(Unit(f"group {i + 1}", "group", source=source) for i in range(self.grouping.groups))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
