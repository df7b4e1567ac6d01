"""What models of tables share: the domain, names of pairs, and curves of nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.curves import Axis, Curve
from zoo.domain import Domain, TableDomain


def table_of(domain: Domain, model: str) -> TableDomain:
    """The domain of a model of tables.

    Raises:
        ValueError: it is no table.
    """
    if not isinstance(domain, TableDomain):
        raise ValueError(f"{model} reads rows of a table; the data are of modality '{domain.modality}'.")
    return domain


def spread(targets: Tensor) -> Tensor:
    """(C,) standard deviations of targets (N, C); 1 of a constant."""
    found = targets.double().std(0, correction=0).to(targets)
    return torch.where(found > 0, found, 1.0)


def no_curve(unit: str, columns: int, classes: int) -> Curve:
    """The curve of a unit that a model does not use: a constant of 0, on axes of no column."""
    size = (1,) * columns
    return Curve(unit, (Axis("", "steps"),) * columns, torch.zeros(*size, classes), torch.ones(size))


def pair_name(names: Sequence[str], first: int, second: int) -> str:
    """The name of a pair of columns, other than those of all columns."""
    name = f"{names[first]} x {names[second]}"
    return f"{name} (pair)" if name in names else name
