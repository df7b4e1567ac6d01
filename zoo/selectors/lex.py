"""Selectors: a network chooses which elements of an input are read, and the prediction is made from those alone.

Senetaire, Garreau, Frellsen, Mattei: "Explainability as Statistical Inference" (LEX), ICML 2023, arXiv 2212.03131.
Special cases: L2X (Chen et al., ICML 2018), INVASE (Yoon et al., ICLR 2019), REAL-X (Jethani et al., AISTATS 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, TextDomain
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder
from zoo.networks.target_units import in_target_units, mean_square_unit
from zoo.selectors.layers.frozen import frozen
from zoo.selectors.layers.imputers import ImputerOptions, create_imputer
from zoo.selectors.layers.masks import Draw, MaskOptions, draw, largest
from zoo.selectors.layers.objective import (
    answer,
    bound,
    chances,
    kept_mean,
    likelihood,
    mean_change,
    rebar,
    row_mean,
    row_weights,
    score_function,
    without_each,
)
from zoo.selectors.layers.presets import PRESETS, RECIPE, recipe_of
from zoo.selectors.layers.selector import Selector
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.utils.checks import check_choice
from zoo.utils.options import parse_options

SUBSET = {"law": "subset", "estimator": "pathwise", "size": 2}  # options of the small models that tests build
SAMPLED = {"mask": {"estimator": "reinforce", "baseline": "others"}, "imputer": {"kind": "marginal"}}


@register(
    "lex",
    modality=("table", "image", "series", "text"),
    paper="Senetaire et al., ICML 2023 (LEX); L2X, INVASE, REAL-X",
    small=Small(
        {},
        scale={"selector.score.weight": 20.0, "head.weight": 5.0},
        variants={
            "gaussian": Small(
                {"imputer": {"kind": "gaussian"}, "mask": {"law": "subset", "estimator": "pathwise", "size": 2}}
            ),
            "l2x": Small({"preset": "l2x", "mask": {"size": 2}}),
            "invase": Small({"preset": "invase"}),
            "realx": Small({"preset": "realx"}),
            "images": Small({"elements": {"patch": 4}}, on="image"),
            "series": Small({"elements": {"patch": 3}, "imputer": {"kind": "marginal"}}, on="series"),
            "texts": Small(SAMPLED, on="text"),
        },
    ),
)
class LEX(SelfInterpretable):
    """Chooses the elements that its prediction may read, and averages the prediction over what the others could be.

        π = σ(selector(x))                                   (B, L)   chance that an element is selected
        z ~ a law of masks with these chances                (B, S, L); when predicting z = [π > ½], or the largest
        x̃ = z ⊙ x + (1 - z) ⊙ imputation                    S masks, R imputations of each
        score = log mean over the draws of softmax(head(predictor(x̃)))         values: the mean

        loss = -log mean_sr p(y | x̃_sr) + 0.05 mean π [+ changes · mean |π_t+1 - π_t|]

    The score is not a sum over the elements, so there are no contributions: an explanation says what was *selected*.
    Values that are not selected do not reach the predictor. They can still reach the answer through the choice itself
    (a selector can encode the label in its mask): run `train.py evaluate --selection` before you trust one.

    Recipe: the predictor first learns alone, on the masks of the untrained selector, about half of the elements; then
    all learn.

    Presets, each with options of its own that `mask`, `imputer` and `predictor_masks` override:

        lex      independent elements, REBAR, imputations of a mixture model (4 masks, 4 imputations)
        l2x      a fixed number of elements, relaxed; what is not selected is 0
        invase   independent elements, score function with a baseline network; 0
        realx    independent elements, REBAR; 0; the predictor learns on masks of independent fair coins

    Differs from the published code: the mean over draws is a mean of likelihoods (there, by a wrong sign, of their
    inverses); control variates have weight 1 (there a learned one); masks are not random when predicting; INVASE's
    baseline is trained in the same loss.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        preset: see above.
        backbone: of the predictor, see `zoo.networks.encoders.create_encoder`.
        selector: encoder of the selector; by default like the backbone.
        elements: `patch` in pixels or steps, or `sentences`, see `Elements`.
        mask: see `zoo.selectors.layers.masks.MaskOptions`.
        imputer: see `zoo.selectors.layers.imputers.ImputerOptions`.
        predictor_masks: "selected": the predictor learns on the selector's masks; "random": on random ones.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: selector, predictor, head, and baseline if there is
            one. An imputer is fitted by the action `fit_imputer` before the first stage.

    Raises:
        ValueError: an unknown choice, options that do not fit together, or relaxed masks of words.
    """

    default_recipe = RECIPE
    additive = False
    weighs_rows = True

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        preset: Literal["lex", "l2x", "invase", "realx"] = "lex",
        backbone: str | dict[str, Any] = "resnet34",
        selector: str | dict[str, Any] | None = None,
        elements: dict[str, int] | None = None,
        mask: MaskOptions | None = None,
        imputer: ImputerOptions | None = None,
        predictor_masks: Literal["selected", "random"] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        check_choice(PRESETS, preset=preset)
        masks, imputers, taught = PRESETS[preset]
        masks = parse_options(MaskOptions, mask, "mask").over(masks)
        imputers = parse_options(ImputerOptions, imputer, "imputer").over(imputers)
        compared = masks.estimator == "reinforce" and masks.baseline == "network"
        super().__init__(domain, recipe, default_recipe=recipe_of(imputers.kind != "constant", compared))
        self.keep_arguments(locals())
        check_choice(("selected", "random"), predictor_masks=predictor_masks or taught)
        if isinstance(self.domain, TextDomain) and masks.estimator != "reinforce":
            raise ValueError(
                f"words cannot be selected in part, as the estimator '{masks.estimator}' needs; give "
                "mask: {estimator: reinforce, baseline: others}."
            )
        self.masks, self.random_masks = masks, (predictor_masks or taught) == "random"
        self.elements = Elements(self.domain, **(elements or {}))
        if masks.law != "bernoulli":
            masks.count(self.elements.count)
        self.selector = Selector(selector or backbone, self.domain, self.elements, masks.start)
        self.predictor = create_encoder(backbone, self.domain)
        self.head = in_target_units(nn.Linear(self.predictor.channels, len(self.domain.classes)), self.domain)
        self.imputer = create_imputer(self.domain, imputers)
        self.baseline: nn.Sequential | None = None
        if compared:
            encoder = create_encoder(backbone, self.domain)
            self.baseline = nn.Sequential(encoder, nn.Linear(encoder.channels, len(self.domain.classes)))
        self.space = "logit" if self.domain.task == "classification" else "value"

    @action
    def fit_imputer(self, projection_set: ProjectionSet) -> None:
        """Fits the imputer on the training set."""
        self.imputer.fit(projection_set)

    # Evidence

    def evidence(self, x: Tensor) -> Evidence:
        logits = self.selector(x)
        if self.training:
            return self._draws(x, logits)
        shown = self._selected(logits)
        here = torch.eye(self.elements.count, device=x.device).unflatten(1, self.elements.grid)
        state = {"draws": self._predict(x, shown[:, None]), "chance": chances(logits), "input": x}
        return Evidence(shown, here.expand(x.shape[0], *here.shape), state)

    def readout(self, evidence: Evidence) -> Tensor:
        return answer(evidence.state["draws"], self.domain.task)

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """The evidence with elements selected (1) or not (0): the predictor reads the input anew.

        Raises:
            ValueError: evidence of a training step, which holds many masks.
        """
        if "input" not in evidence.state:
            raise ValueError("evidence of a training step has many masks; intervene on that of eval mode.")
        shown = torch.where(mask, values, evidence.activation)
        draws = self._predict(evidence.state["input"], shown[:, None])
        return replace(evidence, activation=shown, state={**evidence.state, "draws": draws})

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {"chance": evidence.state["chance"]} if "chance" in evidence.state else {}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        present = (terms["details"]["chance"] > 0).sum(1)  # padding has no chance
        shown = (terms["activation"] > 0.5).tolist()
        return tuple(self._statement(row, count) for row, count in zip(shown, present.tolist(), strict=True))

    def _statement(self, selected: Sequence[bool], count: int) -> str:
        names = [name for name, shown in zip(self.elements.names(), selected, strict=True) if shown]
        listed = f": {', '.join(names)}" if 0 < len(names) <= 12 else ""
        return f"{len(names)} of {count} elements are selected{listed}. The predictor does not read the others."

    def units(self) -> tuple[Unit, ...]:
        source = {"patch": self.elements.patch}
        return tuple(Unit(name, "feature", source=source) for name in self.elements.names())

    def _selected(self, logits: Tensor) -> Tensor:
        """Masks (B, L) of the prediction."""
        if self.masks.law == "bernoulli":
            return (logits > 0).to(logits.dtype)
        return largest(logits, self.masks.count(self.elements.count))

    def _predict(self, x: Tensor, masks: Tensor, learn: bool = True) -> Tensor:
        """Logits (B, S R, C) of the predictor on inputs x of which the masks (B, S, L) are shown.

        Args:
            x: inputs (B, *shape).
            masks: of the elements, differentiable where a gradient shall reach the selector.
            learn: whether a gradient reaches the predictor.
        """
        samples, draws = masks.shape[1], self.imputer.samples
        rows = x[:, None].expand(-1, samples, *x.shape[1:]).flatten(0, 1)
        shown = self.elements.expand(masks.flatten(0, 1).to(self.head.weight.dtype), rows).expand(rows.shape)
        filled = self.imputer(rows, shown)  # (B S, R, *shape)
        whole, shown = rows[:, None].expand_as(filled), shown[:, None].expand(filled.shape)
        if self.training and not isinstance(self.domain, TextDomain):
            mixed = filled + shown * (whole - filled)  # relaxed masks show a part of a value
        else:
            mixed = torch.where(shown > 0.5, whole, filled)
        mixed = mixed.flatten(0, 1)
        logits = self.head(self.predictor(mixed)) if learn else frozen(self.predictor, self.head, mixed)
        return logits.unflatten(0, (x.shape[0], samples * draws))

    # Training

    def _draws(self, x: Tensor, logits: Tensor) -> Evidence:
        drawn = draw(logits, self.masks)
        learn = not self.random_masks
        state = {"draws": self._predict(x, drawn.mask, learn), "chance": chances(logits)}
        if logits.requires_grad:
            state |= self._estimator(x, drawn)
        if self.random_masks:
            coins = torch.rand_like(logits) < 0.5
            state["random"] = self._predict(x, coins[:, None].to(logits.dtype))
        if self.baseline is not None:
            state["baseline"] = self.baseline(x)
        return Evidence(drawn.mask.mean(1), None, state)

    def _estimator(self, x: Tensor, drawn: Draw) -> dict[str, Tensor]:
        """What the losses need to teach the selector."""
        state: dict[str, Tensor] = {}
        if drawn.log_probability is not None:
            state["log_probability"] = drawn.log_probability
        if drawn.relaxed is not None and drawn.conditional is not None:
            # The control variate is for the selector alone: its gradients do not reach the predictor.
            state["relaxed"] = self._predict(x, drawn.relaxed, learn=False)
            state["conditional"] = self._predict(x, drawn.conditional, learn=False)
        return state

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        state, target = evidence.state, batch["target"]
        weights = row_weights(batch.get("weight"), batch.get("class_weights"), target)
        value = self._bound(state["draws"], target)
        terms = {"task": row_mean(-value, weights), "selected": self._kept(state["chance"], batch["input"])}
        if "relaxed" in state:
            relaxed, conditional = (self._bound(state[name], target) for name in ("relaxed", "conditional"))
            taught = rebar(value, relaxed, conditional, state["log_probability"])
            terms["task"] = terms["task"] - row_mean(taught, weights)
        elif "log_probability" in state:
            taught = score_function(value, self._baseline(state, target), state["log_probability"])
            terms["task"] = terms["task"] - row_mean(taught, weights)
        if self.coefficients["changes"]:
            terms["changes"] = mean_change(state["chance"].unflatten(1, self.elements.grid))
        if "random" in state:
            terms["random"] = row_mean(-self._bound(state["random"], target), weights)
        if "baseline" in state:
            terms["baseline"] = row_mean(-self._bound(state["baseline"][:, None], target), weights)
        return terms

    def _bound(self, draws: Tensor, target: Tensor) -> Tensor:
        return bound(self._likelihood(draws, target)[:, None]) * mean_square_unit(self)  # squared units, as elsewhere

    def _likelihood(self, draws: Tensor, target: Tensor) -> Tensor:
        """(B, N) of draws (B, N, C); values are compared in the unit of the targets."""
        unit = mean_square_unit(self) ** 0.5
        return likelihood(draws / unit, target if unit == 1 else target / unit, self.domain.task)

    def _baseline(self, state: Mapping[str, Tensor], target: Tensor) -> Tensor:
        """(B, S) or (B, 1), what the score function subtracts."""
        draws = state["draws"]
        if self.masks.baseline == "others":
            each = self._likelihood(draws, target).unflatten(1, (self.masks.samples or 1, -1))
            return without_each(each) * mean_square_unit(self)
        if "baseline" in state:
            return self._bound(state["baseline"][:, None], target)[:, None]
        return draws.new_zeros(draws.shape[0], 1)

    def _kept(self, chance: Tensor, x: Tensor) -> Tensor:
        """Mean chance of the elements that the inputs have."""
        return kept_mean(chance, self.elements.present(x)).mean()
