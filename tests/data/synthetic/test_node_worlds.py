"""Worlds of nodes: labels are roles, evidence is what it says, and inputs are the surroundings of their node."""

from collections import Counter

import pytest
import torch

from zoo.data import BAShapes, Infection, TreeCycles
from zoo.data.synthetic.node_worlds import NodeWorld
from zoo.domain.surroundings import Network

WORLDS = [BAShapes(base=20, houses=10), TreeCycles(height=4, rings=10, more=0.1), Infection(nodes=100)]


@pytest.mark.parametrize("data", WORLDS, ids=lambda d: type(d).__name__)
def test_nodes_are_split_and_their_inputs_fit_the_domain(data: NodeWorld) -> None:
    domain, splits = data.make_domain(), {split: data.items(split, False) for split in ("train", "val", "test")}
    found = [node for items in splits.values() for node in items.nodes]
    assert sorted(found) == list(range(len(data.made.labels)))
    pairs = {(min(p), max(p)) for p in data.made.pairs}
    assert len(pairs) == len(data.made.pairs) and all(a != b for a, b in pairs)
    for items in splits.values():
        batch = [items[i] for i in range(5)]
        domain.check(torch.stack([item["input"] for item in batch]), "test")
        assert [int(item["target"]) for item in batch] == [data.made.labels[node] for node in items.nodes[:5]]
    again = type(data)(**({"base": 20, "houses": 10} if isinstance(data, BAShapes) else {}), seed=1)
    assert again.made.pairs != data.made.pairs


@pytest.mark.parametrize(("data", "degrees"), [(WORLDS[0], [2, 2, 2, 3, 3]), (WORLDS[1], [2] * 6)])
def test_the_evidence_of_a_part_are_its_edges(data: NodeWorld, degrees: list[int]) -> None:
    domain, items = data.make_domain(), data.items("train", False)
    for i, label in enumerate(items.targets.tolist()):
        item = items[i]
        region = item["regions"][0].bool()
        graph = domain.graph(torch.where(region[:, None], item["input"], 0.0))
        ends = Counter(end for pair in graph.ends for end in pair)
        assert sorted(ends.values()) == (degrees if label else [])
        assert not label or bool(region[0])  # the node itself is part of it
        less = domain.graph(data.interventions("train", [i], "evidence")[0])
        whole = domain.graph(item["input"])
        assert len(less.ends) == len(whole.ends) - len(graph.ends) and len(less.names) == len(whole.names)
    assert torch.equal(data.interventions("train", [0], ())[0], items[0]["input"])


def test_the_evidence_of_an_infection_is_the_only_shortest_path() -> None:
    data = WORLDS[2]
    ill = [i for i, feature in enumerate(data.made.features) if feature[0]]
    around, known = Network(100, data.made.pairs), 0
    for node, label in enumerate(data.made.labels):
        near = [set(around.around(node, d)[0].tolist()) & set(ill) for d in range(4)]
        assert label == next((d for d, found in enumerate(near) if found), 4)
        if not (path := data.made.evidence[node]):
            continue
        known += 1
        assert len(path) == label
        at = node
        for edge in path:
            pair = data.made.pairs[edge]
            assert at in pair
            at = sum(pair) - at
        assert at in ill and len(near[label]) == 1
    assert known > 20 and not any(data.made.evidence[node] for node in ill)


def test_what_they_refuse() -> None:
    with pytest.raises(ValueError, match="radius must be at least 1"):
        BAShapes(radius=0)
    with pytest.raises(ValueError, match="height must be"):
        TreeCycles(height=30)
    with pytest.raises(ValueError, match="infected must be"):
        Infection(infected=0.9)
