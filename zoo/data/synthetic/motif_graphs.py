"""Graphs whose class is a motif that is attached to a base.

Luo et al.: "Parameterized Explainer for Graph Neural Network", NeurIPS 2020, arXiv 2011.04573 (BA-2motifs); Wu, Wang,
Zhang, He, Chua: "Discovering Invariant Rationales for Graph Neural Networks", ICLR 2022, arXiv 2201.12872 (SPMotif).
"""

from random import Random
from typing import Any

import torch

from zoo.data.synthetic.arrays import balanced
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.graph_parts import GraphRows, Made, Pairs, attachment_tree, crane, cycle, house, ladder, tree
from zoo.data.synthetic.graph_parts import wheel as wheel_of
from zoo.domain import GraphDomain
from zoo.utils.checks import check_at_least, check_between

BASES = {"tree": tree, "ladder": ladder, "wheel": wheel_of}
SIZES = (16, 18, 20, 22)  # nodes of a base of SPMotif
NUMBERS = 4  # random features of SPMotif


class MotifGraphs(SyntheticBenchmark):
    """The base of the worlds below; factors that can be removed are the motif, which decides, and the base.

    Args:
        count: number of training graphs.
        test_count: number of test graphs, and of validation graphs.
        **loading: the options of `DataModule`.
    """

    factors = ("motif",)
    also_removable = ("base",)
    ceiling = 1.0

    def __init__(self, count: int, test_count: int, **loading: Any) -> None:
        super().__init__(**loading)
        check_at_least(1, count=count, test_count=test_count)
        self.counts = {"train": count, "val": test_count, "test": test_count}


class BA2Motifs(MotifGraphs):
    """A random tree of 20 nodes, and a ring of five nodes or a house, joined by one edge; the class is the motif.

    Nodes have no features. Both classes have 25 nodes; the house has one edge more than the ring, so that the number of
    edges alone tells the classes apart: explanations that are not the motif can be right about a model.

    Differs from the published data: they are not drawn anew, and some of their graphs are not connected.

    Args:
        count: number of training graphs.
        test_count: number of test graphs, and of validation graphs.
        **loading: the options of `DataModule`.
    """

    def __init__(self, count: int = 800, test_count: int = 100, **loading: Any) -> None:
        super().__init__(count, test_count, **loading)

    def make_domain(self) -> GraphDomain:
        return GraphDomain(classes=("ring", "house"), nodes=25, edges=26)

    def draw(self, split: str, count: int, generator: torch.Generator) -> GraphRows:
        random, labels = _random(generator), balanced(count, 2, generator)
        made = [
            joined(attachment_tree(20, random), 20, house() if label else cycle(5), 5, random, [[] for _ in range(25)])
            for label in labels.tolist()
        ]
        return GraphRows(self.make_domain(), made, labels, [f"{split} graph {i}" for i in range(count)])


class SPMotif(MotifGraphs):
    """A ring of six nodes, a house or a crane, attached to a tree, a ladder or a wheel; the class is the motif.

    In training and validation the base is the partner of the class (ring and tree, house and ladder, crane and wheel)
    with probability `bias`, else one of the other two. In the test all bases are equally likely, so that a model that
    reads the base fails there. Nodes have four random features that tell nothing. Up to 5 % random edges are added, not
    between two nodes of the motif.

    Differs from the published data: bases of all kinds have 16 to 22 nodes, drawn by one law for all classes (there:
    trees of 1 to 15 nodes, in one variant with sizes that depend on the class), in the test as in training (there:
    larger ones); house and crane have equally many nodes and edges.

    Args:
        bias: in [0, 1]; 1/3 is no bias.
        test_bias: that of the test.
        count: number of training graphs.
        test_count: number of test graphs, and of validation graphs.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: a bias outside of [0, 1].
    """

    def __init__(
        self, bias: float = 0.9, test_bias: float = 1 / 3, count: int = 3000, test_count: int = 600, **loading: Any
    ) -> None:
        super().__init__(count, test_count, **loading)
        check_between(0, 1, bias=bias, test_bias=test_bias)
        self.bias, self.test_bias = bias, test_bias

    def make_domain(self) -> GraphDomain:
        features = tuple(f"noise {k + 1}" for k in range(NUMBERS))
        most = len(wheel_of(SIZES[-1])) + 7
        return GraphDomain(
            classes=("ring", "house", "crane"),
            features=features,
            nodes=SIZES[-1] + 6,
            edges=most + most // 20,
            mean=(0.5,) * NUMBERS,
            std=(12**-0.5,) * NUMBERS,  # of numbers that are uniform in [0, 1]
        )

    def draw(self, split: str, count: int, generator: torch.Generator) -> GraphRows:
        random, labels = _random(generator), balanced(count, 3, generator)
        bias = self.test_bias if split == "test" else self.bias
        made = [self._graph(label, bias, random) for label in labels.tolist()]
        return GraphRows(self.make_domain(), made, labels, [f"{split} graph {i}" for i in range(count)])

    def _graph(self, label: int, bias: float, random: Random) -> Made:
        others = [i for i in range(3) if i != label]
        base = label if random.random() < bias else random.choice(others)
        size, nodes = random.choice(SIZES), 5 if label else 6
        features = [[random.random() for _ in range(NUMBERS)] for _ in range(size + nodes)]
        motif = (cycle(6), house(), crane())[label]
        return joined(list(BASES.values())[base](size), size, motif, nodes, random, features, 0.05)


def joined(
    base: Pairs, size: int, motif: Pairs, nodes: int, random: Random, features: list[list[float]], more: float = 0.0
) -> Made:
    """A base and a motif with one random edge between them, in random order.

    Args:
        base: edges of the base.
        size: number of its nodes.
        motif: edges of the motif.
        nodes: number of its nodes.
        random: source of all randomness.
        features: of all nodes.
        more: random edges to add, as a share of all edges, rounded down; none lies within the motif.
    """
    pairs = [*base, *((a + size, b + size) for a, b in motif)]
    pairs.append((random.randrange(size), size + random.randrange(nodes)))
    known = {(min(p), max(p)) for p in pairs}
    for _ in range(int(more * len(pairs))):
        a, b = sorted(random.sample(range(size + nodes), 2))
        if a < size and (a, b) not in known:
            known.add((a, b))
            pairs.append((a, b))
    parts = {"motif": list(range(size, size + nodes)), "base": list(range(size))}
    return Made(features, pairs, parts).shuffled(random)


def _random(generator: torch.Generator) -> Random:
    return Random(int(torch.randint(2**62, (), generator=generator)))
