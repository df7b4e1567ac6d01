"""The sparse head: shrinking, sizes and statements by hand."""

import pytest
import torch
from torchmetrics import Metric

from zoo.prototypes.layers.sparse_head import (
    SizeMetrics,
    local_size,
    relevant,
    shrink_,
    size_statements,
    sparse_head,
)

WEIGHT = torch.tensor([[2.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
ACTIVATION = torch.tensor([[0.5, 1.0, 0.2, 1e-4], [0.0, 1.0, 0.5, 0.5]])


def test_shrinking_sets_small_weights_to_zero() -> None:
    weight = torch.tensor([0.3, 0.05, 0.0])
    shrink_(weight, 0.1)
    torch.testing.assert_close(weight, torch.tensor([0.2, 0.0, 0.0]))
    assert sparse_head(50, 3).weight.min() >= 0 and sparse_head(50, 3).bias is None


def test_sizes_by_hand() -> None:
    assert relevant(WEIGHT).tolist() == [True, False, True, True]
    assert local_size(ACTIVATION, WEIGHT, torch.tensor([0, 0])).tolist() == [1, 1]
    assert local_size(ACTIVATION, WEIGHT, torch.tensor([1, 1])).tolist() == [1, 2]
    metrics, scores = SizeMetrics(), ACTIVATION @ WEIGHT.T  # predicts 0, then 1
    assert metrics.update("train", scores, ACTIVATION, WEIGHT) == {}
    found = metrics.update("val", scores, ACTIVATION, WEIGHT)
    assert all(isinstance(metric, Metric) for metric in found.values())
    assert {name: metric.compute().item() for name, metric in found.items()} == {
        "local_size": pytest.approx(1.5),
        "global_size": 3,
    }


def test_statements_count_prototypes_or_abstain() -> None:
    terms = {"activation": ACTIVATION, "target": torch.tensor([0, 1]), "scores": ACTIVATION @ WEIGHT.T}
    assert size_statements(terms, WEIGHT, ("a", "b"), 0.1) == ("1 prototype for a", "2 prototypes for b")
    silent = "no evidence for any class: every score is below 1.05"
    assert size_statements(terms, WEIGHT, ("a", "b"), 1.05) == (silent, silent)
