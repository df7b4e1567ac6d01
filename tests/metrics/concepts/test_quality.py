"""Quality of concepts, each metric against somebody else's formula."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from zoo.metrics import ConceptAccuracy, ConceptAUC, ConceptCalibrationError, ConceptF1


def predicted(rows: int = 400, count: int = 5, unknown: float = 0.2) -> tuple[Tensor, Tensor]:
    """Probabilities and labels (rows, count), some of them NaN."""
    concepts = (torch.rand(rows, count) < torch.linspace(0.1, 0.7, count)).float()
    probability = (2 * concepts - 1 + torch.randn(rows, count)).sigmoid()
    return probability, concepts.masked_fill(torch.rand(rows, count) < unknown, torch.nan)


def test_auc_is_that_of_probabilities_and_not_balanced_accuracy() -> None:
    """Thresholding before the AUC gives balanced accuracy, which a shift of all scores ruins: 0.595 for 0.927."""
    concepts = (torch.arange(20_000) % 2).float()[:, None]
    probability = (torch.randn(20_000, 1) + 2.056 * concepts + 0.87).sigmoid()
    metric = ConceptAUC()
    metric.update(probability, concepts)
    found, balanced = float(metric.compute()), balanced_accuracy_score(concepts, probability > 0.5)
    assert found == pytest.approx(roc_auc_score(concepts, probability), abs=1e-12)
    assert found == pytest.approx(0.927, abs=0.006) and balanced == pytest.approx(0.595, abs=0.006)
    thresholded = ConceptAUC()
    thresholded.update((probability > 0.5).float(), concepts)
    assert float(thresholded.compute()) == pytest.approx(balanced, abs=1e-12)


def test_f1_is_scikit_learns_macro_f1_of_the_known_labels() -> None:
    probability, concepts = predicted()
    metric = ConceptF1(5, average=False)
    metric.update(probability, concepts)
    for column, found in enumerate(metric.compute().tolist()):
        known = concepts[:, column].isfinite()
        expected = f1_score(concepts[known, column], probability[known, column] > 0.5, average="macro")
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [1, 15])
def test_calibration_error_is_torchmetrics_of_each_concept(bins: int) -> None:
    probability, concepts = predicted(unknown=0.0)
    metric = ConceptCalibrationError(5, bins=bins, average=False)
    metric.update(probability, concepts)
    expected = [
        binary_calibration_error(p, c.long(), bins) for p, c in zip(probability.T.contiguous(), concepts.T, strict=True)
    ]
    torch.testing.assert_close(metric.compute(), torch.stack(expected).double(), rtol=0, atol=1e-6)


def test_calibration_error_counts_known_labels_only_and_takes_both_ends() -> None:
    nan = torch.nan
    probability = torch.tensor([[0.0, 0.4], [1.0, 0.4], [1.0, 0.9], [0.5, 0.4]])
    concepts = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, nan], [nan, nan]])
    metric = ConceptCalibrationError(2, bins=10, average=False)
    metric.update(probability, concepts)
    torch.testing.assert_close(metric.compute(), torch.tensor([1 / 3, 0.1], dtype=torch.float64))


def test_concept_of_one_kind_of_label_is_left_out() -> None:
    probability, concepts = predicted(unknown=0.0)
    whole = ConceptF1(5)
    whole.update(probability[:, :4].repeat(1, 2)[:, :5], concepts[:, :4].repeat(1, 2)[:, :5])
    concepts[:, 4], each, mean = 0.0, ConceptF1(5, average=False), ConceptF1(5)
    for metric in (each, mean):
        metric.update(probability, concepts)
    assert each.compute().isnan().tolist() == [False] * 4 + [True]
    assert float(mean.compute()) == pytest.approx(float(each.compute()[:4].mean()))


@pytest.mark.parametrize(
    "make", [ConceptAccuracy, ConceptAUC, lambda: ConceptF1(5), lambda: ConceptCalibrationError(5)]
)
def test_parts_merged_are_the_whole(make) -> None:
    probability, concepts = predicted()
    whole, left, right = make(), make(), make()
    whole.update(probability, concepts)
    left.update(probability[:100], concepts[:100])
    left.update(probability[100:150], concepts[100:150])
    right.update(probability[150:], concepts[150:])
    left.merge_state(right)
    torch.testing.assert_close(left.compute(), whole.compute())


def test_metrics_say_how_to_read_them() -> None:
    for metric in (ConceptAccuracy(), ConceptAUC(), ConceptF1(2), ConceptCalibrationError(2)):
        assert metric.title.startswith("concept") and isinstance(metric.higher_is_better, bool)
        assert metric.chance is None or 0 <= metric.chance <= 1
    assert ConceptAUC.chance == 0.5 and not ConceptCalibrationError.higher_is_better


@pytest.mark.parametrize("make", [ConceptF1, ConceptCalibrationError])
@pytest.mark.parametrize(
    ("probability", "concepts", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), r"of 2 concepts, \(B, 2\); got \(2, 3\) and \(2, 3\)"),
        (torch.zeros(2, 2), torch.full((2, 2), 0.5), "0, 1, or NaN where unknown; got 0.5 in row 0, column 0"),
        (torch.full((2, 2), 1.5), torch.zeros(2, 2), r"expects probabilities in \[0, 1\]; pass sigmoid\(logits\)"),
    ],
)
def test_what_is_no_probability_or_label(make, probability: Tensor, concepts: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(2).update(probability, concepts)
