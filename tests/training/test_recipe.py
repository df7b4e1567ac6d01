"""Recipes beside the arguments of a model, in configs and in checkpoints."""

from typing import Any

import pytest

from zoo.cli.part import read_part
from zoo.training.black_box import BlackBox
from zoo.training.recipe import Recipe


class Boosted(BlackBox):
    """A model with an argument of its own that has the name of a field of recipes."""

    def __init__(self, domain: Any, backbone: Any = "convnet", stages: int = 3, recipe: Recipe | None = None) -> None:
        super().__init__(domain, backbone, recipe=recipe)
        self.keep_arguments(locals())


def test_an_argument_of_a_model_is_no_option_of_its_recipe() -> None:
    """Regression: an argument `stages` was refused in configs, and became part of the recipe in checkpoints."""
    options = {"stages": 5, "recipe": {"lr": 0.1}}
    part = read_part(Boosted, options, "model.init_args", skip=("domain",))
    assert part.values()["stages"] == 5 and part.values()["recipe"].lr == 0.1
    assert Boosted.upgrade_arguments({"stages": 5, "lr": 0.1}) == {"stages": 5, "recipe": {"lr": 0.1}}
    kept = {"stages": 5, "recipe": {"lr": 0.1}}
    assert Boosted.upgrade_arguments(kept) == kept
    flat = {"stages": [], "lr": 0.1, "backbone": "convnet"}  # of an older checkpoint of a model without the argument
    assert BlackBox.upgrade_arguments(flat) == {"backbone": "convnet", "recipe": {"stages": [], "lr": 0.1}}
    with pytest.raises(ValueError, match=r"has no key 'lr', which is now a field of the recipe"):
        read_part(Boosted, {"lr": 0.1}, "model.init_args", skip=("domain",))
