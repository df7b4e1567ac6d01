"""Drawings of parts of graphs."""

import re

from zoo.core.evidence import Unit
from zoo.views.subgraphs import subgraphs


def test_edges_have_one_length_in_all_drawings() -> None:
    for size in (3, 6):
        ring = {"graph": "g", "nodes": list("abcdef")[:size], "edges": [[i, (i + 1) % size] for i in range(size)]}
        page = subgraphs(Unit("ring", "prototype", 0, {"subgraphs": [ring]}))
        found = re.findall(r"x1='([-.\d]+)' y1='([-.\d]+)' x2='([-.\d]+)' y2='([-.\d]+)'", page)
        lengths = [((c - a) ** 2 + (d - b) ** 2) ** 0.5 for a, b, c, d in (map(float, line) for line in found)]
        assert len(lengths) == size and 28 < min(lengths) <= max(lengths) < 32


def test_drawings_escape_names_and_mark_the_centre() -> None:
    part = {"graph": "<b>", "index": 3, "nodes": ["C0", "<i>"], "edges": [[0, 1]], "centre": 1}
    page = subgraphs(Unit("ring #1", "prototype", 0, {"subgraphs": [part]}))
    assert "&lt;b&gt;" in page and "&lt;i&gt;" in page and "<b>" not in page
    assert page.count("<circle") == 2 and page.count("class='centre'") == 1 and page.count("<line") == 1
    assert "aria-label='subgraph of ring #1: 2 nodes, 1 edge'" in page
    assert subgraphs(Unit("x", "prototype")) == ""
    large = {**part, "nodes": ["C"] * 81, "edges": []}
    assert "81 nodes" in subgraphs(Unit("x", "prototype", 0, {"subgraphs": [large]}))
