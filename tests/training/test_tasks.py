"""The loss of a task with weights of classes and of rows, against copies of rows."""

import pytest
import torch

from zoo.domain import TableDomain
from zoo.training.tasks import task_loss

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(5, 3, generator=GENERATOR)
COPIES = torch.tensor([2, 1, 3, 1, 3])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_weight_counts_as_copies_of_a_row(task: str) -> None:
    domain = TableDomain(classes=("a", "b", "c"), features=("x",), task=task)
    target = torch.tensor([0, 2, 1, 1, 0]) if task == "classification" else torch.ones(5, 3)
    weights = COPIES / COPIES.float().mean()  # of mean 1, as data modules give them
    copied = task_loss(SCORES.repeat_interleave(COPIES, 0), target.repeat_interleave(COPIES, 0), domain)
    torch.testing.assert_close(task_loss(SCORES, target, domain, None, weights), copied)
    assert not torch.isclose(task_loss(SCORES, target, domain), copied)


def test_weights_of_rows_multiply_those_of_classes() -> None:
    domain = TableDomain(classes=("a", "b", "c"), features=("x",))
    target, classes = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([1.0, 2.0, 0.5])
    ones = task_loss(SCORES, target, domain, classes, torch.ones(5))
    torch.testing.assert_close(ones, task_loss(SCORES, target, domain, classes))
    rows = -SCORES.log_softmax(1)[torch.arange(5), target] * classes[target] * COPIES
    torch.testing.assert_close(task_loss(SCORES, target, domain, classes, COPIES), rows.sum() / classes[target].sum())
