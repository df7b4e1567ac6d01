"""The base of policies that are trees: their splits are the units, and the rule of a leaf is said in words."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zoo.core.evidence import Evidence, Unit
from zoo.domain import TableDomain
from zoo.policies.layers.path_tree import rule, split_names
from zoo.policies.layers.policy import Policy


class TreePolicy(Policy):
    """A policy that is a binary tree of I splits; its evidence has the side (B, I) that each split takes as "side".

    Attributes:
        observed: the domain.
    """

    observed: TableDomain

    def splits(self) -> tuple[Tensor, Tensor]:
        """Which input each split reads (I,), -1 of an unused one, and the threshold (I,) above which it goes right."""
        raise NotImplementedError(f"{type(self).__name__} must define splits().")

    def units(self) -> tuple[Unit, ...]:
        feature, threshold = (tensor.tolist() for tensor in self.splits())
        return tuple(Unit(name, "condition") for name in split_names(feature, threshold, self.observed))

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {"above": evidence.state["side"]}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The rule of the leaf that each row reaches."""
        feature, threshold = (tensor.tolist() for tensor in self.splits())
        rows = zip(terms["activation"].tolist(), terms["details"]["above"].tolist(), strict=True)
        return tuple(f"If {rule(on, sides, feature, threshold, self.observed)}." for on, sides in rows)
