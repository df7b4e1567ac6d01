"""Distillation of a policy into a decision tree, on the states that the tree itself reaches.

Bastani, Pu, Solar-Lezama: "Verifiable Reinforcement Learning via Policy Extraction", NeurIPS 2018, arXiv 1805.08328.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from torch import Tensor, nn

from zoo.policies.layers.path_tree import PathTree, empty_tree
from zoo.training.rollout import Episodes, best_action, draws_of, play

if TYPE_CHECKING:
    from zoo.data.synthetic.control import Control


class Labelled(NamedTuple):
    """States with the actions of a teacher.

    Attributes:
        inputs: (N, F).
        actions: (N,) classes, or (N, C) values.
        weights: (N,) what each counts.
    """

    inputs: Tensor
    actions: Tensor
    weights: Tensor


class Teacher:
    """The policy that is distilled: a trained network, or the written controller of the world.

    Args:
        data: the control problem.
        network: gives scores of actions; None for the controller, whose states all have the weight 1.
    """

    def __init__(self, data: "Control", network: nn.Module | None) -> None:
        self.data, self.network = data, network

    def label(self, episodes: Episodes) -> Labelled:
        """The teacher's actions in the states of episodes; the weight of a state is max log π - min log π there."""
        inputs, states = torch.cat(episodes.inputs), np.concatenate(episodes.states)
        if self.network is None:
            actions = torch.from_numpy(self.data.world.controller(states))
            return Labelled(inputs, actions, torch.ones(len(inputs)))
        scores = self.network(inputs)
        if self.data.world.continuous:
            return Labelled(
                inputs, scores.clamp(-self.data.world.bound, self.data.world.bound), torch.ones(len(inputs))
            )
        return Labelled(inputs, scores.argmax(1), scores.amax(1) - scores.amin(1))  # log π differ as scores do

    def play(self, count: int, number: int) -> Episodes:
        """Episodes of the teacher."""
        network, draws = self.network, draws_of(self.data, "distil", number)
        if network is None:
            return play(self.data, self.data.world.controller, count, draws, record=True, sees_states=True)
        classes = not self.data.world.continuous
        return play(self.data, lambda x: best_action(network(x), classes), count, draws, record=True)


@torch.no_grad()
def distil(
    data: "Control",
    teacher: Teacher,
    fit: Callable[[Labelled], PathTree],
    act: Callable[[PathTree], Callable[[Tensor], Tensor]],
    rounds: int,
    episodes: int,
    report: Callable[[str], None],
) -> PathTree:
    """The tree of highest measured return among `rounds` trees, each fitted to the states of all before it.

    Args:
        data: the control problem.
        teacher: labels the states.
        fit: a tree from labelled states.
        act: the policy of a tree.
        rounds: number of trees.
        episodes: that each plays to collect states, and as many again, the same for all, to be measured.
        report: called with one line for each round.
    """
    found, best, highest = teacher.label(teacher.play(episodes, 0)), None, -np.inf
    for i in range(rounds):
        tree = fit(found)
        measured = play(data, act(tree), episodes, draws_of(data, "distil", 10**6)).returns.mean().item()
        report(f"round {i + 1} of {rounds}: {len(found.inputs)} states, return of the tree {measured:.1f}")
        if best is None or measured > highest:
            best, highest = tree, measured
        more = teacher.label(play(data, act(tree), episodes, draws_of(data, "distil", i + 1), record=True))
        found = Labelled(*(torch.cat(pair) for pair in zip(found, more, strict=True)))
    assert best is not None
    return best


def fit_tree(found: Labelled, leaves: int, classes: int, classification: bool) -> PathTree:
    """A tree of at most `leaves` leaves by CART, grown best first (Breiman et al., 1984).

    Args:
        found: labelled states; of classes, a leaf has their weighted shares as values.
        leaves: largest number.
        classes: C.
        classification: whether the actions are classes.
    """
    x, y, weight = (t.detach().cpu().numpy() for t in found)
    kind = DecisionTreeClassifier if classification else DecisionTreeRegressor
    # equal weights where all are 0, as of a teacher that does not care
    fitted = kind(max_leaf_nodes=leaves, random_state=0).fit(x, y, sample_weight=weight if weight.any() else None)
    grown, values = fitted.tree_, np.zeros((fitted.tree_.node_count, classes), dtype=np.float32)
    if isinstance(fitted, DecisionTreeClassifier):
        values[:, np.asarray(fitted.classes_, dtype=int)] = grown.value[:, 0]
    else:
        values[:] = grown.value[:, :, 0]
    return from_sklearn(grown, values, leaves)


def from_sklearn(grown: object, values: np.ndarray, leaves: int) -> PathTree:
    """Converts a tree of scikit-learn, whose nodes have these values (nodes, C)."""
    left, right, feature, threshold = (
        getattr(grown, name) for name in ("children_left", "children_right", "feature", "threshold")
    )
    tree = empty_tree(leaves - 1, values.shape[1])
    splits = [int(i) for i in np.flatnonzero(left >= 0)]
    number, table = {node: i for i, node in enumerate(splits)}, torch.from_numpy(values)
    if not splits:  # one leaf: its value is that of the root, and nothing is reached
        tree.value[0] = tree.left[0] = tree.right[0] = table[0]
    for node, i in number.items():
        tree.feature[i] = int(feature[node])
        tree.threshold[i] = float(below(threshold[node]))
        tree.value[i], tree.left[i], tree.right[i] = table[node], table[left[node]], table[right[node]]
        for child, below_side in ((left[node], tree.below_left), (right[node], tree.below_right)):
            for other in subtree(int(child), left, right):
                if other in number:
                    below_side[number[other], i] = 1.0
    return tree


def below(threshold: float) -> np.float32:
    """The largest number of 32 bits that is not above a threshold: x ≤ it exactly where x ≤ the threshold."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) <= float(threshold) else np.nextafter(rounded, np.float32(-np.inf))


def subtree(node: int, left: np.ndarray, right: np.ndarray) -> list[int]:
    """A node and all below it."""
    found, rest = [], [node]
    while rest:
        found.append(node := rest.pop())
        rest += [int(left[node]), int(right[node])] if left[node] >= 0 else []
    return found
