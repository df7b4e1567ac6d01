"""What the scores become when concepts are set: exactly, from the evidence, and without the network."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.concepts.layers.groups import effects, labelled
from zoo.core.evidence import Evidence
from zoo.interventions.annotator import Cached
from zoo.interventions.outcome_distributions import RANGE, Direct, Factored

ELEMENTS = 2**22  # of the largest tensor, (B, k, C); a handful of its kind are alive at once


class Affine:
    """What-if of a chunk of rows whose scores are affine in the activations: matrix products, no readout.

        score after asking groups = base + Σ over the groups of Σ_{j in g} (answer_j - a_j) D_j

    Args:
        model: with annotated concepts.
        evidence: of B rows.
        members: (G, k) in {0, 1}, the concepts of each group.
        slopes: (B or 1, k, C).
    """

    def __init__(self, model: Any, evidence: Evidence, members: Tensor, slopes: Tensor) -> None:
        self.model, self.evidence, self.members, self.slopes = model, evidence, members, slopes
        self.base = model.readout(evidence)

    def steepness(self) -> Tensor:
        """(B or 1, k): how much all scores change together per unit of each activation."""
        return self.slopes.abs().sum(2)

    def gains(self, labels: Tensor) -> Tensor:
        """(B, G, C): what each group adds to the scores when it is set to labels (B, k); NaN leaves as it is."""
        known = labelled(labels, self.model.exclusive)
        values = self.model.concept_values(labels.nan_to_num(0.0))
        shift = torch.where(known, values - self.evidence.activation, 0.0)
        slopes = self.slopes[0] if len(self.slopes) == 1 else self.slopes  # one for all rows is one product
        return (self.members * shift[:, None]) @ slopes

    def scores(self, asked: Tensor, gains: Tensor) -> Tensor:
        """(B, S, C): scores after the groups `asked` (B, S, G) were set."""
        return torch.baddbmm(self.base[:, None], asked, gains)

    def after_each(self, scores: Tensor, asked: Tensor, answers: Tensor, more: Tensor) -> Tensor:
        """(B, G, C): scores after the answers of `asked`, and then each group alone by the answers `more`.

        Of groups that were asked already the scores mean nothing.
        """
        return scores[:, None] + more

    def outlook(self, scores: Tensor, asked: Tensor, answers: Tensor) -> Factored | Direct:
        """The distributions were one concept more absent or present."""
        log_shares = scores.log_softmax(1)
        if self._effects is None:
            return Direct(scores[:, None, None] + effects(self.model, self.evidence, self.slopes), log_shares)
        return Factored(self._effects, log_shares)

    @cached_property
    def _effects(self) -> tuple[Tensor, Tensor] | None:
        changes = effects(self.model, self.evidence, self.slopes).flatten(1, 2)
        changes -= changes.amax(2, keepdim=True)  # a distribution stays the same, and nothing overflows
        if bool(changes.amin() < -RANGE):
            return None
        effect = changes.exp()
        return effect, changes.mul_(effect)


class ByReadout:
    """The same where the readout is no sum: every what-if is a row more in a batched readout."""

    def __init__(self, model: Any, evidence: Evidence, members: Tensor) -> None:
        self.model, self.evidence, self.members = model, evidence, members

    def steepness(self) -> None:
        """There are no slopes."""
        return

    def gains(self, labels: Tensor) -> Tensor:
        """(B, k): nothing is a sum here, so the labels themselves stand for what they change."""
        return labels

    def scores(self, asked: Tensor, gains: Tensor) -> Tensor:
        """(B, S, C): scores after the groups `asked` (B, S, G) were set."""
        steps = (self.model.readout(self.now(one, gains)) for one in asked.unbind(1))
        return torch.stack(list(steps), 1)

    def after_each(self, scores: Tensor, asked: Tensor, answers: Tensor, more: Tensor) -> Tensor:
        """(B, G, C): scores after the answers of `asked`, and then each group alone by the answers `more`."""
        groups, rows = len(self.members), len(asked)
        many = repeated(self.now(asked, answers), groups)
        labels = more.repeat_interleave(groups, 0)
        mask = self.members.bool().repeat(rows, 1) & labelled(labels, self.model.exclusive)
        values = self.model.concept_values(labels.nan_to_num(0.0))
        return self.model.readout(self.model.intervene(many, mask, values)).unflatten(0, (rows, groups))

    def outlook(self, scores: Tensor, asked: Tensor, answers: Tensor) -> Direct:
        """The distributions were one concept more absent or present."""
        now = self.now(asked, answers)
        return Direct(self.model.scores_if(now), scores.log_softmax(1))

    def now(self, asked: Tensor, labels: Tensor) -> Evidence:
        """The evidence after the groups `asked` (B, G) were set to labels (B, k)."""
        return intervened(self.model, self.evidence, asked @ self.members, labels)


def head_of(model: Any, evidence: Evidence, members: Tensor) -> Affine | ByReadout:
    """What-if of a chunk of rows: by matrix products if the model has slopes, else by readouts."""
    slopes = model.slopes(evidence)
    return ByReadout(model, evidence, members) if slopes is None else Affine(model, evidence, members, slopes)


def intervened(model: Any, evidence: Evidence, mask: Tensor, labels: Tensor) -> Evidence:
    """The evidence with the concepts of a mask (B, k) set to their labels (B, k), where there are any."""
    values = model.concept_values(labels.nan_to_num(0.0))
    return model.intervene(evidence, (mask > 0.5) & labelled(labels, model.exclusive), values)


def repeated(evidence: Evidence, times: int) -> Evidence:
    """Every row of the evidence that many times in a row."""
    state = {name: tensor.repeat_interleave(times, 0) for name, tensor in evidence.state.items()}
    return Evidence(evidence.activation.repeat_interleave(times, 0), state=state)


def chunk_rows(model: Any, cached: Cached) -> int:
    """How many rows to work on at once, so that memory stays bounded."""
    rows = cached.part(slice(0, 1), model.device)
    count, classes = len(model.domain.concepts), len(model.domain.classes)
    copied = 0 if model.slopes(rows.evidence) is not None else sum(t.numel() for t in rows.evidence.state.values())
    return max(1, ELEMENTS // (count * max(classes, count + copied)))
