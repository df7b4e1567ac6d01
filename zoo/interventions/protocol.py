"""How interventions are run: which groups, which annotators, when policies score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.domain import Domain
from zoo.interventions.annotator import SimulatedAnnotator
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean


@dataclass(frozen=True)
class Protocol:
    """How interventions are run.

    Raises:
        ValueError: a number out of range or an unknown choice.
    """

    groups: Sequence[str] = ()
    """Names of the concept groups that may be requested; all of them by default."""
    individually: bool = False
    """Request single concepts instead of groups; `groups` then names concepts."""
    reduce: str | None = None
    """Score of a group from those of its concepts: "mean", "max", or as published for each policy (None)."""
    rescore: bool | None = None
    """Score again after every intervention (True), once (False), or as published for each policy (None)."""
    orders: int = 5
    """Number of orders to average for a stochastic policy."""
    competences: Sequence[float] = (1.0,)
    """Competence of the annotators, one set of curves for each, see `SimulatedAnnotator`."""
    level: str = "instance"
    """"instance" or "class", see `SimulatedAnnotator`."""
    invisible: str = "label"
    """"label", "skip" or "absent", see `SimulatedAnnotator`."""
    seed: int = 0
    """Seed of random orders and wrong labels."""

    def __post_init__(self) -> None:
        if self.reduce is not None:
            check_choice(("mean", "max"), reduce=self.reduce)
        check_at_least(1, orders=self.orders)
        if not self.competences:
            raise ValueError("competences must name at least one competence, such as (1.0,); got none.")
        self.annotators()

    def annotators(self) -> list[SimulatedAnnotator]:
        """The annotators, one for each competence."""
        return [SimulatedAnnotator(float(c), self.level, self.invisible, self.seed) for c in self.competences]

    def groups_of(self, domain: Domain) -> dict[str, list[int]]:
        """Columns of the concepts of each group that may be requested.

        Raises:
            ValueError: an unknown group; the message has the nearest name.
        """
        known = domain.group_columns()
        if self.individually:
            known = {name: [i] for i, name in enumerate(domain.concepts)}
        for name in self.groups:
            if name not in known:
                kind = "concept" if self.individually else "concept group"
                raise ValueError(f"no {kind} named '{name}'; {did_you_mean(name, known)}")
        return {name: known[name] for name in self.groups} if self.groups else known


def group_members(groups: Mapping[str, list[int]], concepts: int, device: torch.device | str = "cpu") -> Tensor:
    """The concepts of each group as a matrix (G, k) in {0, 1}.

    Args:
        groups: name -> columns of the concepts.
        concepts: k.
        device: of the result.
    """
    members = torch.zeros(len(groups), concepts)
    for row, columns in zip(members, groups.values(), strict=True):
        row[columns] = 1
    return members.to(device)
