"""Trees: routing against an enumeration of paths, leaves by hand, and what pruning keeps."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.prototypes.layers.tree import Tree


def random_tree(depth: int, classes: int, seed: int = 0) -> Tree:
    tree = Tree(depth, classes)
    tree.leaves.copy_(torch.randn(tree.leaves.shape, generator=torch.Generator().manual_seed(seed)) * 2)
    return tree


def by_paths(tree: Tree, answers: Tensor) -> Tensor:
    """Σ over all paths of the product of their answers, and the leaf's distribution; walks from the root."""
    total = torch.zeros(len(answers), tree.leaves.shape[1])
    for turns in product((0, 1), repeat=tree.depth):
        node, weight = 0, torch.ones(len(answers))
        for turn in turns:
            weight = weight * (answers[:, node] if turn else 1 - answers[:, node])
            node = 2 * node + 1 + turn
        total += weight[:, None] * tree.leaves[node - tree.nodes].softmax(0)
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 5))
def test_scores_are_the_sum_over_all_paths(depth: int, classes: int, seed: int) -> None:
    tree = random_tree(depth, classes, seed)
    answers = torch.rand(3, tree.nodes, generator=torch.Generator().manual_seed(seed))
    arrivals = tree.arrivals(answers)
    torch.testing.assert_close(arrivals.sum(1), torch.ones(3))
    torch.testing.assert_close(arrivals @ tree.distributions(), by_paths(tree, answers))


def test_alternatives_are_the_scores_with_one_answer_changed() -> None:
    tree, target = random_tree(3, 4), torch.tensor([2, 0])
    answers = torch.rand(2, tree.nodes)
    absent, present = tree.alternatives(answers, tree.reach(answers), target)
    for n in range(tree.nodes):
        for value, found in ((0.0, absent), (1.0, present)):
            changed = answers.clone()
            changed[:, n] = value
            scores = by_paths(tree, changed).gather(1, target[:, None])[:, 0]
            torch.testing.assert_close(found[:, n], scores)


def test_gradients_are_differences_between_the_sides() -> None:
    tree, target = random_tree(3, 4), torch.tensor([2, 0])
    answers = torch.rand(2, tree.nodes).requires_grad_()
    scores = (tree.arrivals(answers) @ tree.distributions()).gather(1, target[:, None])
    (gradient,) = torch.autograd.grad(scores.sum(), answers)
    for n in range(tree.nodes):
        sides = []
        for value in (0.0, 1.0):
            changed = answers.detach().clone()
            changed[:, n] = value
            sides.append(by_paths(tree, changed).gather(1, target[:, None])[:, 0])
        torch.testing.assert_close(gradient[:, n], sides[1] - sides[0])


def test_leaves_learn_by_the_formula_on_a_tree_of_two() -> None:
    tree = Tree(1, 2)
    tree.leaves.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    answers, target = torch.tensor([[0.25], [0.5]]), torch.tensor([0, 1])
    left, right = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    first = 0.75 * left[0] + 0.25 * right[0]
    second = 0.5 * left[1] + 0.5 * right[1]
    expected = torch.stack(
        [
            torch.stack([0.75 * left[0] / first, 0.5 * left[1] / second]),
            torch.stack([0.25 * right[0] / first, 0.5 * right[1] / second]),
        ]
    )
    gain = tree.gain(answers, target)
    torch.testing.assert_close(gain, expected)
    before = tree.leaves.clone()
    tree.learn(gain, before / 2)
    torch.testing.assert_close(tree.leaves, before / 2 + expected)
    tree.learn(torch.zeros_like(gain), torch.full_like(gain, 100.0))
    assert tree.leaves.min() == 0


def test_pruning_cuts_dead_subtrees_and_keeps_the_rest() -> None:
    tree = Tree(2, 3)
    tree.leaves.copy_(torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 0], [0, 0, 0]]))
    assert tree.prune(0.5).tolist() == [False, True, False]  # the root's right side is cut off, so it asks nothing
    assert tree.cuts.tolist() == [-1, 0, 0]
    answers = tree.cut(torch.tensor([[0.9, 0.2, 0.7]]))
    scores = tree.arrivals(answers) @ tree.distributions()
    torch.testing.assert_close(scores, (0.8 * tree.distributions()[0] + 0.2 * tree.distributions()[1])[None])
    with pytest.raises(ValueError, match=r"no leaf has a class above tau = 1 \(the largest probability is 1\)"):
        tree.prune(0.9999)
