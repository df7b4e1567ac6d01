"""The page of the benchmark of circuits."""

import math
from typing import Any

import pytest

from benchmarks.circuits_page import interval, page


def report(edges: int, **controls: str) -> dict[str, Any]:
    scores = {"loss": 0.2, "accuracy": 0.95}
    sizes = {"nodes": 10, "edges": edges, "density": 0.5, "before_refinement": {"nodes": 20, "edges": 2 * edges}}
    told = {name: {**scores, "worst_loss": 0.4, "nodes": 5, "verdict": verdict} for name, verdict in controls.items()}
    return {**sizes, "circuit": scores, "without": scores, "controls": told}


def test_the_page_leads_with_the_narrow_network_and_the_warnings() -> None:
    record = {
        "sparse": {
            "0": {"nats": 1.5, "tasks": {"a": report(10, frozen_norms="warn"), "b": report(10), "c": report(1)}},
            "1": {"nats": 1.7, "tasks": {"a": report(10)}},
        },
        "narrow": {
            "0": {"nats": 1.6, "tasks": {"a": report(20, random_nodes="pass"), "b": report(80)}},
            "1": {"nats": 1.6, "tasks": {"a": report(40)}},
        },
        "dense": {"0": {"nats": 1.6, "tasks": {"a": report(500)}}, "1": {"nats": 1.6, "tasks": {}}},
    }
    lines = page(record, 0.15).splitlines()
    # Edges 2x and 4x on task a, 8x on task b: the geometric mean is 4. Task c, which one of them solves, is left out.
    assert lines[2].startswith("**The fair comparison**")
    assert "over 2 tasks that both solve and 2 training seeds" in lines[2]
    assert "edges 4.0x (" in lines[2] and "nodes 1.0x (1.0 to 1.0)" in lines[2]
    assert "dense relative to sparse" in lines[4] and "edges 50.0x (50.0 to 50.0)" in lines[4]
    assert lines[6] == "**Controls that warn**: frozen norms of sparse (a)."
    assert "sparse 1.600" in lines[8]
    assert any("**warn**: loss 0.200; accuracy 95%; worst 0.400; 5 nodes" in line for line in lines)


def test_intervals_hold_the_mean_and_shrink_with_the_spread() -> None:
    wide = interval({("0", task): math.log(value) for task, value in (("a", 1), ("b", 2), ("c", 4))})
    assert wide[0] == 0 and wide[1] == pytest.approx(math.log(4))
    assert interval({("0", "a"): 0.5, ("1", "a"): 0.5}) == (0.5, 0.5)
