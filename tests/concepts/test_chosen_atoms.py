"""Codes whose few entries are computed alone, against dense products and their gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.concepts.layers.chosen_atoms import Chosen, weighted_sums
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.sparse_codes import CodeOptions, Dictionary

N, D, M, K = 30, 6, 24, 3


def trained(kind: Any) -> tuple[Dictionary, Tensor]:
    torch.manual_seed(0)
    code = make_dictionary(D, CodeOptions(kind=kind, atoms=M, active=K, dead_after=2)).train()
    with torch.no_grad():
        code.offset.normal_()
        code.encoder.weight.normal_()
        code.encoder.bias.normal_(std=0.1)
        code.encoder.weight[:8] *= 0.1  # never among the largest scores: dead, and revived from the error
        code.idle[:8] = 7
    return code, 2 * torch.randn(N, D)


def dense(code: Dictionary, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Code, error and auxiliary loss by dense products, as the class describes them."""
    atoms, x = code.atoms, features - code.offset
    scores = x @ code.encoder.weight.T + code.encoder.bias
    if code.options.kind == "topk":
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(K, 1).indices, True)
    else:
        kept = scores >= scores.flatten().topk(N * K).values[-1]
    z = scores.relu() * kept
    left = x - z @ atoms
    idle = (code.idle + 1) * ~(z > 0).any(0)
    dead = idle >= 2
    count = min(D // 2, int(dead.sum()))
    best = scores.masked_fill(~dead, -torch.inf).topk(count, 1)
    revived = torch.zeros_like(scores).scatter(1, best.indices, best.values.relu()) @ atoms
    auxiliary = (left.detach() - revived).square().sum() / left.detach().square().sum()
    return z, left.square().sum(1), auxiliary


@pytest.mark.parametrize("kind", ["topk", "batch_topk"])
def test_codes_losses_and_gradients_are_those_of_dense_products(kind: str) -> None:
    code, features = trained(kind)
    features.requires_grad_()
    z, error, auxiliary = dense(code, features)
    weights = torch.randn(N, M)
    parameters = [*code.parameters(), features]
    expected = torch.autograd.grad(error.sum() + 3 * auxiliary + (weights * z).sum(), parameters)
    found = code(features)
    torch.testing.assert_close(found.code, z)
    torch.testing.assert_close(found.error, error)
    torch.testing.assert_close(found.auxiliary, auxiliary)
    assert 0 < found.auxiliary < 1.5
    loss = found.error.sum() + 3 * found.auxiliary + (weights * found.code).sum()
    for one, other in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert all(gradient.abs().sum() > 0 for gradient in expected)


def test_sums_of_groups_without_members_are_0() -> None:
    table = torch.randn(4, 2)
    groups, members, weights = torch.tensor([1, 1, 3]), torch.tensor([0, 3, 3]), torch.tensor([2.0, -1.0, 0.5])
    found = weighted_sums(groups, members, weights, table, 5)
    torch.testing.assert_close(found[1], 2 * table[0] - table[3])
    torch.testing.assert_close(found[3], 0.5 * table[3])
    assert found[[0, 2, 4]].eq(0).all()
    chosen = Chosen(groups, members, weights)
    torch.testing.assert_close(chosen.combine(table, 5), chosen.dense((5, 4)) @ table)


@pytest.mark.parametrize("kind", ["topk", "batch_topk"])
def test_a_training_step_follows_the_same_code_as_evaluation(kind: str) -> None:
    code, features = trained(kind)
    first = code(features).code
    if kind == "batch_topk":
        assert (first > 0).sum() == N * K
        torch.testing.assert_close(code.threshold, first[first > 0].min(), atol=1e-6, rtol=0)
    torch.testing.assert_close(code.eval()(features).code, first)
