"""A table whose features, targets and weights come apart, as estimators get them."""

from typing import Any

import numpy as np

from zoo.data.base.frames import Frame
from zoo.data.real.table import Table
from zoo.utils.optional import need


def frame_table(
    rows: Frame, targets: "np.ndarray", names: list[str], weight: "np.ndarray | None", options: dict[str, Any]
) -> Table:
    """The data module of a table, without test rows.

    Args:
        rows: the features.
        targets: (N,) classes, or (N, C) values.
        names: of the C classes or values.
        weight: (N,) weights of the rows in the loss.
        options: of `Table`.

    Raises:
        ImportError: polars is not installed (the extra `table`).
    """
    pl = need("polars", "table")
    taken = rows.cells.columns
    if targets.ndim == 1:
        task, columns = "classification", {free_name("target", taken): np.array(names)[targets]}
    else:
        task = "regression"
        columns = {free_name(name, taken): values for name, values in zip(names, targets.T, strict=True)}
    target = list(columns)
    if weight is not None:
        options = {**options, "weight": free_name("weight", [*taken, *target])}
        columns[options["weight"]] = weight
    cells = rows.cells.with_columns(pl.Series(name, values.tolist()) for name, values in columns.items())
    return Table(cells, target=target, test=False, split={}, task=task, **options)


def free_name(name: str, taken: list[str]) -> str:
    """The name, with as many underscores as no other column has."""
    while name in taken:
        name += "_"
    return name
