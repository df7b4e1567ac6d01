"""Exact effects of interventions on the scores, computed from the evidence without the network."""

from functools import cached_property

import torch
from torch import Tensor

from zoo.concepts.layers.annotated import AnnotatedConcepts, repeat_rows
from zoo.concepts.layers.groups import complete_labels
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence, concepts_of
from zoo.interventions.outcome_distributions import RANGE, DirectOutcomes, FactoredOutcomes

ELEMENTS = 2**22  # entries of the largest tensor, (B, k, C); several of this size exist at the same time


class AffineEffects:
    """Effects on scores that are affine in the activations: matrix products, no readout.

        score after setting groups = base + Σ over the groups of Σ_{j in g} (value_j - a_j) D_j

    Args:
        model: whose scores are affine.
        concepts: of the model.
        evidence: of B rows.
        members: (G, k) in {0, 1}, the concepts of each group.
        slopes: (B or 1, k, C), D.
    """

    def __init__(
        self,
        model: SelfInterpretable,
        concepts: AnnotatedConcepts,
        evidence: Evidence,
        members: Tensor,
        slopes: Tensor,
    ) -> None:
        self.concepts, self.evidence, self.members, self.slopes = concepts, evidence, members, slopes
        self.base = model.readout(evidence)

    def sensitivity(self) -> Tensor:
        """Sum over classes of |slope|, (B or 1, k)."""
        return self.slopes.abs().sum(2)

    def changes(self, labels: Tensor) -> Tensor:
        """Changes (B, G, C) of the scores when each group is set to labels (B, k); a missing label changes nothing."""
        known = complete_labels(labels, self.concepts.exclusive)
        values = self.concepts.values(labels.nan_to_num(0.0))
        shift = torch.where(known, values - self.evidence.activation, 0.0)
        slopes = self.slopes[0] if len(self.slopes) == 1 else self.slopes  # shared slopes: one product for all rows
        return (self.members * shift[:, None]) @ slopes

    def scores(self, intervened: Tensor, changes: Tensor) -> Tensor:
        """Scores (B, S, C) after setting groups.

        Args:
            intervened: (B, S, G) in {0, 1}, S sets of groups.
            changes: of the labels, see `changes`.
        """
        return torch.baddbmm(self.base[:, None], intervened, changes)

    def scores_after_each(self, scores: Tensor, intervened: Tensor, labels: Tensor, changes: Tensor) -> Tensor:
        """Scores (B, G, C) after setting each group alone, in addition to the groups that are set already.

        Args:
            scores: (B, C) with the groups `intervened`.
            intervened: (B, G) in {0, 1}; the result is meaningless for these groups.
            labels: (B, k) of the groups `intervened`.
            changes: of the labels of the additional group, see `changes`.
        """
        return scores[:, None] + changes

    def outcomes(self, scores: Tensor, intervened: Tensor, labels: Tensor) -> FactoredOutcomes | DirectOutcomes:
        """Class distributions if one more concept were absent or present; arguments as for `scores_after_each`."""
        log_probability = scores.log_softmax(1)
        if self._effects is None:
            changes = self.concepts.score_changes(self.evidence, self.slopes)
            return DirectOutcomes(scores[:, None, None] + changes, log_probability)
        return FactoredOutcomes(self._effects, log_probability)

    @cached_property
    def _effects(self) -> tuple[Tensor, Tensor] | None:
        """E_v and E_v log E_v, see `zoo.interventions.outcome_distributions`; None if their range is too large."""
        changes = self.concepts.score_changes(self.evidence, self.slopes).flatten(1, 2)
        changes -= changes.amax(2, keepdim=True)  # does not change a distribution, and prevents overflow
        if bool(changes.amin() < -RANGE):
            return None
        effect = changes.exp()
        return effect, changes.mul_(effect)


class ReadoutEffects:
    """The same effects for any readout, by a batched readout with one row per intervention.

    Args:
        model: with annotated concepts.
        concepts: of the model.
        evidence: of B rows.
        members: (G, k) in {0, 1}, the concepts of each group.
    """

    def __init__(
        self, model: SelfInterpretable, concepts: AnnotatedConcepts, evidence: Evidence, members: Tensor
    ) -> None:
        self.model, self.concepts, self.evidence, self.members = model, concepts, evidence, members

    def changes(self, labels: Tensor) -> Tensor:
        """The labels (B, k) themselves, because effects are not sums of changes."""
        return labels

    def scores(self, intervened: Tensor, changes: Tensor) -> Tensor:
        """Scores (B, S, C) after setting groups, see `AffineEffects.scores`."""
        return torch.stack([self.model.readout(self._edited(one, changes)) for one in intervened.unbind(1)], 1)

    def scores_after_each(self, scores: Tensor, intervened: Tensor, labels: Tensor, changes: Tensor) -> Tensor:
        """Scores (B, G, C) after setting each group alone, see `AffineEffects.scores_after_each`."""
        groups, rows = len(self.members), len(intervened)
        repeated = repeat_rows(self._edited(intervened, labels), groups)
        mask = self.members.repeat(rows, 1)
        edited = set_concepts(self.model, repeated, mask, changes.repeat_interleave(groups, 0))
        return self.model.readout(edited).unflatten(0, (rows, groups))

    def outcomes(self, scores: Tensor, intervened: Tensor, labels: Tensor) -> DirectOutcomes:
        """Class distributions if one more concept were absent or present, see `AffineEffects.outcomes`."""
        after = self.concepts.counterfactual_scores(self.model, self._edited(intervened, labels))
        return DirectOutcomes(after, scores.log_softmax(1))

    def _edited(self, intervened: Tensor, labels: Tensor) -> Evidence:
        return set_concepts(self.model, self.evidence, intervened @ self.members, labels)


Effects = AffineEffects | ReadoutEffects


def intervention_effects(model: SelfInterpretable, evidence: Evidence, members: Tensor) -> Effects:
    """The effects of interventions on some rows: by matrix products if the model has slopes, otherwise by readouts."""
    slopes, concepts = model.slopes(evidence), concepts_of(model)
    if slopes is None:
        return ReadoutEffects(model, concepts, evidence, members)
    return AffineEffects(model, concepts, evidence, members, slopes)


def set_concepts(model: SelfInterpretable, evidence: Evidence, mask: Tensor, labels: Tensor) -> Evidence:
    """The evidence with the concepts of a mask (B, k) set to labels (B, k); a missing label changes nothing."""
    concepts = concepts_of(model)
    known = complete_labels(labels, concepts.exclusive)
    return model.intervene(evidence, (mask > 0.5) & known, concepts.values(labels.nan_to_num(0.0)))


def chunk_rows(model: SelfInterpretable, cached: CachedEvidence) -> int:
    """Number of rows to process at once, so that memory stays bounded."""
    row = cached.part(slice(0, 1), model.device).evidence
    count, classes = len(model.domain.concepts), len(model.domain.classes)
    copied = 0 if model.slopes(row) is not None else sum(tensor.numel() for tensor in row.state.values())
    return max(1, ELEMENTS // (count * max(classes, count + copied)))
