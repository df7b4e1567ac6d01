"""Drawings of graphs: every node and edge is there, with what the explanation says of it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_models import GRAPHS, build
from zoo.domain import GraphDomain
from zoo.views.graph import LARGEST, edge_values, graph_drawing, node_values
from zoo.views.graph_layout import distances, layout
from zoo.views.html import page


@pytest.mark.parametrize("name", ["sum_gin", "gsat", "gnan"])
def test_a_page_draws_nodes_and_edges_with_their_values(name: str) -> None:
    small = build(name)
    one = small.model.explain(small.inputs, reference="zero")[0]
    html = page(one, ["a graph"])
    graph = GRAPHS.graph(one.inputs[0])
    tips = re.findall(r"<g class='(\w+)'><title>(\S+): ([+-][\d.e-]+)</title>", html)
    assert [tip[1] for tip in tips] == list(graph.names)
    values = node_values(one, GRAPHS)
    assert values is not None
    torch.testing.assert_close(values.sum(), one.contributions.sum())
    for (side, _, printed), node in zip(tips, graph.nodes, strict=True):
        assert float(printed) == pytest.approx(float(values[node]), rel=1e-2, abs=1e-6)
        assert side == ("up" if values[node] > 0 else "down" if values[node] < 0 else "none")
    edges = re.findall(r"<title>(\S+) – (\S+): ([\d.]+)</title></line>", html)
    assert [edge[:2] for edge in edges] == [(graph.names[a], graph.names[b]) for a, b in graph.ends]
    gates = edge_values(one, GRAPHS)
    assert (gates is None) == (name != "gsat") and ("not contributions" in html) == (name == "gsat")
    if gates is not None:
        small_gates = small.model.step(small.inputs)[1].state["gates"][0]
        torch.testing.assert_close(gates, small_gates)
        assert [float(edge[2]) for edge in edges] == pytest.approx(
            [round(float(gates[j]), 2) for j in graph.edges], abs=0.006
        )


def test_contributions_of_other_units_are_spread_over_their_nodes() -> None:
    small = build("graph_concepts")
    one = small.model.explain(small.inputs, reference="zero")[0]
    html, values = page(one, ["a graph"]), node_values(one, GRAPHS)
    support = one.support[0, :, : GRAPHS.nodes]
    share = support / one.support[0].sum(1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(values, (one.contributions[0, :, None] * share).sum(0))
    assert edge_values(one, GRAPHS) is None and "spread over the nodes" in html and "gates" not in html


def test_names_in_the_file_are_shown_and_escaped() -> None:
    small = build(
        "sum_gin", domain=replace(GRAPHS, features=(), edge_features=(), mean=(), std=(), edge_mean=(), edge_std=())
    )
    domain, text = small.model.domain, '{"nodes": [{"name": "<b>"}, {"name": "Ann"}], "edges": [[0, 1]]}'
    one = replace(small.model.explain(domain.preprocess(text)[None]), texts=(text,))
    html = page(one, ["a graph"])
    assert "<b>:" not in html and "&lt;b&gt;" in html and "node 1: Ann" in html


def test_a_graph_that_is_too_large_is_not_drawn() -> None:
    domain = GraphDomain(classes=("circle", "square", "star"), nodes=LARGEST + 1, edges=2)
    small = build("sum_gin", domain=domain, backbone={"width": 2, "layers": 1})
    one = small.model.explain(domain.preprocess(f'{{"nodes": {LARGEST + 1}}}')[None])
    assert "up to 250 are drawn" in graph_drawing(one, domain, "") and "<svg" not in graph_drawing(one, domain, "")


def test_places_are_apart_as_the_nodes_are() -> None:
    path = [(i, i + 1) for i in range(6)]
    assert distances(7, path).tolist() == [[abs(i - j) for j in range(7)] for i in range(7)]
    places = layout(7, path)
    length = np.linalg.norm(places[0] - places[-1])
    for i in range(7):
        for j in range(7):
            assert np.linalg.norm(places[i] - places[j]) == pytest.approx(length * abs(i - j) / 6, abs=0.05)
    assert np.array_equal(places, layout(7, path)) and places.min() >= 0 and places.max() <= 1
    parts = layout(4, [(0, 1), (2, 3)])  # two parts, which do not lie on each other
    assert min(np.linalg.norm(parts[i] - parts[j]) for i in range(4) for j in range(i)) > 0.15
    assert layout(1, []).tolist() == [[0.5, 0.5]]
    assert np.isfinite(layout(3, [])).all()
