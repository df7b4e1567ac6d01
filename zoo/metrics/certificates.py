"""Measures certificates, and says what one means for an explanation, see `zoo.core.certificate`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import torch
from torch import Tensor

from zoo.core.certificate import Answers, Bound, Certificate
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.metrics.faithfulness.elements import TOKENS, random_masks
from zoo.metrics.faithfulness.imputers import Imputer, imputers_for
from zoo.metrics.faithfulness.mask_out import own_supports
from zoo.metrics.faithfulness.streams import integers
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.utils.progress import track

UNITS = 3  # strongest units whose removal is certified
SHARES = (0.02, 0.05, 0.1, 0.2)  # of the input, that a random part covers
SCORES = {"classification": "classes", "multilabel": "tags", "regression": "values"}  # by task
NAMED = 5  # classes of a set that a sentence names


@dataclass(frozen=True)
class Claims:
    """What contributions say of removals, what removals do, and how likely the truth was, row by row.

    Attributes:
        predicted: (N, 2) drop of the target's centred score without what the strongest units see, and without a random
            part; NaN where that does not apply.
        measured: (N, 2, I) the same drops, measured with each imputer.
        truth: (N,) 1 - probability of the true class, or the largest error of a value; NaN if unknown.
        probability: (N, C) of the classes; (N, 0) for values.
    """

    predicted: Tensor
    measured: Tensor
    truth: Tensor
    probability: Tensor

    @property
    def errors(self) -> Tensor:
        """(N, 2) the largest difference between predicted and measured drops over the imputers."""
        return (self.measured - self.predicted[..., None]).abs().amax(2)


def claims(
    subject: Subject, batches: Iterable[dict[str, Any]], imputers: Sequence[Imputer], units: int = UNITS, seed: int = 0
) -> Claims:
    """What contributions say of removals on rows, and what removals do.

    Args:
        subject: a model, or a negative control of it.
        batches: dicts with "input", "target" and sample "ids" (B,), see `NumberedBatches`.
        imputers: replacements of removed parts.
        units: number of strongest units to remove.
        seed: of the random parts.
    """
    found = [_claims(subject, batch, imputers, units, seed) for batch in batches]
    if not found:
        raise ValueError("a certificate needs rows; the data have none.")
    predicted, measured, truth, probability = (torch.cat(each) for each in zip(*found, strict=True))
    return Claims(predicted, measured, truth, probability)


@torch.no_grad()
def _claims(
    subject: Subject, batch: dict[str, Any], imputers: Sequence[Imputer], units: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, ids = batch["input"].to(subject.model.device), batch["ids"].to(subject.model.device)
    case = Case(subject, x, ids)
    truth, probability = _answers(case.explanation, batch["target"].to(x.device), subject)
    applies = subject.additive and case.explanation.support is not None
    if not applies:
        none = torch.full((len(x), 2), torch.nan, dtype=torch.float64, device=x.device)
        return none, none[..., None].expand(-1, -1, len(imputers)), truth, probability
    masks = torch.stack([strongest(case, units), random_part(case, seed)], 1)
    predicted = predicted_drops(case, masks, case.blank_margins)
    measured = [case.drops(case.scores_without(masks, imputer)) for imputer in imputers]
    return predicted, torch.stack(measured, 2), truth, probability


def strongest(case: Case, units: int) -> Tensor:
    """(B, N) bool: where the supports of the strongest units are at least half of their maximum."""
    return own_supports(case, units).any(1)


def random_part(case: Case, seed: int) -> Tensor:
    """(B, N) bool: a random part of each input, of one of `SHARES`."""
    masks = random_masks(case.x, case.ids, case.domain, SHARES, len(SHARES), seed)
    chosen = integers(case.ids, 1, len(SHARES), seed, "share of the part")[:, 0]
    return masks[torch.arange(len(case), device=masks.device), chosen]


def predicted_drops(case: Case, masks: Tensor, blank: Tensor) -> Tensor:
    """(B, n) float64: the drops of the centred score that contributions say for masks (B, n, N).

    The sum over units of (contribution - contribution for the blank input) x share of the support inside the mask, as
    in `MaskOutAgreement`.
    """
    return torch.einsum("bnk,bk->bn", case.covered(masks).double(), (case.margins - blank).double())


def _answers(explanation: Explanation, target: Tensor, subject: Subject) -> tuple[Tensor, Tensor]:
    """1 - probability of the true class and the probabilities (B, C), or the largest error and (B, 0)."""
    scores, task = explanation.scores.double(), subject.domain.task
    nothing = torch.zeros(len(scores), 0, dtype=torch.float64, device=scores.device)
    if task == "regression":
        return (target.double().view_as(scores) - scores).abs().amax(1), nothing
    probability = explanation.probabilities if task == "classification" else None
    if probability is None:
        return torch.full_like(scores[:, 0], torch.nan), nothing
    probability = probability.double()
    return 1 - probability.gather(1, target[:, None].long())[:, 0], probability


def certify(
    subject: Subject,
    batches: Iterable[dict[str, Any]],
    reference: Tensor,
    level: float = 0.9,
    split: str = "val",
    units: int = UNITS,
    seed: int = 0,
    progress: bool = False,
) -> Certificate:
    """Measures the certificate of a model on rows that it was not trained on.

    Rows that chose the recipe or the epoch are not quite like new ones; a strict bound needs rows that chose nothing.

    Args:
        subject: a model, `Subject(model)`, or a negative control of it.
        batches: dicts with "input", "target" and sample "ids" (B,), see `NumberedBatches`.
        reference: (M, *shape) training inputs, for the imputers.
        level: share of inputs for which a bound shall hold, in (0, 1).
        split: which rows these are, "val" or "test".
        units: number of strongest units to remove.
        seed: of the random parts and of random imputers.
        progress: show a progress bar.

    Raises:
        ValueError: too few rows for the level.
    """
    imputers = imputers_for(subject.domain, reference, (), seed)
    found = claims(subject, track(batches, "certificate", shown=progress), imputers, units, seed)
    return certificate_of(found, [imputer.name for imputer in imputers], level, split, units)


def certificate_of(found: Claims, imputers: Sequence[str], level: float, split: str, units: int) -> Certificate:
    """The certificate that rows give.

    Raises:
        ValueError: too few rows for the level.
    """
    bounds = [_bound(found.errors[:, i], found.measured[:, i], level) for i in range(2)]
    answers = None
    if not bool(found.truth.isnan().any()):
        threshold, sizes = conformal_quantile(found.truth, level), None
        if found.probability.shape[1]:
            sizes = float(answer_sets(found.probability, threshold).sum(1).double().mean())
            threshold = max(1 - threshold, 0.0)  # as a probability
        answers = Answers(threshold, sizes)
    return Certificate(level, len(found.truth), split, units, tuple(imputers), bounds[0], bounds[1], answers)


def conformal_quantile(errors: Tensor, level: float) -> float:
    """The ⌈(n + 1) level⌉-th smallest of n errors: the next one is at most this with a probability of at least `level`.

    Raises:
        ValueError: too few errors for the level.
    """
    place = ceil((len(errors) + 1) * level - 1e-9)
    if place > len(errors):
        raise ValueError(
            f"a bound for {level:.0%} of inputs needs at least {ceil(level / (1 - level) - 1e-9)} rows; got "
            f"{len(errors)}."
        )
    return float(errors.sort().values[place - 1])


def answer_sets(probability: Tensor, threshold: float) -> Tensor:
    """(N, C) bool: classes whose 1 - probability is at most `threshold`, and the most probable one."""
    top = torch.nn.functional.one_hot(probability.argmax(1), probability.shape[1]).bool()
    return (1 - probability <= threshold) | top


def _bound(errors: Tensor, measured: Tensor, level: float) -> Bound | None:
    if bool(errors.isnan().any()):
        return None
    constant = (measured - measured.median()).abs().amax(1)
    typical = float(measured.abs().median())
    return Bound(conformal_quantile(errors, level), typical, conformal_quantile(constant, level))


class _Told(Subject):
    """A model whose explanation is known already."""

    def __init__(self, model: SelfInterpretable, told: Explanation) -> None:
        super().__init__(model)
        self.told = told

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        return self.told

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        known = "mean" in self.told.references and x is self.told.inputs and self.told.contributions is not None
        parts = self.told.relative_to("mean").contributions if known else None
        return super().margins(x, target) if parts is None else parts


@dataclass
class Certifier:
    """Says what a certificate means for the explanations of a model.

    Attributes:
        model: gave the explanations.
        certificate: of the model.
    """

    model: SelfInterpretable
    certificate: Certificate
    _blank: dict[int, Tensor] = field(default_factory=dict)

    def sentences(self, told: Explanation) -> tuple[str, ...]:
        """A text for each row of an explanation; "" if nothing is certified for it.

        Removals were measured for what is explained by default, so nothing is said of a row that explains another
        class or value.
        """
        removals, answers = self._removals(told), self._sets(told)
        return tuple(" ".join(filter(None, pair)) for pair in zip(removals, answers, strict=True))

    def _removals(self, told: Explanation) -> list[str]:
        bound, x = self.certificate.strongest, told.inputs
        if bound is None or x is None or told.support is None or told.contributions is None:
            return [""] * len(told)
        if self.model.reference in told.references:  # by which units were ranked when the bound was measured
            told = told.relative_to(self.model.reference)
        case = Case(_Told(self.model, told), x, torch.zeros(len(x), dtype=torch.long, device=x.device))
        mask = strongest(case, self.certificate.units)[:, None]
        drops = predicted_drops(case, mask, self._blanks(case))[:, 0].tolist()
        share = f"{self.certificate.level:.0%} of inputs"
        task = told.domain.task
        relative = f" relative to the mean of all {SCORES[task]}" if told.scores.shape[1] > 1 else ""
        usual = torch.zeros_like(told.target) if task == "regression" else told.scores.argmax(1)
        return [
            f"By the contributions, the score{relative} would {'fall' if drop >= 0 else 'rise'} by {abs(drop):.3g} "
            f"without what the {self.certificate.units} strongest units see; measured removals are within "
            f"±{bound.width:.3g} of that for at least {share}."
            if predicted
            else ""
            for drop, predicted in zip(drops, (told.target == usual).tolist(), strict=True)
        ]

    def _blanks(self, case: Case) -> Tensor:
        """(B, K) contributions for the blank input; those of a class are computed once where all rows share it."""
        if case.domain.modality in TOKENS:  # as long as the text
            return case.blank_margins
        for target in case.target.unique().tolist():
            if target not in self._blank:
                one = torch.tensor([target], device=case.x.device)
                self._blank[target] = case.subject.margins(case.blank[:1], one)
        return torch.cat([self._blank[target] for target in case.target.tolist()])

    def _sets(self, told: Explanation) -> list[str]:
        found, level = self.certificate.answers, self.certificate.level
        if found is None:
            return [""] * len(told)
        if found.size is None:
            return [f"True values are within ±{found.threshold:.3g} for at least {level:.0%} of inputs."] * len(told)
        if told.probabilities is None:
            return [""] * len(told)
        sets = answer_sets(told.probabilities.double(), 1 - found.threshold)
        return [self._set(row, told.domain.classes, level) for row in sets]

    def _set(self, inside: Tensor, classes: tuple[str, ...], level: float) -> str:
        chosen = inside.nonzero()[:, 0].tolist()
        names = ", ".join(classes[i] for i in chosen[:NAMED])
        more = f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else ""
        return f"Sets like this one contain the right class for at least {level:.0%} of inputs: {names}{more}."
