"""A section of a config as an object: a class, with typed arguments for its constructor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from zoo.cli.config import Override
from zoo.cli.typed import check_keys, convert, parameters
from zoo.training.recipe import Recipe, parse_recipe
from zoo.utils.signatures import init_parameters

MOVED = [field.name for field in fields(Recipe)]  # arguments of models that are now fields of their `recipe`


@dataclass(frozen=True)
class Part:
    """A class and the arguments to build an object of it.

    Attributes:
        cls: a class of the zoo, of Lightning or of the user.
        arguments: typed values by name, defaults included.
        parser: converts the arguments to plain data and to objects.
    """

    cls: type
    arguments: Namespace
    parser: ArgumentParser

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain data, without those that are None."""
        found = json.loads(self.parser.dump(self.arguments, format="json"))
        return {name: value for name, value in found.items() if value is not None}

    def values(self) -> dict[str, Any]:
        """The arguments as objects, such as callbacks."""
        return dict(vars(self.parser.instantiate(self.arguments)))

    def build(self, **others: Any) -> Any:
        """An object of the class; `others` are arguments that no config gives."""
        return self.cls(**(self.values() | others))


def read_part(cls: type, given: Mapping[str, Any], where: str, skip: tuple[str, ...] = ()) -> Part:
    """Checks the arguments that a config gives for a class.

    Args:
        cls: the class.
        given: plain values by name.
        where: file and key, for messages.
        skip: arguments that no config gives.

    Raises:
        ValueError: an argument is unknown or missing, or a value has the wrong type.
    """
    known = {name: annotation for name, annotation in parameters(cls).items() if name not in skip}
    for name in given:
        if "recipe" in known and name in MOVED and name not in known:
            raise ValueError(moved(name, given[name], where))
    check_keys(given, known, f"{where} of {cls.__name__}" if where.endswith("init_args") else where)
    values = {name: convert(known[name], value, f"{where}.{name}") for name, value in given.items()}
    if "recipe" in known:
        check_recipe(cls, values.get("recipe"), where)
    required = [n for n, p in init_parameters(cls).items() if p.default is p.empty and n in known]
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"{where} has no value for {', '.join(missing)}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, None, skip=set(skip), fail_untyped=False)
    try:
        return Part(cls, parser.parse_object(values), parser)
    except ArgumentError as error:
        raise ValueError(f"{where}: {error}") from error


def moved(name: str, value: Any, where: str) -> str:
    """The message about an argument that has become a field of the recipe."""
    if isinstance(value, Override):
        given = f"--model.init_args.{name}"
        return f"{given} is now a field of the recipe; did you mean --model.init_args.recipe.{name}?"
    return f"{where} has no key '{name}', which is now a field of the recipe: write recipe: {{{name}: ...}}."


def check_recipe(cls: Any, recipe: Any, where: str) -> None:
    """Checks stages, optimizer and loss terms of a recipe for a model.

    Raises:
        ValueError: see `zoo.training.recipe.Recipe.over`.
    """
    if not isinstance(getattr(cls, "default_recipe", None), Recipe):
        return
    try:
        parse_recipe(recipe).over(cls.default_recipe, cls.__name__)
    except ValueError as error:
        raise ValueError(f"{where}.recipe: {error}") from None
