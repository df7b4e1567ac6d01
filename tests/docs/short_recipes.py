"""Models whose default recipes have stages of one epoch, so that the documentation's code runs in seconds."""

from dataclasses import replace

import pytest

from zoo.core import registry
from zoo.training.recipe import Recipe


def shorten_recipes(patch: pytest.MonkeyPatch) -> None:
    """Shortens the stages of every registered model."""
    for entry in registry.entries():
        patch.setattr(entry.cls, "default_recipe", one_epoch(entry.cls.default_recipe), raising=True)


def one_epoch(recipe: Recipe) -> Recipe:
    stages = recipe.stages or ()
    return replace(recipe, stages=tuple(replace(stage, epochs=min(stage.epochs, 1)) for stage in stages))
