"""ProtoTree: routing and leaf updates of a tree of depth 9, compared with loops, for 64 images and 200 classes."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case
from zoo.prototypes.layers.tree import Tree


@torch.no_grad()
def cases(device: torch.device) -> Iterator[Case]:
    tree, answers, target = Tree(9, 200), torch.rand(64, 511), torch.randint(200, (64,))
    tree.leaves.copy_(torch.randn(512, 200))
    distributions = tree.distributions()

    def walk(node: int, reach: Tensor) -> Tensor:
        if node >= tree.nodes:
            return reach[:, None] * distributions[node - tree.nodes]
        left, right = reach * (1 - answers[:, node]), reach * answers[:, node]
        return walk(2 * node + 1, left) + walk(2 * node + 2, right)

    yield Case(
        "scores of 64 images",
        {"zoo": lambda: tree.arrivals(answers) @ tree.distributions(), "recursive": lambda: walk(0, torch.ones(64))},
    )
    arrivals, labels = tree.arrivals(answers), F.one_hot(target, 200).float()
    scores = arrivals @ distributions

    def leaf_by_leaf() -> Tensor:
        gains = [(arrivals[:, leaf, None] * distributions[leaf] * labels / scores).sum(0) for leaf in range(tree.count)]
        return torch.stack(gains)

    yield Case("leaf updates", {"zoo": lambda: tree.gain(answers, target), "leaf by leaf": leaf_by_leaf}, apart=1e-3)
