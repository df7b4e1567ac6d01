"""Arguments of `SumOfParts` in older checkpoints, which held them one by one."""

from collections.abc import Mapping
from typing import Any

from zoo.utils.options import fold_options

PLACES = {
    "groups": ("grouping", "groups"),
    "size": ("grouping", "size"),
    "heads": ("grouping", "heads"),
    "anchors": ("grouping", "anchors"),
    "sharpness": ("generator", "sharpness"),
    "blur": ("generator", "blur"),
    "normalise": ("generator", "normalise"),
    "fill": ("masking", "fill"),
    "tokens": ("masking", "tokens"),
    "memory": ("masking", "memory"),
    "select_by": ("selector", "reads"),
    "selection": ("selector", "scale"),
}
"""For each old argument, the group of options and the field where it is now."""


def upgrade_flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Converts arguments of an older checkpoint; those of a current one are returned unchanged.

    A checkpoint without the option `border` keeps the blur with which its groups were learned.

    Args:
        arguments: of `SumOfParts`, with a `recipe`.
    """
    folded = fold_options(arguments, PLACES)
    folded["generator"] = {"border": "zero", **(folded.get("generator") or {})}
    if "groups" not in arguments:
        return folded
    recipe = dict(arguments.get("recipe") or {})
    if recipe.get("stages"):  # a stage was masked if it had that name
        recipe["stages"] = [{**stage, "masked": stage.get("name") == "masked"} for stage in recipe["stages"]]
        folded["recipe"] = recipe
    return folded
