"""A recipe: how a model trains, as one value with checked fields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import nn

from zoo.training.guidance import Guidance
from zoo.training.removal import Removal
from zoo.training.stages import Stage, parse_stages
from zoo.training.teacher import Teacher
from zoo.utils.errors import did_you_mean
from zoo.utils.options import parse_options

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
"""Adam has L2 weight decay, as in the papers before 2019; SGD has a momentum of 0.9."""


@dataclass(frozen=True)
class Recipe:
    """How a model trains. A field that is None keeps the default of the model's own recipe."""

    stages: tuple[Stage, ...] | None = None
    """The parts of the training, in order."""
    lr: float | dict[str, float] | None = None
    """Learning rate, one for all parameter groups or one for each."""
    weight_decay: float | dict[str, float] | None = None
    """Weight decay, one for all parameter groups or one for some; a group that is not named has none."""
    optimizer: Literal["adam", "adamw", "sgd"] | None = None
    """Which optimizer takes the steps."""
    coefficients: dict[str, float] | None = None
    """Weights of loss terms by name; terms that are not named keep their default."""
    removal: Removal | None = None
    """Also train on inputs with a region replaced, so that contributions foresee what removal does; of any model."""
    guidance: Guidance | None = None
    """Also learn from masks of what is relevant in training images; of any model whose units have places."""
    teacher: Teacher | None = None
    """A black box whose scores are soft targets; of any model."""

    def over(self, default: "Recipe", model: str) -> "Recipe":
        """This recipe with every missing field taken from `default`, checked as far as possible without the model.

        Args:
            default: the model's own recipe, whose coefficients name every loss term.
            model: name of the model, for error messages.

        Raises:
            ValueError: an unknown optimizer or loss term, or stages that are not a recipe, see `parse_stages`.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        merged = replace(default, **given)
        if merged.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got '{merged.optimizer}'.")
        terms = default.coefficients or {}
        for name in self.coefficients or {}:
            if name not in terms:
                raise ValueError(f"{model} has no loss term '{name}'; {did_you_mean(name, terms)}")
        return replace(
            merged, stages=parse_stages(merged.stages or ()), coefficients={**terms, **(self.coefficients or {})}
        )


def parse_recipe(given: Recipe | Mapping[str, Any] | None) -> Recipe:
    """Reads a recipe from plain data, as it stands in a config or a checkpoint.

    Raises:
        ValueError: an unknown key, or stages that are not a recipe; the message names the nearest key.
    """
    if isinstance(given, Recipe):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"a recipe is a mapping such as {{lr: 0.001, stages: [...]}}; got {given!r}.")
    known = [f.name for f in fields(Recipe)]
    for key in given or {}:
        if key not in known:
            raise ValueError(f"a recipe has no key '{key}'; {did_you_mean(key, known)}")
    values = dict(given or {})
    if values.get("stages") is not None:
        values["stages"] = parse_stages(values["stages"])
    for name, kind in (("removal", Removal), ("guidance", Guidance), ("teacher", Teacher)):
        if values.get(name) is not None:
            values[name] = parse_options(kind, values[name], name)
    return Recipe(**values)


def gather_recipe(arguments: Mapping[str, Any], own: Iterable[str]) -> dict[str, Any]:
    """Constructor arguments whose training options stand side by side, as in older checkpoints, with one `recipe`.

    Args:
        arguments: of a constructor, by name.
        own: names of the arguments that the constructor has now, which are no options of the recipe.
    """
    own = set(own)
    names = [f.name for f in fields(Recipe) if f.name in arguments and f.name not in own]
    if not names:
        return dict(arguments)
    rest = {key: value for key, value in arguments.items() if key not in names}
    return {**rest, "recipe": {**(rest.get("recipe") or {}), **{name: arguments[name] for name in names}}}


def by_group(
    setting: float | Mapping[str, float], groups: Iterable[str], what: str, default: float | None = None
) -> dict[str, float]:
    """One value for every parameter group, from one number for all or a mapping.

    Raises:
        ValueError: a group that does not exist, or one without a value where there is no default.
    """
    groups = list(groups)
    if not isinstance(setting, Mapping):
        return dict.fromkeys(groups, setting)
    for name in setting:
        if name not in groups:
            raise ValueError(f"{what} names '{name}', which is not a parameter group; {did_you_mean(name, groups)}")
    values = {name: setting.get(name, default) for name in groups}
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{what} names {', '.join(setting)}, but not the parameter group '{name}'; add it.")
    return {name: float(value) for name, value in values.items() if value is not None}


def make_optimizer(recipe: Recipe, groups: Mapping[str, nn.Module | nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a recipe, with one parameter group, by name, for each group of the model.

    Raises:
        ValueError: the recipe names a group that does not exist, or leaves one without a learning rate.
    """
    lr = by_group(recipe.lr or 0.0, groups, "lr")
    decay = by_group(recipe.weight_decay or 0.0, groups, "weight_decay", 0.0)
    parameters = [
        {
            "name": name,
            "params": [group] if isinstance(group, nn.Parameter) else list(group.parameters()),
            "lr": lr[name],
            "weight_decay": decay[name],
        }
        for name, group in groups.items()
    ]
    name = recipe.optimizer or "adam"
    return OPTIMIZERS[name](parameters, **({"momentum": 0.9} if name == "sgd" else {}))
