"""How well concepts are predicted: which, how sharply, and with what honesty about doubt."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.concepts.pooled import check_concepts
from zoo.training.tasks import ConceptAccuracy, ConceptAUC

__all__ = ["ConceptAUC", "ConceptAccuracy", "ConceptCalibrationError", "ConceptF1"]


class ConceptF1(Metric):
    """Macro F1 of each concept at a probability of 0.5, the mean of F1 for present and F1 for absent.

        F1 = 2 TP / (2 TP + FP + FN)

    What has but one kind of label is left out, as in `ConceptAUC`.

    Args:
        count: number of concepts k.
        average: give the mean (NaN if no concept is defined) instead of (k,) with NaN where it is undefined.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str] = "concept macro F1"
    chance: ClassVar[float | None] = None

    def __init__(self, count: int, average: bool = True) -> None:
        super().__init__()
        self.average = average
        for name in ("hits", "false_alarms", "misses", "rejections"):
            self.add_state(name, torch.zeros(count, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, probability: Tensor, concepts: Tensor) -> None:
        """Adds probabilities (B, k) and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: other shapes or labels.
        """
        check_probability(probability, concepts, len(self.hits), "ConceptF1")
        said, present, absent = probability > 0.5, concepts == 1, concepts == 0
        self.hits += (said & present).sum(0)
        self.false_alarms += (said & absent).sum(0)
        self.misses += (~said & present).sum(0)
        self.rejections += (~said & absent).sum(0)

    def compute(self) -> Tensor:
        """The mean, or (k,) fp64."""
        wrong = self.false_alarms + self.misses
        both = sum(2 * right.double() / (2 * right + wrong) for right in (self.hits, self.rejections)) / 2
        defined = (self.hits + self.misses > 0) & (self.rejections + self.false_alarms > 0)
        scores = both.where(defined, torch.nan)
        return scores.nanmean() if self.average else scores


class ConceptCalibrationError(Metric):
    """Expected calibration error of each concept: |probability - frequency|, averaged over bins by their size.

        ECE = Σ_bins (n_bin / n) |mean probability in bin - share of present in bin|

    It is about the probability that the concept is present, not about the more probable of the two answers.

    Args:
        count: number of concepts k.
        bins: of equal width in [0, 1].
        average: give the mean (NaN if nothing is labelled) instead of (k,) with NaN for concepts without labels.
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "concept calibration error"
    chance: ClassVar[float | None] = None

    def __init__(self, count: int, bins: int = 15, average: bool = True) -> None:
        super().__init__()
        self.average, self.bins = average, bins
        for name in ("rows", "believed", "present"):
            self.add_state(name, torch.zeros(count, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, concepts: Tensor) -> None:
        """Adds probabilities (B, k) in [0, 1] and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: other shapes or labels, or no probabilities.
        """
        check_probability(probability, concepts, len(self.rows), "ConceptCalibrationError")
        place = (probability.double() * self.bins).long().clamp_max(self.bins - 1).T
        known = concepts.isfinite().T
        for state, values in (
            (self.rows, known),
            (self.believed, probability.T * known),
            (self.present, concepts.T == 1),
        ):
            state.scatter_add_(1, place, values.double())

    def compute(self) -> Tensor:
        """The mean, or (k,) fp64."""
        errors = (self.believed - self.present).abs().sum(1) / self.rows.sum(1)
        return errors.nanmean() if self.average else errors


def check_probability(probability: Tensor, concepts: Tensor, count: int, who: str) -> None:
    """Refuses what is no probability for each label.

    Raises:
        ValueError: shapes other than (B, count), labels other than 0, 1 and NaN, or values outside [0, 1].
    """
    if probability.shape != concepts.shape or concepts.shape[1:] != (count,):
        raise ValueError(
            f"{who} expects probabilities and labels of {count} concepts, (B, {count}); got {tuple(probability.shape)} "
            f"and {tuple(concepts.shape)}."
        )
    check_concepts(concepts, who)
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ValueError(f"{who} expects probabilities in [0, 1]; give sigmoid(logits).")
