"""What would change an answer whose score is not a sum of units: the model is asked, one unit after the other."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from zoo.core.counterfactual import ABSENT, PRESENCE, PRESENT, REMOVED, Counterfactual
from zoo.core.evidence import Evidence
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.terms import without_autocast
from zoo.training.modes import evaluating

TRIED = 32  # units of highest importance that are tried
STEPS = 5  # units of a set, at most


@torch.no_grad()
def search_counterfactuals(model: SelfInterpretable, explanation: Explanation, tried: int = TRIED) -> Explanation:
    """The explanation with `counterfactuals`, searched greedily: the unit that moves most, then the next, at most five.

    Units of the set that turn out not to be needed are dropped again. A set of one unit is the smallest if all units
    were tried; a larger one may not be. For models whose score is not a sum; of others the explanation is returned
    as it is, because `zoo.core.counterfactual` finds the smallest set from the terms; so are explanations of values.

    Args:
        model: that gave the explanation.
        explanation: of inputs that it contains.
        tried: number of units that are tried, the most important ones; each costs up to `STEPS` readouts.

    Raises:
        ValueError: the explanation has no inputs.
    """
    if model.additive or explanation.domain.task != "classification":
        return explanation
    if explanation.inputs is None:
        raise ValueError("the explanation has no inputs, which the search needs; explain them again.")
    with evaluating(model), without_autocast(explanation.scores):
        found = [_Search(model, one, tried).run().to_dict() for one in explanation]
    return replace(explanation, counterfactuals=tuple(found))


class _Search:
    """The greedy search for one input."""

    def __init__(self, model: SelfInterpretable, one: Explanation, tried: int) -> None:
        assert one.inputs is not None
        self.model, self.one = model, one
        self.evidence = model.step(one.inputs)[1]
        self.target = int(one.target)
        self.candidates = one.importance[0].sort(descending=True, stable=True).indices[:tried].tolist()
        self.start = self.margin(one.scores[0])

    def run(self) -> Counterfactual:
        chosen: list[int] = []
        best, scores = self.start, self.one.scores[0]
        while len(chosen) < STEPS and best * self.start > 0:
            rest = [k for k in self.candidates if k not in chosen]
            moved = [(self.margin(self.scores([*chosen, k])) * self._sign, k) for k in rest]
            if not moved or min(moved)[0] >= best * self._sign:
                break
            chosen.append(min(moved)[1])
            scores = self.scores(chosen)
            best = self.margin(scores)
        if best * self.start > 0:
            return Counterfactual((), (), "", "", self.start, False)
        for k in list(chosen):
            if len(chosen) > 1 and self.turned(left := [other for other in chosen if other != k]):
                chosen, scores = left, self.scores(left)
        smallest = len(chosen) == 1  # by nothing can no answer change
        states = tuple(self._state(k)[0] for k in chosen)
        names = tuple(self.one.units[k].name for k in chosen)
        answer = self.one.domain.classes[int(scores.argmax())]
        return Counterfactual(names, states, answer, "", self.margin(scores), smallest)

    @property
    def _sign(self) -> float:
        return 1.0 if self.start > 0 else -1.0

    def turned(self, columns: list[int]) -> bool:
        """Whether a set changes the answer."""
        return self.margin(self.scores(columns)) * self.start <= 0

    def margin(self, scores: Tensor) -> float:
        """The target's score above the best of the other classes."""
        others = scores.double().clone()
        others[self.target] = -torch.inf
        return float(scores[self.target] - others.max())

    def scores(self, columns: list[int]) -> Tensor:
        """(C,) without some units, or with concepts set to the opposite."""
        edits: Mapping[str | int, float | Tensor] = {k: v for k in columns if (v := self._state(k)[1]) is not None}
        removed = [k for k in columns if k not in edits]
        evidence: Evidence = self.model.edit(self.evidence, edits) if edits else self.evidence
        return self.model.readout(self.model.ablate(evidence, removed) if removed else evidence)[0]

    def _state(self, k: int) -> tuple[str, float | None]:
        """What a unit becomes, and the value of an edit."""
        if self.one.units[k].kind != "concept" or "probability" not in self.one.details:
            return REMOVED, None
        present = float(self.one.details["probability"][0, k]) >= PRESENCE
        return (ABSENT, 0.0) if present else (PRESENT, 1.0)
