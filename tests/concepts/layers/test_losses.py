"""The concept loss by hand, with weights, exclusive groups and missing labels."""

import torch
from torch.nn import functional as F

from zoo.concepts.layers.losses import concept_loss, imbalance, probabilities


def test_concept_loss_by_hand() -> None:
    logits, nan = torch.tensor([[0.3, -1.2], [2.0, 0.5]]), torch.nan
    labels = torch.tensor([[1.0, 0.0], [nan, 1.0]])
    p = logits.sigmoid()
    terms = [-p[0, 0].log(), -(1 - p[0, 1]).log(), -p[1, 1].log()]
    torch.testing.assert_close(concept_loss(logits, labels), sum(terms) / 3)
    weights = torch.tensor([2.0, 5.0])
    both = 2 * terms[0] + 5 * terms[1] + 5 * terms[2]
    torch.testing.assert_close(concept_loss(logits, labels, weighting="weight", weights=weights), both / 3)
    only_present = 2 * terms[0] + terms[1] + 5 * terms[2]
    torch.testing.assert_close(concept_loss(logits, labels, weighting="pos_weight", weights=weights), only_present / 3)


def test_exclusive_group_costs_one_cross_entropy() -> None:
    logits = torch.randn(4, 5)
    labels = torch.cat([torch.randint(0, 2, (4, 2)).float(), torch.eye(3)[[0, 2, 1, 1]]], 1)
    labels[3, 2] = torch.nan  # one unknown, so the group of this row does not count
    found = concept_loss(logits, labels, exclusive=[[2, 3, 4]])
    binary = F.binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2], reduction="sum")
    groups = F.cross_entropy(logits[:3, 2:], torch.tensor([0, 2, 1]), reduction="sum")
    torch.testing.assert_close(found, (binary + groups) / (8 + 9))
    torch.testing.assert_close(probabilities(logits, [[2, 3, 4]])[:, 2:], logits[:, 2:].softmax(1))


def test_loss_of_nothing_is_zero_with_a_gradient_of_zero() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = concept_loss(logits, torch.full((3, 2), torch.nan))
    loss.backward()
    assert loss == 0 and bool((logits.grad == 0).all())


def test_imbalance_is_absent_over_present() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 0, 1], [torch.nan, 0, 1]])
    assert imbalance(labels).tolist() == [2.0, 1.0, 1.0]
