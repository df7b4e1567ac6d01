"""What differs between classification and regression: the loss of the task and its metrics."""

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanSquaredError

from zoo.domain import Domain


def metrics_of(domain: Domain) -> MetricCollection:
    """The metrics that fit a task: accuracy for classes, R² and mean squared error for values."""
    if domain.task == "classification":
        return MetricCollection({"accuracy": MulticlassAccuracy(len(domain.classes), average="micro")})
    return MetricCollection({"r2": R2Score(), "mse": MeanSquaredError()})


def task_loss(scores: Tensor, target: Tensor, domain: Domain) -> Tensor:
    """Cross-entropy for classes (target (B,)), mean squared error for values (target (B, C))."""
    return (
        F.cross_entropy(scores, target)
        if domain.task == "classification"
        else F.mse_loss(scores, target.view_as(scores))
    )
