"""Class probabilities of sampled distances, and those without one of the prototypes."""

import math

import torch

from zoo.prototypes.layers.class_probabilities import (
    class_probabilities,
    counterfactuals,
    entropies,
    log_class_probabilities,
    without_each,
)


def test_probabilities_of_several_prototypes_of_a_class_by_hand() -> None:
    distance = torch.tensor([[[0.0, 1.0, 2.0, 0.5]]])
    weight = torch.exp(-distance[0, 0])
    expected = torch.stack([weight[0] + weight[1], weight[2] + weight[3]]) / weight.sum()
    torch.testing.assert_close(class_probabilities(distance, 2)[0, 0], expected)
    torch.testing.assert_close(log_class_probabilities(distance, 2)[0], expected.log())
    far = torch.tensor([[[0.0, 900.0], [0.0, 1000.0]]])  # where the probability itself would be 0
    torch.testing.assert_close(log_class_probabilities(far, 1)[0], torch.tensor([0.0, -900 - math.log(2)]))


def test_counterfactuals_keep_what_is_left_beside_a_large_term() -> None:
    """With the nearest prototype away, the others decide, though their share was below rounding."""
    distance = torch.tensor([[[0.0, 60.0, 61.0]]])
    absent, present = counterfactuals(distance, torch.tensor([1]), 1)
    torch.testing.assert_close(absent[0], torch.tensor([1 / (1 + math.exp(-1)), 0.0, math.exp(-60)]))
    torch.testing.assert_close(present[0], torch.tensor([math.exp(-60), 0.5, math.exp(-60) / 2]))
    values = torch.randn(2, 5, dtype=torch.float64)
    for k in range(5):
        rest = values[:, [j for j in range(5) if j != k]].logsumexp(1)
        torch.testing.assert_close(without_each(values)[:, k], rest)


def test_entropies_by_hand() -> None:
    probabilities = torch.rand(3, 6, 4, dtype=torch.float64).softmax(2)
    predictive, expected = entropies(probabilities, 2)
    assert predictive.shape == expected.shape == (3, 8)
    by_hand = -(probabilities.mean(1) * probabilities.mean(1).log()).sum(1)
    torch.testing.assert_close(predictive.sum(1), by_hand)
    torch.testing.assert_close(expected.sum(1), -(probabilities * probabilities.log()).sum(2).mean(1))
    # The mutual information is the mean divergence of the samples from their mean.
    divergence = (probabilities * (probabilities / probabilities.mean(1, keepdim=True)).log()).sum(2).mean(1)
    torch.testing.assert_close((predictive - expected).sum(1), divergence)
