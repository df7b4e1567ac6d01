"""Regularisers of discovered concepts: closed forms against loops over pairs."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.concepts.layers.regularisers import consistency, distinctiveness, present, quantity, retrieval


def case(rows: int = 9, concepts: int = 4, dim: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    return torch.randn(rows, concepts, dim, generator=draw), torch.rand(rows, concepts, generator=draw)


def pairwise_consistency(features: Tensor, mass: Tensor) -> float:
    means = []
    for k in range(mass.shape[1]):
        here = [i for i in range(len(mass)) if mass[i, k] > mass[:, k].mean()]
        cosines = [F.cosine_similarity(features[i, k], features[j, k], 0).item() for i in here for j in here]
        means.append(sum(cosines) / len(cosines))
    return sum(means) / len(means)


def test_consistency_is_the_mean_over_all_pairs() -> None:
    features, mass = case()
    assert consistency(features, mass).item() == pytest.approx(pairwise_consistency(features, mass), abs=1e-6)


def test_distinctiveness_is_the_mean_over_all_pairs_of_concepts() -> None:
    features, mass = case()
    centres = [features[mass[:, k] > mass[:, k].mean(), k].mean(0) for k in range(4)]
    cosines = [F.cosine_similarity(a, b, 0).item() for a in centres for b in centres]
    assert distinctiveness(features, mass).item() == pytest.approx(sum(cosines) / 16, abs=1e-6)


def test_retrieval_is_a_weighted_mean_over_all_pairs() -> None:
    codes, target = torch.rand(6, 4) * 2 - 1, torch.tensor([0, 0, 1, 2, 1, 0])
    same = [[int(a == b) for b in target.tolist()] for a in target.tolist()]
    positive = sum(map(sum, same))
    total = 0.0
    for i in range(6):
        for j in range(6):
            s = 10 / 32 * float(codes[i] @ codes[j])
            weight = 36 / positive if same[i][j] else 36 / (36 - positive)
            total += weight * (math.log1p(math.exp(s)) - same[i][j] * s)
    assert retrieval(codes, target).item() == pytest.approx(total / 36, abs=1e-6)


def test_retrieval_does_not_overflow() -> None:
    codes = torch.full((3, 2000), 1.0)
    assert retrieval(codes, torch.tensor([0, 0, 1])).isfinite()


def test_quantity_is_zero_for_binary_codes() -> None:
    assert quantity(torch.tensor([[1.0, -1.0]])) == 0 and quantity(torch.zeros(2, 2)) == 1


def test_present_is_above_the_mean_of_the_batch() -> None:
    assert present(torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])).tolist() == [[0, 0], [0, 0], [1, 0]]
