"""What differs between kinds of tasks: the loss of the task, its metrics, and those of annotated concepts."""

from collections.abc import Sequence

import torch
from lightning import Trainer
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanSquaredError

from zoo.domain import Domain, ImageDomain
from zoo.training.ranking import Ranking
from zoo.training.report import PSNR, R2, ClassificationReport, RegressionReport
from zoo.training.tag_report import TagAccuracy, TagReport

Report = ClassificationReport | RegressionReport | TagReport


class ConceptAccuracy(Metric):
    """Share of annotated concepts (labels that are not NaN) that are right at a probability of 0.5."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title, chance = "concept accuracy", None  # a guess is right as often as the commoner label
    right: Tensor
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("known", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probability: Tensor, concepts: Tensor) -> None:
        """Adds probabilities (B, k) and labels (B, k) in {0, 1, NaN}."""
        known = concepts.isfinite()
        self.right += (((probability > 0.5) == (concepts > 0.5)) & known).sum()
        self.known += known.sum()

    def compute(self) -> Tensor:
        return self.right / self.known


class ConceptAUC(Ranking):
    """Mean area under the ROC curve of the concepts, on probabilities; what has but one kind of label is left out.

    Exact up to a number of values, see `zoo.training.ranking.Ranking`.

    Args:
        average: give the mean (NaN if no concept is defined) instead of (k,) with NaN where it is undefined.
    """

    title, chance = "concept AUC", 0.5

    def __init__(self, average: bool = True) -> None:
        super().__init__()
        self.average = average

    def compute(self) -> Tensor:
        areas = super().compute()[0]
        return areas.nanmean() if self.average else areas


def metrics_of(domain: Domain) -> MetricCollection:
    """The metrics that fit a task: accuracy for classes and tags, R² (of pictures PSNR) and mean squared error."""
    if domain.task == "classification":
        return MetricCollection({"accuracy": MulticlassAccuracy(len(domain.classes), average="micro")})
    if domain.task == "multilabel":
        return MetricCollection({"accuracy": TagAccuracy()})
    if isinstance(domain, ImageDomain) and domain.restored:
        return MetricCollection({"psnr": PSNR(), "mse": MeanSquaredError()}, compute_groups=False)
    return MetricCollection({"r2": R2(), "mse": MeanSquaredError()}, compute_groups=False)


def report_of(domain: Domain, space: str, threshold: float | None = None) -> Report:
    """What a test of a task reports.

    Args:
        domain: of the task.
        space: what scores are.
        threshold: of two classes, see `ClassificationReport`.
    """
    if domain.task == "multilabel":
        return TagReport(domain.classes)
    if domain.task != "classification":
        return RegressionReport()
    return ClassificationReport(len(domain.classes), space, threshold if len(domain.classes) == 2 else None)


def concept_metrics() -> MetricCollection:
    """The metrics of annotated concepts."""
    metrics = {"concept_accuracy": ConceptAccuracy(), "concept_auc": ConceptAUC()}
    return MetricCollection(metrics, compute_groups=False)


def score_space(domain: Domain) -> str:
    """The space of linear scores: "logit" for classes and tags, "value" for regression targets."""
    return "value" if domain.task == "regression" else "logit"


def check_task(domain: Domain, tasks: Sequence[str], model: str) -> None:
    """Refuses a task that a model cannot learn.

    Raises:
        ValueError: the task is not one of `tasks`.
    """
    if domain.task not in tasks:
        raise ValueError(
            f"{model} cannot learn the task '{domain.task}' of these data; it learns {' and '.join(tasks)}. "
            "AttentionPool and BlackBox learn 'multilabel'."
        )


def check_classification(domain: Domain, model: str) -> None:
    """Refuses a domain of regression targets or tags.

    Raises:
        ValueError: the task is not classification.
    """
    if domain.task != "classification":
        raise ValueError(f"{model} is a classifier; the task of these data is '{domain.task}'.")


def class_weights_of(trainer: Trainer, domain: Domain, possible: bool, model: str) -> Tensor | None:
    """The class weights (C,) of the data of a fit; None without any.

    Args:
        trainer: of the fit.
        domain: of the model.
        possible: whether the loss of the model can weigh classes.
        model: name, for messages.

    Raises:
        ValueError: there are weights, and the loss cannot use them, or the task has no classes.
    """
    find = getattr(getattr(trainer, "datamodule", None), "loss_weights", None)
    weights: Tensor | None = None if find is None else find()
    if weights is None:
        return None
    if not possible or domain.task != "classification":
        raise ValueError(
            f"the loss of {model} has no class weights for a task of {domain.task}; leave out class_weights, or use "
            "sampling: balanced."
        )
    return weights


def check_sample_weights(trainer: Trainer, possible: bool, model: str) -> None:
    """Refuses data whose rows have weights, if the loss of a model cannot use them.

    Raises:
        ValueError: it cannot.
    """
    if getattr(getattr(trainer, "datamodule", None), "has_weights", False) and not possible:
        raise ValueError(f"the loss of {model} has no weights of rows; leave out `weight`.")


def task_loss(
    scores: Tensor,
    target: Tensor,
    domain: Domain,
    class_weights: Tensor | None = None,
    sample_weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy for classes (target (B,)), mean squared error for values, the mean binary one for tags (B, C).

    Args:
        scores: (B, C).
        target: see above.
        domain: of the task.
        class_weights: (C,) of the classes in the cross-entropy, `batch.get("class_weights")`.
        sample_weights: (B,) of the rows, of mean 1 over the training data, `batch.get("weight")`.
        smoothing: share of the target that is spread over all classes in the cross-entropy, or over absent and present.
    """
    if domain.task != "classification":
        if domain.task == "multilabel":
            soft = target * (1 - smoothing) + smoothing / 2
            errors = F.binary_cross_entropy_with_logits(scores, soft.to(scores.dtype), reduction="none")
        else:
            errors = (scores - target.view_as(scores)).square()
        return errors.mean() if sample_weights is None else (errors * sample_weights[:, None]).mean()
    if sample_weights is None:
        return F.cross_entropy(scores, target, class_weights, label_smoothing=smoothing)
    errors = F.cross_entropy(scores, target, class_weights, reduction="none", label_smoothing=smoothing)
    errors = errors * sample_weights
    return errors.mean() if class_weights is None else errors.sum() / class_weights[target].sum()


def one_against_others(scores: Tensor, target: Tensor, weights: Tensor | None = None, others: float = 0.0) -> Tensor:
    """Binary cross-entropy of each class against all others, averaged over the classes.

    Args:
        scores: logits (B, C).
        target: (B,) classes.
        weights: (C,) of the classes, `batch.get("class_weights")`.
        others: the target of the classes that are not the row's.
    """
    wanted = torch.full_like(scores, others).scatter(1, target[:, None], 1.0)
    errors = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none").mean(1)
    return errors.mean() if weights is None else (errors * weights[target]).sum() / weights[target].sum()


def as_logits(scores: Tensor, space: str) -> Tensor:
    """Scores (B, C) as logits: the logarithm of probabilities, all other scores as they are."""
    return scores.clamp_min(1e-9).log() if space == "probability" else scores
