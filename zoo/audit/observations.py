"""What a model says about a set of inputs, in arrays that two versions of it can be compared by."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable

KEPT = 64  # inputs whose supports are kept


@dataclass(frozen=True, eq=False)
class Observations:
    """What one model says about N inputs.

    Attributes:
        units: the K units.
        answers: the predicted class of each input; of tags those that are present; of values the first.
        strengths: (N,) probability of the answer; of values the value itself; else the score.
        weights: (N, K) contributions, or the importance of units if the model is not additive.
        activation: (N, K).
        support: (n, K, *S) of the first inputs, or None.
        task: see `Domain.task`.
        additive: whether weights have a sign.
        explained: what the contributions are relative to.
        classes: names of the classes, to which the `target` of units refers.
    """

    units: tuple[Unit, ...]
    answers: tuple[str, ...]
    strengths: Tensor
    weights: Tensor
    activation: Tensor
    support: Tensor | None
    task: str
    additive: bool
    explained: str
    classes: tuple[str, ...] = ()

    def kind(self, unit: int) -> tuple[str, str]:
        """Kind and class of a unit; units that differ in these are never the same."""
        target = self.units[unit].target
        return self.units[unit].kind, "" if target is None else self.classes[target]


@torch.no_grad()
def observe(model: SelfInterpretable, batches: Iterable[Tensor], reference: str | None = None) -> Observations:
    """Explains batches of inputs and keeps what a comparison needs.

    Args:
        model: that explains.
        batches: of inputs as `forward` takes them.
        reference: what contributions are relative to; by default the model's own.

    Raises:
        ValueError: there are no inputs; or see `SelfInterpretable.explain`.
    """
    answers: list[str] = []
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    supports: list[Tensor] = []
    kept, told = 0, None
    for batch in batches:
        told = model.explain(batch.to(model.device), reference=reference)
        answers += [_answer(one) for one in told]
        strength = told.score if told.probability is None else told.probability
        weight = told.importance if told.contributions is None else told.contributions
        rows.append((strength.cpu(), weight.float().cpu(), told.activation.float().cpu()))
        if told.support is not None and kept < KEPT:
            supports.append(told.support[: KEPT - kept].float().cpu())
            kept += len(supports[-1])
    if told is None:
        raise ValueError("there are no inputs to compare models on.")
    strengths, weights, activation = (torch.cat(part) for part in zip(*rows, strict=True))
    support = torch.cat(supports) if supports else None
    meaning = (model.domain.task, model.additive, told.reference, model.domain.classes)
    return Observations(told.units, tuple(answers), strengths, weights, activation, support, *meaning)


def _answer(one: Explanation) -> str:
    if one.domain.task == "multilabel":
        present = (one.scores[0] > 0).nonzero()[:, 0].tolist()
        return ", ".join(one.domain.classes[c] for c in present) or "none"
    return one.target_names[0]
