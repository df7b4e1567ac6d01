"""Quality of concept predictions: accuracy, AUC, F1 and calibration."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.concepts.pooled import check_concepts
from zoo.training.tasks import ConceptAccuracy, ConceptAUC

__all__ = ["ConceptAUC", "ConceptAccuracy", "ConceptCalibrationError", "ConceptF1"]


class ConceptF1(Metric):
    """Macro F1 of each concept at a threshold of 0.5: the mean of F1 for present and F1 for absent.

        F1 = 2 TP / (2 TP + FP + FN)

    Concepts with only one label are undefined, as in `ConceptAUC`.

    Args:
        count: number of concepts k.
        average: return the mean of the defined concepts (NaN if there are none) instead of (k,).
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str] = "concept macro F1"
    chance: ClassVar[float | None] = None
    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    true_negatives: Tensor

    def __init__(self, count: int, average: bool = True) -> None:
        super().__init__()
        self.average = average
        for name in ("true_positives", "false_positives", "false_negatives", "true_negatives"):
            self.add_state(name, torch.zeros(count, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, probability: Tensor, concepts: Tensor) -> None:
        """Adds probabilities (B, k) and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: wrong shapes or labels.
        """
        check_probability(probability, concepts, len(self.true_positives), "ConceptF1")
        predicted, present, absent = probability > 0.5, concepts == 1, concepts == 0
        self.true_positives += (predicted & present).sum(0)
        self.false_positives += (predicted & absent).sum(0)
        self.false_negatives += (~predicted & present).sum(0)
        self.true_negatives += (~predicted & absent).sum(0)

    def compute(self) -> Tensor:
        """The mean, or (k,) float64."""
        wrong = self.false_positives + self.false_negatives
        right = torch.stack([self.true_positives, self.true_negatives]).double()
        both = (2 * right / (2 * right + wrong)).mean(0)
        defined = (self.true_positives + self.false_negatives > 0) & (self.true_negatives + self.false_positives > 0)
        scores = both.where(defined, torch.nan)
        return scores.nanmean() if self.average else scores


class ConceptCalibrationError(Metric):
    """Expected calibration error of each concept: |probability - frequency|, averaged over bins weighted by size.

        ECE = Σ_bins (n_bin / n) |mean probability in bin - share of present in bin|

    It uses the probability that the concept is present, not the probability of the predicted label.

    Args:
        count: number of concepts k.
        bins: number of bins of equal width in [0, 1].
        average: return the mean over concepts with labels (NaN if there are none) instead of (k,).
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "concept calibration error"
    chance: ClassVar[float | None] = None
    rows: Tensor
    probability_sum: Tensor
    present: Tensor

    def __init__(self, count: int, bins: int = 15, average: bool = True) -> None:
        super().__init__()
        self.average, self.bins = average, bins
        for name in ("rows", "probability_sum", "present"):
            self.add_state(name, torch.zeros(count, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, concepts: Tensor) -> None:
        """Adds probabilities (B, k) in [0, 1] and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: wrong shapes or labels, or values outside [0, 1].
        """
        check_probability(probability, concepts, len(self.rows), "ConceptCalibrationError")
        place = (probability.double() * self.bins).long().clamp_max(self.bins - 1).T
        known = concepts.isfinite().T
        for state, values in (
            (self.rows, known),
            (self.probability_sum, probability.T * known),
            (self.present, concepts.T == 1),
        ):
            state.scatter_add_(1, place, values.double())

    def compute(self) -> Tensor:
        """The mean, or (k,) float64."""
        errors = (self.probability_sum - self.present).abs().sum(1) / self.rows.sum(1)
        return errors.nanmean() if self.average else errors


def check_probability(probability: Tensor, concepts: Tensor, count: int, who: str) -> None:
    """Checks probabilities and labels.

    Raises:
        ValueError: the shapes are not (B, count), a label is not 0, 1 or NaN, or a probability is outside [0, 1].
    """
    if probability.shape != concepts.shape or concepts.shape[1:] != (count,):
        raise ValueError(
            f"{who} expects probabilities and labels of {count} concepts, (B, {count}); got {tuple(probability.shape)} "
            f"and {tuple(concepts.shape)}."
        )
    check_concepts(concepts, who)
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ValueError(f"{who} expects probabilities in [0, 1]; pass sigmoid(logits).")
