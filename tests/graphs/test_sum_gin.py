"""SumGIN: the score is the sum of the scores of the nodes, and supports are nodes with their edges."""

import pytest
import torch

from tests.small_models import GRAPHS, ROWS, build
from zoo.graphs import SumGIN
from zoo.networks.graph_batch import GraphBatch


def test_contributions_are_the_scores_of_the_nodes() -> None:
    small = build("sum_gin")
    model, x = small.model, small.inputs
    explanation = model.explain(x, 1, reference="zero").check()
    weight, bias = model.head.weight, model.head.bias
    batch = GraphBatch.of(x, GRAPHS)
    with torch.no_grad():
        states = batch.per_node(model.backbone.nodes(batch))  # tested against a loop in test_gin
        torch.testing.assert_close(explanation.contributions, states @ weight[1])
        torch.testing.assert_close(explanation.scores, states.sum(1) @ weight.T + bias)
    assert torch.equal(explanation.activation, x[:, : GRAPHS.nodes, 0])
    assert explanation.statements[0] == "The contribution of a node depends on all nodes at most 2 edges away."


def test_the_support_of_a_node_is_itself_and_its_edges() -> None:
    small = build("sum_gin")
    x = small.inputs
    support = small.model.explain(x).support
    for row, one in enumerate(x):
        for node in range(GRAPHS.nodes):
            expected = [node] * bool(one[node, 0])
            for edge in range(GRAPHS.edges):
                present, first, second = one[GRAPHS.nodes + edge, :3].tolist()
                if present and node in (first, second):
                    expected.append(GRAPHS.nodes + edge)
            assert support[row, node].nonzero().flatten().tolist() == expected


def test_what_explanations_say_of_places() -> None:
    small = build("sum_gin")
    row = small.model.explain(small.inputs).to_dict()[0]["evidence"][0]
    node = int(row["unit"].removeprefix("node "))
    assert [name.removeprefix("C") for name in row["nodes"]] == [str(node)]
    assert all(row["nodes"][0] in edge for edge in row["edges"])


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="SumGIN reads graphs; got a domain of rows"):
        SumGIN(ROWS)
    with pytest.raises(ValueError, match="needs a score that is a sum over nodes; leave out `hidden`"):
        SumGIN(GRAPHS, backbone={"hidden": [4]})
