"""Published selectors as options of one model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from zoo.selectors.layers.imputers import ImputerOptions
from zoo.selectors.layers.masks import MaskOptions


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
