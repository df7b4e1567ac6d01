"""Two versions of a model on the same inputs: which answers changed, and which reasons though the answer did not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.audit.matching import Match, match_units
from zoo.audit.observations import Observations, observe
from zoo.core.module import SelfInterpretable
from zoo.utils.checks import check_between

MOVED = 0.1  # of the standard deviation of values, from which one counts as changed


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models say about the same N inputs.

    Attributes:
        first: what the first model says.
        second: what the second says.
        matches: which of their units are the same.
        changed: (N,) whether the answer is another one; of values, whether it moved by 0.1 standard deviations.
        overlap: (N,) in [0, 1], the share of the reasons that both have, see `compare_models`.
        least: overlap below which the reasons count as changed.
    """

    first: Observations
    second: Observations
    matches: tuple[Match, ...]
    changed: Tensor
    overlap: Tensor
    least: float

    @property
    def reasons_changed(self) -> Tensor:
        """(N,) whether the reasons are other ones though the answer is the same."""
        return ~self.changed & (self.overlap < self.least)

    @property
    def answers_share(self) -> float:
        """Share of the inputs whose answer changed."""
        return float(self.changed.double().mean())

    @property
    def reasons_share(self) -> float:
        """Share of the inputs whose reasons changed though the answer did not."""
        return float(self.reasons_changed.double().mean())

    @property
    def strongest_move(self) -> int:
        """Number of the input whose strength of the answer changed most."""
        return int((self.second.strengths.double() - self.first.strengths.double()).abs().argmax())

    @cached_property
    def movers(self) -> list["Mover"]:
        """All units, those whose weight in the answers moved most first."""
        sides = (self.first.weights, self.second.weights)
        blank = torch.zeros(len(self.overlap))
        found = []
        for match in self.matches:
            places = (match.first, match.second)
            old, new = (blank if k is None else side[:, k] for side, k in zip(sides, places, strict=True))
            unit = self.first.units[match.first] if match.first is not None else None
            other = self.second.units[match.second] if match.second is not None else None
            name, later = "" if unit is None else unit.name, "" if other is None else other.name
            means = (float(old.abs().mean()), float(new.abs().mean()))
            found.append(Mover(name, later, match.how, match.similarity, *means, float((new - old).abs().mean())))
        return sorted(found, key=lambda mover: -mover.moved)

    def worst(self, count: int) -> list[int]:
        """Inputs by how much they changed: other answers first, then by the overlap of their reasons."""
        order = torch.where(self.changed, self.overlap - 1.0, self.overlap)
        return order.sort(stable=True).indices[:count].tolist()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "inputs": len(self.overlap),
            "answers changed": self.answers_share,
            "reasons changed": self.reasons_share,
            "least overlap": self.least,
            "mean overlap": float(self.overlap.mean()),
            "strongest move": {
                "input": self.strongest_move,
                "before": float(self.first.strengths[self.strongest_move]),
                "after": float(self.second.strengths[self.strongest_move]),
            },
            "units": [mover.to_dict() for mover in self.movers],
        }


@dataclass(frozen=True)
class Mover:
    """One unit of two models.

    Attributes:
        first: its name in the first model; "" if it has none.
        second: its name in the second model; "" if it has none.
        how: how the two were matched, see `Match`.
        similarity: see `Match`.
        before: mean |weight| in the first model.
        after: mean |weight| in the second model.
        moved: mean |difference of the weights|.
    """

    first: str
    second: str
    how: str
    similarity: float
    before: float
    after: float
    moved: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


def compare_models(
    first: SelfInterpretable,
    second: SelfInterpretable,
    inputs: Tensor | Iterable[Tensor],
    other_inputs: Tensor | Iterable[Tensor] | None = None,
    overlap: float = 0.5,
    similarity: float = 0.5,
) -> Comparison:
    """Compares two models on the same inputs.

    The reasons of an answer are the shares of the units in it, |contribution| / sum of all, with the sign of the
    contribution. The overlap of two is what both have: the sum of the smaller shares of matched units of equal sign.
    Models that are not additive have the importance of units in place of contributions.

    Args:
        first: one model, for example the one in use.
        second: the other one, for example trained again.
        inputs: (N, ...) or batches, as `forward` of the first model takes them.
        other_inputs: the same inputs as the second model takes them, if its preprocessing is another one.
        overlap: below which the reasons count as changed.
        similarity: of activations and supports, from which two units count as the same; see `match_units`.

    Raises:
        ValueError: other tasks, no inputs, not the same number of inputs, or a threshold outside of [0, 1].
    """
    check_between(0, 1, overlap=overlap, similarity=similarity)
    if first.domain.task != second.domain.task:
        raise ValueError(
            f"the models have other tasks, {first.domain.task} and {second.domain.task}; compare two of the same task."
        )
    batches = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    others = batches if other_inputs is None else _listed(other_inputs)
    both = first.additive and second.additive
    old = observe(first, batches)
    new = observe(second, others, old.explained if both and old.task == "classification" else None)
    return compare_observations(old, new, overlap, similarity)


def compare_observations(
    first: Observations, second: Observations, overlap: float = 0.5, similarity: float = 0.5
) -> Comparison:
    """The same of what two models said, see `compare_models`.

    Raises:
        ValueError: they are of other numbers of inputs.
    """
    if len(first.answers) != len(second.answers):
        raise ValueError(
            f"the models explained {len(first.answers)} and {len(second.answers)} inputs; give both the same inputs."
        )
    matches = tuple(match_units(first, second, similarity))
    shared = _shared(first, second, matches)
    return Comparison(first, second, matches, _changed(first, second), shared, overlap)


def _listed(inputs: Tensor | Iterable[Tensor]) -> Sequence[Tensor]:
    return [inputs] if isinstance(inputs, Tensor) else list(inputs)


def _changed(first: Observations, second: Observations) -> Tensor:
    if first.task == "regression":
        spread = first.strengths.double().std(correction=0)
        return (second.strengths - first.strengths).abs().double() > MOVED * spread + 1e-9
    return torch.tensor([a != b for a, b in zip(first.answers, second.answers, strict=True)])


def _shared(first: Observations, second: Observations, matches: Sequence[Match]) -> Tensor:
    """(N,) the share of the reasons that both have; 1 where neither has any."""
    signed = first.additive and second.additive
    pairs = [(m.first, m.second) for m in matches if m.first is not None and m.second is not None]
    sides = [side.weights.double() if signed else side.weights.double().abs() for side in (first, second)]
    shares = [side / side.abs().sum(1, keepdim=True).clamp_min(1e-12) for side in sides]
    none = (sides[0].abs().sum(1) == 0) & (sides[1].abs().sum(1) == 0)
    if not pairs:
        return none.double()
    a, b = (share[:, [pair[side] for pair in pairs]] for side, share in enumerate(shares))
    least = torch.minimum(a.abs(), b.abs()) * (a * b > 0)
    return torch.where(none, 1.0, least.sum(1)).clamp(0, 1)
