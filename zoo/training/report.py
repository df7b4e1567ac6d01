"""What a test reports: more than accuracy, because accuracy hides rare classes and overconfidence."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.training.ranking import Ranking

BINS = 15
MANY = 1000  # classes beyond which there is no confusion matrix and no ranking of each class against all others


class ClassificationReport(Metric):
    """Balanced accuracy, F1, AUROC, average precision, Brier score and calibration error, and the confusions.

    Averages over classes are macro averages over the classes that occur among the targets. Ranking metrics compare each
    class with all others, see `zoo.training.ranking.Ranking`, which bounds the memory. The Brier score is the mean over
    rows of Σ_c (p_c - y_c)², in [0, 2] (Brier, 1950); the calibration error is that of the most probable class in 15
    bins of equal width (Guo et al., ICML 2017). Both need probabilities and are left out for scores without any.

    Args:
        classes: C.
        space: what scores are: "logit", "probability" or "value".
        threshold: of two classes, the probability of the second at which it is predicted, for a second set of results,
            "..._at_threshold".
    """

    is_differentiable, higher_is_better, full_state_update = False, None, False
    counts: Tensor  # (3, C): right, true, predicted
    confusion: Tensor
    at_threshold: Tensor
    brier: Tensor
    gap: Tensor

    def __init__(self, classes: int, space: str = "logit", threshold: float | None = None) -> None:
        super().__init__()
        self.classes, self.space, self.threshold = classes, space, threshold
        self.ranking = Ranking(space)
        kept = classes if classes <= MANY else 0
        self.add_state(
            "counts", torch.zeros(3, classes, dtype=torch.long), dist_reduce_fx="sum"
        )  # right, true, guessed
        self.add_state("confusion", torch.zeros(kept, kept, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("at_threshold", torch.zeros(2, 2, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("brier", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("gap", torch.zeros(BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds scores (B, C) and the true classes (B,)."""
        scores = scores.detach().float()
        answer = scores.argmax(1)
        rows = (target[answer == target], target, answer)
        self.counts += torch.stack([torch.bincount(row, minlength=self.classes) for row in rows])
        labels = F.one_hot(target, self.classes)
        if self.classes <= MANY:
            self.confusion += confusions(target, answer, self.classes)
            # A class is ranked by its probability: logits of different rows are not comparable.
            self.ranking.update(scores.log_softmax(1) if self.space == "logit" else scores, labels)
        if self.space == "value":
            return
        probability = scores.softmax(1) if self.space == "logit" else scores
        self.brier += (probability - labels).double().square().sum()
        confidence = probability.gather(1, answer[:, None])[:, 0].double()
        bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        self.gap += torch.zeros_like(self.gap).index_add_(0, bins, confidence - (answer == target).double())
        if self.threshold is not None:
            self.at_threshold += confusions(target, (probability[:, 1] >= self.threshold).long(), 2)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; NaN where one is undefined (AUROC of a single class, for example)."""
        found = from_counts(self.counts)
        if self.classes <= MANY:
            area, precision = self.ranking.compute()
            found |= {"auroc": area.nanmean(), "average_precision": precision.nanmean()}
        if self.space == "value":
            return found
        rows = self.counts[1].sum()
        found |= {"brier": self.brier / rows, "calibration_error": self.gap.abs().sum() / rows}
        if self.threshold is not None:
            found["threshold"] = found["brier"].new_tensor(self.threshold)
            found["accuracy_at_threshold"] = self.at_threshold.diagonal().sum() / rows
            right, true, guessed = self.at_threshold.diagonal(), self.at_threshold.sum(1), self.at_threshold.sum(0)
            at = from_counts(torch.stack([right, true, guessed]))
            found |= {f"{name}_at_threshold": value for name, value in at.items()}
        return found

    def best_threshold(self) -> float | None:
        """Of two classes, the probability of the second at which to predict it, for the largest balanced accuracy.

        Returns:
            None for more classes, for scores without probabilities, or if one class does not occur.
        """
        if self.classes != 2 or self.space == "value":
            return None
        with self.ranking.sync_context():
            found = float(self.ranking.best_threshold())
        return found if found == found else None

    def reset(self) -> None:
        super().reset()
        self.ranking.reset()


class RegressionReport(Metric):
    """Root mean squared error and mean absolute error, over all values, in the targets' own units."""

    is_differentiable, higher_is_better, full_state_update = False, False, False
    squared: Tensor
    absolute: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("squared", "absolute", "count"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds predictions (B, C) and true values of the same number."""
        error = (scores.detach() - target.view_as(scores)).double()
        self.squared += error.square().sum()
        self.absolute += error.abs().sum()
        self.count += error.numel()

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name."""
        return {"rmse": (self.squared / self.count).sqrt(), "mae": self.absolute / self.count}


class R2(Metric):
    """Coefficient of determination, the mean over C values: 1 - Σ (y - ŷ)² / Σ (y - mean)², in fp64.

    In fp32, as in torchmetrics, values of a large mean (prices) lose all digits of the difference. NaN if all targets
    are equal.
    """

    is_differentiable, higher_is_better, full_state_update = True, True, False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4, 1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds predictions (B, C) and true values of the same number."""
        guess, true = scores.detach().double(), target.view_as(scores).double()
        parts = (torch.ones_like(true), true, true.square(), (true - guess).square())
        self.sums = self.sums + torch.stack([part.sum(0) for part in parts])

    def compute(self) -> Tensor:
        count, total, squares, error = self.sums
        spread = squares - total.square() / count
        return (1 - error / torch.where(spread > 0, spread, torch.nan)).mean()


class PSNR(Metric):
    """Peak signal-to-noise ratio of restored pictures in decibels, -10 log₁₀ of the mean squared error of all values.

    Values are cut off at 0 and 1, the range of a picture.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    squared: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("squared", "count"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds restored pictures (B, C) and clean ones of the same number of values."""
        error = (scores.detach().clamp(0, 1) - target.view_as(scores)).double()
        self.squared += error.square().sum()
        self.count += error.numel()

    def compute(self) -> Tensor:
        return -10 * torch.log10(self.squared / self.count)


class Confusion(NamedTuple):
    """A class, what it was taken for, how often, and how often the class occurs."""

    true: str
    predicted: str
    times: int
    of: int


def confusions(target: Tensor, answer: Tensor, classes: int) -> Tensor:
    """Counts (C, C) of true class (rows) and predicted class (columns)."""
    return torch.bincount(target * classes + answer, minlength=classes**2).view(classes, classes)


def most_confused(confusion: Tensor, classes: Sequence[str], most: int = 5) -> list[Confusion]:
    """The pairs of classes that are confused most often, commonest first.

    Args:
        confusion: (C, C) true class in rows, predicted class in columns.
        classes: names.
        most: number of pairs.
    """
    wrong, totals = confusion.clone().fill_diagonal_(0), confusion.sum(1).tolist()
    counts, places = wrong.flatten().sort(descending=True, stable=True)
    found = []
    for times, place in zip(counts[:most].tolist(), places[:most].tolist(), strict=True):
        true, predicted = divmod(int(place), len(classes))
        found.append(Confusion(str(classes[true]), str(classes[predicted]), times, totals[true]))
    return [pair for pair in found if pair.times]


def from_counts(counts: Tensor) -> dict[str, Tensor]:
    """What follows from how often each class was right, true and predicted, (3, C)."""
    right, true, predicted = counts.double()
    occurs = true > 0
    f1 = 2 * right / (true + predicted)
    return {"balanced_accuracy": (right / true)[occurs].mean(), "f1_macro": f1[occurs].mean()}
