"""Evidence of additive models: one function of a column, or of two, for each unit.

For values and for two classes each unit has one number f_k, its activation. A value is the sum of them; the scores of
two classes are -1/2 and +1/2 of the sum, so that their difference, the log-odds of the second class, is the sum itself.
For more classes a unit has one number for each class, and its activation is 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.curves import Axis, Curve
from zoo.core.evidence import Evidence
from zoo.domain import Domain, TableDomain


def table_of(domain: Domain, model: str) -> TableDomain:
    """The domain of a model of tables.

    Raises:
        ValueError: it is no table.
    """
    if not isinstance(domain, TableDomain):
        raise ValueError(f"{model} reads rows of a table; the data are of modality '{domain.modality}'.")
    return domain


def outputs_of(domain: Domain) -> int:
    """C', the numbers that each unit has: 1 for two classes and for a single value, else one for each class."""
    return 1 if domain.task == "classification" and len(domain.classes) == 2 else len(domain.classes)


def spread(targets: Tensor) -> Tensor:
    """(C,) standard deviations of targets (N, C); 1 of a constant."""
    found = targets.double().std(0, correction=0).to(targets)
    return torch.where(found > 0, found, 1.0)


def weights_of(domain: Domain) -> Tensor:
    """(C,) what one number of a unit counts in each score, if it has but one."""
    return torch.tensor([-0.5, 0.5] if domain.task == "classification" else [1.0])


def additive_evidence(terms: Tensor, bias: Tensor, support: Tensor | None, domain: Domain) -> Evidence:
    """The evidence of a `zoo.core.unit_logits.UnitLogits`.

    Args:
        terms: (B, K, C') the units' numbers.
        bias: (C') of the sum.
        support: (B, K, F) or None.
        domain: of the model.
    """
    if terms.shape[2] == 1:
        weights = weights_of(domain).to(terms)
        activation, logits = terms[..., 0], weights.expand(terms.shape[0], terms.shape[1], -1)
        bias = bias * weights
    else:
        activation, logits = torch.ones_like(terms[..., 0]), terms
    return Evidence(activation, support, {"unit_logits": logits, "bias": bias.expand(terms.shape[0], -1)})


def per_class(values: Tensor, domain: Domain) -> Tensor:
    """Numbers (..., C') of units as contributions (..., C) to the scores."""
    return values * weights_of(domain).to(values) if values.shape[-1] == 1 else values


def no_curve(unit: str, columns: int, classes: int) -> Curve:
    """The curve of a unit that a model does not use: a constant of 0, on axes of no column."""
    size = (1,) * columns
    return Curve(unit, (Axis("", "steps"),) * columns, torch.zeros(*size, classes), torch.ones(size))


def pair_name(names: Sequence[str], first: int, second: int) -> str:
    """The name of a pair of columns, other than those of all columns."""
    name = f"{names[first]} x {names[second]}"
    return f"{name} (pair)" if name in names else name


def column_support(slices: tuple[slice, ...], terms: list[tuple[int, ...]]) -> Tensor:
    """(K, F) in {0, 1}: the inputs that each unit reads.

    Args:
        slices: of the inputs of each column, `TableDomain.slices`.
        terms: numbers of the columns that each unit reads.
    """
    support = torch.zeros(len(terms), slices[-1].stop)
    for k, columns in enumerate(terms):
        for column in columns:
            support[k, slices[column]] = 1.0
    return support
