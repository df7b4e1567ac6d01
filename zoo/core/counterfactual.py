"""What would change an answer: the smallest set of units whose removal or edit does it, from the terms alone.

The margin of an additive model is a sum over its units, so what a set of them moves is the sum of what each moves, and
the smallest set that turns the margin takes the units that move it most. So sorting finds it, and no set is smaller.
Where the score is not a sum, `zoo.core.counterfactual_search` asks the model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.core.explanation import Explanation

REMOVED, ABSENT, PRESENT = "removed", "absent", "present"
PRESENCE = 0.5  # probability from which a concept counts as present
MOVED = "others moved"  # detail of concepts whose answers move other concepts, so that their effects do not add up


@dataclass(frozen=True)
class Counterfactual:
    """What would change the answer for one input.

    Attributes:
        units: names of the units that would have to change, the one that moves most first; empty if no set does it.
        states: what each would have to be: "removed", "absent" or "present".
        answer: the answer then: a class, or the tag; "" if it is known only that the target is no longer the answer.
        rival: the class that the target is compared with; "" if all were, or if the sign of one score is the answer.
        margin: then; of the target over the class that beats it, or of the target if its sign is the answer.
        smallest: whether no smaller set does it (with `rival`: lets this class win).
    """

    units: tuple[str, ...]
    states: tuple[str, ...]
    answer: str
    rival: str
    margin: float
    smallest: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which `from_dict` builds an equal one."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Counterfactual":
        """What `to_dict` described."""
        lists = {name: tuple(plain[name]) for name in ("units", "states")}
        return Counterfactual(**{**plain, **lists})


def counterfactual_of(one: "Explanation") -> Counterfactual | None:
    """What would change the answer of an explanation of one row: the one it carries, else that of its terms.

    Concepts whose probability is known are set to the opposite, if that suffices; other units are removed. With the
    effects on all classes (`explain(every_class=True)`) or with two classes, the answer may become any other one;
    otherwise the runner-up is the one that must win.

    Returns:
        None where nothing is known: values (regression), or a score that is not a sum and was not searched.

    Raises:
        ValueError: the explanation has several rows.
    """
    if len(one) != 1:
        raise ValueError(f"expected an explanation of one row; got {len(one)} rows. Index it: explanation[i].")
    if one.counterfactuals:
        found = one.counterfactuals[0]
        return None if found is None else Counterfactual.from_dict(found)
    if one.contributions is None or one.domain.task == "regression":
        return None
    if one.space == "margin" or one.domain.task == "multilabel":
        return _sign(one.relative_to("zero"))
    if one.runner_up is None:
        return None
    compared = "runner-up" in one.references
    if compared and (found := _edits(one)):
        return found
    if one.effects is not None and is_answer(one):
        return _removal_of_all(one)
    return _removal_of_two(one) if compared else None


def is_answer(one: "Explanation") -> bool:
    """Whether the target of a single row is the class of highest score."""
    return int(one.scores[0].argmax()) == int(one.target)


def smallest_set(moves: Tensor, margin: float) -> list[int] | None:
    """The smallest set of columns whose moves (K,) turn the sign of a margin; None if no set does.

    A margin above 0 must end below 0; any other must end above. What rounding can do is not enough.
    """
    moves, sign = moves.double(), 1.0 if margin > 0 else -1.0
    order = (moves * sign).sort(stable=True)
    reached = abs(margin) + order.values.clamp(max=0).cumsum(0)
    enough = 1e-6 + 1e-5 * (abs(margin) + float(moves.abs().sum()))
    turned = (reached < -enough).nonzero()
    return order.indices[: int(turned[0]) + 1].tolist() if len(turned) else None


def _sign(one: "Explanation") -> Counterfactual:
    """The answer is whether one score is positive."""
    assert one.contributions is not None
    moves, margin = -one.contributions[0], one.relative_score.item()
    columns = smallest_set(moves, margin) or []
    name = one.target_names[0] if columns else ""
    return _made(one, columns, [REMOVED] * len(one.units), name, "", margin + float(moves.double()[columns].sum()))


def _edits(one: "Explanation") -> Counterfactual | None:
    """Concepts set to the opposite until the margin over the runner-up turns; None if unknown or not enough."""
    details, margin = one.details, one.relative_to("runner-up").relative_score.item()
    if not {"probability", "absent, runner-up", "present, runner-up"} <= details.keys():
        return None
    present = details["probability"][0] >= PRESENCE
    other = torch.where(present, details["absent, runner-up"][0], details["present, runner-up"][0])
    moves, states = other.double() - margin, [ABSENT if there else PRESENT for there in present.tolist()]
    columns = smallest_set(moves, margin)
    if not columns or (len(columns) > 1 and MOVED in details):
        return None
    return _against_rival(one, columns, states, margin + float(moves[columns].sum()))


def _removal_of_two(one: "Explanation") -> Counterfactual:
    """The smallest set whose removal turns the margin over the runner-up."""
    view = one.relative_to("runner-up")
    assert view.contributions is not None
    margin, moves = view.relative_score.item(), -view.contributions[0]
    columns = smallest_set(moves, margin) or []
    return _against_rival(one, columns, [REMOVED] * len(one.units), margin + float(moves.double()[columns].sum()))


def _against_rival(one: "Explanation", columns: list[int], states: list[str], margin: float) -> Counterfactual:
    """Of two classes the loser's rival is the answer; of several, another may be: only the target's fate is known."""
    assert one.runner_up is not None
    rival, names = one.domain.classes[int(one.runner_up)], one.domain.classes
    asked, two = not is_answer(one), len(names) == 2
    answer = "" if not columns or not two else one.target_names[0] if asked else rival
    return _made(one, columns, states, answer, "" if two else rival, margin)


def _removal_of_all(one: "Explanation") -> Counterfactual:
    """The smallest set whose removal lets any other class win; of equal sets the one that loses by most."""
    assert one.effects is not None
    effects, scores, target = one.effects[0].double(), one.scores[0].double(), int(one.target)
    sets: list[tuple[int, float, int, list[int]]] = []
    for rival in range(len(scores)):
        moves, margin = effects[:, rival] - effects[:, target], float(scores[target] - scores[rival])
        if rival != target and (columns := smallest_set(moves, margin)):
            sets.append((len(columns), margin + float(moves[columns].sum()), rival, columns))
    if not sets:
        return _made(one, [], [], "", "", float(scores[target] - scores.topk(2).values[1]))
    columns = min(sets)[3]
    left = scores - effects[columns].sum(0)
    best = int(left.argmax())
    margin = float(left[target] - left[best])
    return _made(one, columns, [REMOVED] * len(one.units), one.domain.classes[best], "", margin)


def _made(
    one: "Explanation",
    columns: list[int],
    states: list[str],
    answer: str,
    rival: str,
    margin: float,
) -> Counterfactual:
    names, kinds = tuple(one.units[k].name for k in columns), tuple(states[k] for k in columns)
    return Counterfactual(names, kinds, answer, rival, margin, True)
