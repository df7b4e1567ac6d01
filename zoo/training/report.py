"""What a test reports: more than accuracy, because accuracy hides rare classes and overconfidence."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.utils.functional import area_under_roc, average_precision

BINS = 15


class ClassificationReport(Metric):
    """Balanced accuracy, F1, AUROC, average precision, Brier score and calibration error, and the confusions.

    Averages over classes are macro averages over the classes that occur among the targets. Ranking metrics compare each
    class with all others. The Brier score is the mean over rows of Σ_c (p_c - y_c)², in [0, 2] (Brier, 1950); the
    calibration error is that of the most probable class in 15 bins of equal width (Guo et al., ICML 2017). Both need
    probabilities and are left out for scores without any.

    Args:
        classes: C.
        space: what scores are: "logit", "probability" or "value".
    """

    is_differentiable, higher_is_better, full_state_update = False, None, False
    confusion: Tensor
    scores: list[Tensor]
    target: list[Tensor]

    def __init__(self, classes: int, space: str = "logit") -> None:
        super().__init__()
        self.space = space
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds scores (B, C) and the true classes (B,)."""
        place = target * len(self.confusion) + scores.argmax(1)
        self.confusion += torch.bincount(place, minlength=self.confusion.numel()).view_as(self.confusion)
        self.scores.append(scores.detach().float())
        self.target.append(target)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; NaN where one is undefined (AUROC of a single class, for example)."""
        scores, target = dim_zero_cat(self.scores), dim_zero_cat(self.target)
        labels = torch.nn.functional.one_hot(target, len(self.confusion))
        found = {**from_confusion(self.confusion), **ranking(scores, labels, self.space)}
        return found | ({} if self.space == "value" else calibration(probabilities(scores, self.space), labels))


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


def probabilities(scores: Tensor, space: str) -> Tensor:
    """Class probabilities (N, C) of scores that are logits or probabilities."""
    return scores.softmax(1) if space == "logit" else scores


def from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """What follows from counts (C, C) of true class (rows) and predicted class (columns)."""
    counts = confusion.double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    occurs = true > 0
    f1 = 2 * right / (true + predicted)
    return {
        "balanced_accuracy": (right / true)[occurs].mean(),
        "f1_macro": f1[occurs].mean(),
    }


def ranking(scores: Tensor, labels: Tensor, space: str) -> dict[str, Tensor]:
    """Area under the ROC curve and average precision of each class against all others, averaged over classes."""
    if space == "logit":  # a class is ranked by its probability: logits of different rows are not comparable
        scores = scores.log_softmax(1)
    area, precision = area_under_roc(scores, labels), average_precision(scores, labels)
    return {"auroc": area.nanmean(), "average_precision": precision.nanmean()}


def calibration(probability: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Brier score and expected calibration error."""
    brier = (probability - labels).double().square().sum(1).mean()
    confidence, answer = probability.max(1)
    right = labels.gather(1, answer[:, None])[:, 0].double()
    bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64, device=probability.device)
    gap.index_add_(0, bins, confidence.double() - right)
    return {"brier": brier, "calibration_error": gap.abs().sum() / len(labels)}
