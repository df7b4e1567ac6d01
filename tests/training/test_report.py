"""What a test reports, against scikit-learn, torchmetrics and hand-made cases."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

from zoo.training.report import ClassificationReport, RegressionReport
from zoo.utils.functional import average_precision


def batches(rows: int = 301, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.multinomial(torch.tensor([0.7, 0.2, 0.1, 0.0]), rows, True, generator=generator)  # the last never
    scores = torch.randn(rows, classes, generator=generator) * 2
    scores[torch.arange(rows), target] += 1.5
    return scores.round(decimals=1), target  # with ties


def reported(scores: torch.Tensor, target: torch.Tensor, space: str = "logit") -> dict[str, float]:
    report = ClassificationReport(scores.shape[1], space)
    for s, t in zip(scores.split(50), target.split(50), strict=True):
        report.update(s, t)
    return {name: float(value) for name, value in report.compute().items()}


@pytest.mark.parametrize("space", ["logit", "probability"])
def test_it_is_what_scikit_learn_and_torchmetrics_compute(space: str) -> None:
    scores, target = batches()
    p = scores.softmax(1)
    found = reported(scores if space == "logit" else p, target, space)
    answer, one_hot = p.argmax(1), np.eye(4)[target.numpy()]
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.recall_score(target, answer, average="macro", labels=[0, 1, 2])
    )
    f1 = metrics.f1_score(target, answer, average=None, labels=[0, 1, 2])
    assert found["f1_macro"] == pytest.approx(np.mean(f1))
    columns = [0, 1, 2]  # the last class does not occur
    area = [metrics.roc_auc_score(one_hot[:, c], p[:, c]) for c in columns]
    precision = [metrics.average_precision_score(one_hot[:, c], p[:, c]) for c in columns]
    assert found["auroc"] == pytest.approx(np.mean(area), abs=1e-6)
    assert found["average_precision"] == pytest.approx(np.mean(precision), abs=1e-6)
    assert found["brier"] == pytest.approx(((p.numpy() - one_hot) ** 2).sum(1).mean())
    expected = multiclass_calibration_error(p, target, num_classes=4, n_bins=15)
    assert found["calibration_error"] == pytest.approx(float(expected), abs=1e-5)


def test_confusions_count_true_classes_in_rows() -> None:
    report = ClassificationReport(2)
    report.update(torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 1.0]]), torch.tensor([0, 1, 1]))
    assert report.confusion.tolist() == [[1, 0], [1, 1]]


def test_values_that_are_no_probabilities_are_not_calibrated() -> None:
    found = reported(*batches(), "value")
    assert set(found) == {"balanced_accuracy", "f1_macro", "auroc", "average_precision"}


def test_a_single_class_has_no_ranking() -> None:
    found = reported(torch.randn(9, 3), torch.zeros(9, dtype=torch.long))
    assert np.isnan(found["auroc"]) and found["average_precision"] == 1 and 0 <= found["balanced_accuracy"] <= 1


def test_values_have_errors_in_their_own_units() -> None:
    report = RegressionReport()
    report.update(torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [2.0]]))
    report.update(torch.tensor([[0.0]]), torch.tensor([0.0]))
    found = report.compute()
    assert float(found["mae"]) == pytest.approx(4 / 3) and float(found["rmse"]) == pytest.approx((10 / 3) ** 0.5)


def test_average_precision_is_that_of_scikit_learn_and_undefined_without_any() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (50, 3), generator=generator).float()
    labels = torch.randint(0, 2, (50, 3), generator=generator)
    labels[:, 2] = 0
    found = average_precision(scores, labels)
    for c in (0, 1):
        assert float(found[c]) == pytest.approx(metrics.average_precision_score(labels[:, c], scores[:, c]))
    assert found[2].isnan()
