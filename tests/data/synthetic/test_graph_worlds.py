"""Generated graphs: the label is the motif or the group, which is where the regions say, and what removals leave."""

from collections import Counter

import pytest
import torch

from zoo.data import BA2Motifs, RuleMolecules, SPMotif
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.rule_molecules import VALENCE
from zoo.domain.graph import Graph

SMALL = {"count": 30, "test_count": 60}


def connected(graph: Graph) -> bool:
    reached, grown = {0}, True
    while grown:
        more = {b for pair in graph.ends for a, b in (pair, pair[::-1]) if a in reached} - reached
        reached, grown = reached | more, bool(more)
    return len(reached) == len(graph.names)


def degrees(graph: Graph) -> list[int]:
    return sorted(Counter(end for pair in graph.ends for end in pair).values())


@pytest.mark.parametrize(
    "data", [BA2Motifs(**SMALL), SPMotif(**SMALL), RuleMolecules(**SMALL)], ids=lambda d: type(d).__name__
)
def test_graphs_are_connected_and_fit_the_domain(data: SyntheticBenchmark) -> None:
    domain, items = data.make_domain(), data.items("train", True)
    domain.check(items.inputs, "test")
    assert Counter(items.targets.tolist()).most_common()[-1][1] == 30 // len(domain.classes)
    for x in items.inputs:
        graph = domain.graph(x)
        assert connected(graph) and len(set(graph.ends)) == len(graph.ends)
        assert all(a < b for a, b in graph.ends)
    again = type(data)(**SMALL).items("train", True)
    assert torch.equal(again.inputs, items.inputs)
    assert not torch.equal(type(data)(**SMALL, seed=1).items("train", True).inputs[0], items.inputs[0])


@pytest.mark.parametrize(
    ("data", "motifs"),
    [
        (BA2Motifs(**SMALL), [[2] * 5, [2, 2, 2, 3, 3]]),
        (SPMotif(**SMALL), [[2] * 6, [2, 2, 2, 3, 3], [1, 2, 2, 3, 4]]),
    ],
)
def test_regions_are_the_motif_of_the_class(data: SyntheticBenchmark, motifs: list[list[int]]) -> None:
    domain, items = data.make_domain(), data.items("test", False)
    for i, x in enumerate(items.inputs):
        region = items.regions[i, 0].bool()
        kept = torch.where(region[:, None], x, 0.0)
        assert degrees(domain.graph(kept)) == motifs[int(items.targets[i])]
        assert torch.equal(data.interventions("test", [i], "base")[0], kept)
        rest = domain.graph(data.interventions("test", [i], "motif")[0])
        assert len(rest.names) == int(x[: domain.nodes, 0].sum()) - int(region[: domain.nodes].sum())
        assert connected(rest)
    assert torch.equal(data.interventions("test", [0, 1], ()), items.inputs[:2])


def test_the_base_is_biased_in_training_and_not_in_the_test() -> None:
    def kinds(split: str, data: SPMotif) -> list[bool]:
        """Whether the base is the partner of the class."""
        items, domain, found = data.items(split, False), data.make_domain(), []
        bases = data.interventions(split, range(len(items)), "motif")
        for x, target in zip(bases, items.targets.tolist(), strict=True):
            each = degrees(domain.graph(x))
            kind = 0 if sum(each) < 2.2 * len(each) else 2 if each[-1] > 8 else 1
            found.append(kind == target)
        return found

    data = SPMotif(bias=1.0, count=60, test_count=120)
    assert all(kinds("train", data)) and all(kinds("val", data))
    assert 0.15 < sum(kinds("test", data)) / 120 < 0.5
    assert all(kinds("test", SPMotif(bias=0.0, test_bias=1.0, count=10, test_count=30)))


def test_molecules_have_valences_and_the_group_of_their_class() -> None:
    data = RuleMolecules(**SMALL)
    domain, items, elements = data.make_domain(), data.items("test", False), list(VALENCE)
    for i, x in enumerate(items.inputs):
        graph, used = domain.graph(x), Counter()
        kinds = [elements[k] for k in graph.features.argmax(1).tolist()]
        bonds = {pair: 1 + order for pair, order in zip(graph.ends, graph.attributes.argmax(1).tolist(), strict=True)}
        for pair, order in bonds.items():
            for end in pair:
                used[end] += order
        assert all(used[atom] <= VALENCE[kind] for atom, kind in enumerate(kinds))
        double = [pair for pair, order in bonds.items() if order == 2]
        assert len(double) == 1 and sorted(kinds[a] for a in double[0]) == ["C", "O"]
        carbon = next(a for a in double[0] if kinds[a] == "C")
        around = [b if a == carbon else a for a, b in graph.ends if carbon in (a, b)]
        oxygens = [a for a in around if kinds[a] == "O"]
        assert (len(oxygens) == 2) == bool(items.targets[i])
        region = items.regions[i, 0]
        atoms = [graph.nodes[a] for a in {carbon, *oxygens}]
        assert region[atoms].all() and region[: domain.nodes].sum() == 3
        assert region[domain.nodes :].sum() == (2 if items.targets[i] else 1)


def test_the_decoy_is_the_ring_of_three_and_goes_with_the_class_in_training_only() -> None:
    data = RuleMolecules(bias=1.0, **SMALL)
    domain = data.make_domain()

    def closed(split: str) -> list[bool]:
        whole = data.items(split, False).inputs
        without = data.interventions(split, range(len(whole)), "decoy")
        sizes = [len(domain.graph(a).ends) - len(domain.graph(b).ends) for a, b in zip(whole, without, strict=True)]
        assert set(sizes) <= {3, 4}
        return [size == 4 for size in sizes]

    assert closed("train") == data.items("train", False).targets.bool().tolist()
    assert (
        0.3
        < sum(a == b for a, b in zip(closed("test"), data.items("test", False).targets.bool().tolist(), strict=True))
        / 60
        < 0.7
    )
