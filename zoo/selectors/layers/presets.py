"""Published selectors as options of one model, and how they train by default."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from zoo.selectors.layers.imputers import ImputerOptions
from zoo.selectors.layers.masks import MaskOptions
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage


class Preset(NamedTuple):
    """Options of a published selector."""

    mask: MaskOptions
    imputer: ImputerOptions
    predictor_masks: str


MASK = MaskOptions(law="bernoulli", size=4, estimator="rebar", baseline="none", samples=1, temperature=0.5)
ZERO = ImputerOptions(kind="constant", samples=1, reference=1, components=1)
MANY = ImputerOptions(kind="mixture", samples=4, reference=2048, components=20)

PRESETS: Mapping[str, Preset] = {
    "lex": Preset(replace(MASK, samples=4), MANY, "selected"),
    "l2x": Preset(replace(MASK, law="concretes", estimator="pathwise"), ZERO, "selected"),
    "invase": Preset(replace(MASK, estimator="reinforce", baseline="network"), ZERO, "selected"),
    "realx": Preset(MASK, ZERO, "random"),
}
RECIPE = Recipe(
    stages=(
        Stage("predictor", epochs=10, train=("predictor", "head")),
        Stage("train", epochs=20, train=("selector", "predictor", "head")),
    ),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "selected": 0.05, "changes": 0.0, "random": 1.0, "baseline": 1.0},
)


def recipe_of(fitted: bool, compared: bool) -> Recipe:
    """The default recipe of an imputer that is fitted, and of a score function with a baseline network."""
    first = (Stage("fit_imputer"),) if fitted else ()
    more = ("baseline",) if compared else ()
    stages = (replace(stage, train=(*stage.trained, *more)) for stage in RECIPE.stages or ())
    return replace(RECIPE, stages=(*first, *stages))
