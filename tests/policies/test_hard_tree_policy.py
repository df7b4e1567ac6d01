"""HardTreePolicy: scores by walking the tree; gradients are those of the soft form; split values are weighted means."""

import pytest
import torch
from torch import Tensor

from tests.small_models import ROWS
from zoo.networks.entmax import entmax15
from zoo.policies import HardTreePolicy


def tree() -> HardTreePolicy:
    torch.manual_seed(0)
    model = HardTreePolicy(ROWS, depth=3).eval()
    with torch.no_grad():
        model.thresholds.mul_(10)
    return model


def walk(model: HardTreePolicy, x: Tensor) -> tuple[Tensor, list[int]]:
    """The leaf's logits and the splits on the way, by hand."""
    i, path = 0, []
    while i < 7:
        path.append(i)
        feature = int(model.choices[i].argmax())
        i = 2 * i + (2 if x[feature] > model.thresholds[i, feature] else 1)
    return model.leaves[i - 7], path


def test_scores_are_those_of_the_leaf() -> None:
    model, x = tree(), torch.randn(30, 3)
    why = model.explain(x)
    leaves = [walk(model, row) for row in x]
    torch.testing.assert_close(model(x), torch.stack([leaf for leaf, _ in leaves]))
    for active, (_, path) in zip(why.activation, leaves, strict=True):
        assert active.nonzero().flatten().tolist() == path
    assert len({tuple(path) for _, path in leaves}) > 2  # the rows take different ways
    assert why.statements[0].startswith("If ")


def test_a_split_has_the_mean_of_its_leaves_as_often_as_they_were_reached() -> None:
    model = tree()
    model.shares.copy_(torch.tensor([0.1, 0.3, 0.0, 0.0, 0.2, 0.2, 0.1, 0.1]))
    value, children = model._values()
    torch.testing.assert_close(value[0], (model.leaves * model.shares[:, None]).sum(0))
    torch.testing.assert_close(value[3], (model.leaves[0] + 3 * model.leaves[1]) / 4)
    torch.testing.assert_close(children[2 * 1], value[3])
    torch.testing.assert_close(children[2 * 6 + 1], model.leaves[7])


def test_training_has_the_hard_values_and_the_soft_gradients() -> None:
    """Depth 1: the gradient of the score by a threshold is that of (softsign(m) + 1) / 2, by hand."""
    torch.manual_seed(0)
    model, x = HardTreePolicy(ROWS, depth=1), torch.randn(1, 3)
    hard = model.eval()(x)
    scores, evidence = model.train().step(x)
    torch.testing.assert_close(scores, hard)
    scores[0, 0].backward()
    choice = torch.nn.functional.one_hot(model.feature, 3).float()
    margin = ((x @ choice.T)[0, 0] - model.threshold[0]).detach()
    slope = 0.5 / (1 + margin.abs()) ** 2 * (model.leaves[1, 0] - model.leaves[0, 0]).detach()
    torch.testing.assert_close(model.thresholds.grad, -slope * choice)
    soft = model.choices.detach().clone().requires_grad_()
    (slope * ((x - model.thresholds.detach()) * entmax15(soft)).sum()).backward()
    torch.testing.assert_close(model.choices.grad, soft.grad)
    before = model.shares.clone()
    model.losses(scores, evidence, {"input": x, "target": torch.tensor([0])})
    assert float(model.shares.sum()) == pytest.approx(1) and not torch.equal(before, model.shares)


def test_depth_is_bounded() -> None:
    with pytest.raises(ValueError, match="depth must be in"):
        HardTreePolicy(ROWS, depth=30)
