"""What a test reports, against scikit-learn, torchmetrics and hand-made cases."""

from inspect import signature

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

from zoo.core import registry
from zoo.training import ranking
from zoo.training.report import R2, ClassificationReport, RegressionReport, most_confused
from zoo.utils.functional import average_precision

SPACES = ("logit", "probability", "value")


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


def test_many_rows_are_counted_in_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory grew with the number of rows."""
    scores, target = batches(4000)
    exact = {space: reported(scores if space == "logit" else scores.softmax(1), target, space) for space in SPACES}
    monkeypatch.setattr(ranking, "EXACT", 1000)
    for space in SPACES:
        report = ClassificationReport(4, space)
        for s, t in zip(scores.split(50), target.split(50), strict=True):
            report.update(s if space == "logit" else s.softmax(1), t)
            assert sum(v.numel() for v in report.ranking.values) <= 1000
        found = {name: float(value) for name, value in report.compute().items()}
        assert report.ranking.binned and found == pytest.approx(exact[space], abs=2e-3 if space != "value" else 2e-2)


def test_unknown_labels_are_ignored_by_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = torch.rand(500, 3), torch.randint(0, 2, (500, 3)).float()
    labels[torch.rand(500, 3) < 0.3] = torch.nan
    found = []
    for limit in (10**6, 100):
        monkeypatch.setattr(ranking, "EXACT", limit)
        metric = ranking.Ranking()
        for v, y in zip(values.split(20), labels.split(20), strict=True):
            metric.update(v, y)
        found.append(metric.compute())
    for c in range(3):
        known = labels[:, c].isfinite()
        expected = metrics.average_precision_score(labels[known, c], values[known, c])
        assert float(found[0][1, c]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(*found, atol=0.01, rtol=0)


@pytest.mark.parametrize("limit", [10**6, 10])
def test_the_threshold_balances_two_classes(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "EXACT", limit)
    probability = torch.tensor([0.1, 0.2, 0.3, 0.35, 0.6, 0.9])
    target = torch.tensor([0, 0, 0, 1, 0, 1])
    scores = torch.stack([1 - probability, probability], 1)
    validation = ClassificationReport(2, "probability")
    validation.update(scores, target)
    chosen = validation.best_threshold()
    assert chosen == pytest.approx(0.325, abs=1e-6 if limit > 10 else 0.02)  # 3 of 4 and 2 of 2
    test = ClassificationReport(2, "probability", chosen)
    test.update(scores, target)
    found = {name: float(value) for name, value in test.compute().items()}
    assert found["balanced_accuracy_at_threshold"] == pytest.approx(0.875) and found["balanced_accuracy"] == 0.625
    assert found["accuracy_at_threshold"] == pytest.approx(5 / 6) and found["threshold"] == pytest.approx(chosen)
    single = ClassificationReport(2)
    single.update(scores[:3], target[:3])
    assert single.best_threshold() is None and ClassificationReport(3).best_threshold() is None


def test_many_classes_have_no_matrix() -> None:
    report = ClassificationReport(2000)
    report.update(torch.eye(2000)[:3] * 9, torch.tensor([0, 1, 5]))
    assert report.confusion.numel() == 0 and float(report.compute()["balanced_accuracy"]) == pytest.approx(2 / 3)


def test_most_confused_classes() -> None:
    counts = torch.tensor([[5, 1, 0], [0, 2, 3], [1, 0, 0]])
    found = most_confused(counts, ("a", "b", "c"))
    assert found == [("b", "c", 3, 5), ("a", "b", 1, 6), ("c", "a", 1, 1)]
    assert most_confused(counts, "abc", 1) == found[:1]


def test_r2_of_values_far_from_zero() -> None:
    """In fp32 the spread of prices around a million was lost."""
    target = 1e6 + torch.randn(1000, 2) * 3
    guess = target + torch.randn(1000, 2)
    metric = R2()
    for g, t in zip(guess.split(99), target.split(99), strict=True):
        metric.update(g, t)
    assert float(metric.compute()) == pytest.approx(metrics.r2_score(target.double(), guess.double()), abs=1e-4)
    metric.reset()
    metric.update(torch.ones(2, 1), torch.ones(2))
    assert metric.compute().isnan()


def test_the_threshold_of_a_test_takes_no_name_of_a_model() -> None:
    """PIP-Net has a `threshold` of its own."""
    taken = {"decision_threshold", "report"}
    for entry in registry.entries():
        assert not taken & {*vars(entry.cls), *signature(entry.cls.__init__).parameters}, entry.name
