"""The base of policies: classifiers over actions that learn from what they experience."""

from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, TableDomain
from zoo.training.acting import Acting


def observations_of(domain: Domain, model: str) -> TableDomain:
    """The domain of a policy: named numbers.

    Raises:
        ValueError: it is no table of numbers.
    """
    if not isinstance(domain, TableDomain):
        raise ValueError(f"{model} reads observations, rows of named numbers; the data are {domain.noun}.")
    if any(domain.indicators):
        raise ValueError(f"{model} reads numbers; the data have categories or missing values.")
    return domain


class Policy(Acting, UnitLogits):
    """A policy whose score of an action, or value, is a sum over units."""
