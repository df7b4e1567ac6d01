"""Drawings of parts of graphs."""

import torch

from zoo.core.evidence import Unit
from zoo.views.subgraphs import layout, path_lengths, subgraphs


def test_a_ring_is_drawn_as_a_ring() -> None:
    places = layout(5, [(i, (i + 1) % 5) for i in range(5)])
    radius = (places - places.mean(0)).norm(dim=1)
    torch.testing.assert_close(radius, radius.mean().expand(5), rtol=1e-3, atol=1e-3)
    sides = (places - places.roll(-1, 0)).norm(dim=1)
    torch.testing.assert_close(sides, sides.mean().expand(5), rtol=1e-2, atol=1e-2)
    assert 0.8 < float(sides.mean()) < 1.2


def test_path_lengths() -> None:
    expected = [[0, 1, 2, 3], [1, 0, 1, 3], [2, 1, 0, 3], [3, 3, 3, 0]]  # the last node is not connected
    assert path_lengths(4, [(0, 1), (1, 2)]).tolist() == expected


def test_nodes_of_any_graph_are_apart() -> None:
    for count, edges in ((1, []), (2, [(0, 1)]), (6, [(0, i) for i in range(1, 6)]), (3, [])):
        places = layout(count, edges)
        assert places.shape == (count, 2) and bool(places.isfinite().all())
        assert bool(((places[:, None] - places).norm(dim=2) + 9 * torch.eye(count) > 0.2).all())


def test_drawings_escape_names_and_mark_the_centre() -> None:
    part = {"graph": "<b>", "index": 3, "nodes": ["C0", "<i>"], "edges": [[0, 1]], "centre": 1}
    page = subgraphs(Unit("ring #1", "prototype", 0, {"subgraphs": [part]}))
    assert "&lt;b&gt;" in page and "&lt;i&gt;" in page and "<b>" not in page
    assert page.count("<circle") == 2 and page.count("class='centre'") == 1 and page.count("<line") == 1
    assert "aria-label='subgraph of ring #1: 2 nodes, 1 edge'" in page
    assert subgraphs(Unit("x", "prototype")) == ""
    large = {**part, "nodes": ["C"] * 81, "edges": []}
    assert "81 nodes" in subgraphs(Unit("x", "prototype", 0, {"subgraphs": [large]}))
