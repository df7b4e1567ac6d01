"""The benchmark of circuits: its page, statistics and record."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import zoo
from benchmarks import circuits
from benchmarks.circuits import merge, read, save
from benchmarks.circuits_page import page
from benchmarks.circuits_statistics import common_tasks, interval
from zoo.circuits import Pruning
from zoo.circuits.sparse_transformer import SparseTransformer

SEARCH = {"target": 0.15}


def report(edges: int, **controls: str) -> dict[str, Any]:
    scores = {"loss": 0.2, "accuracy": 0.95, "worst_loss": 0.4, "worst_accuracy": 0.9}
    sizes = {"nodes": 10, "edges": edges, "density": 0.5, "before": {"nodes": 20, "edges": 2 * edges}}
    told = {name: {**scores, "nodes": 5, "edges": 4, "verdict": verdict} for name, verdict in controls.items()}
    rest = {"solved": True, "tested": True, "whole": scores, "circuit": scores, "without": scores, "halves": scores}
    return {**sizes, **rest, "controls": told} if told else {**sizes, **rest}


def run(nats: float, **tasks: Any) -> dict[str, Any]:
    return {"nats": nats, "density": 0.1, "width": 8, "tasks": tasks}


UNSOLVED = {"solved": False, "search_loss": 0.6, "whole": {"loss": 0.7, "accuracy": 0.5}}


def controlled(edges: int, warns: str) -> dict[str, Any]:
    names = ("random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights")
    return report(edges, **{name: "warn" if name == warns else "pass" for name in names})


def test_the_page_leads_with_the_narrow_network_and_tells_what_is_solved() -> None:
    networks = {
        "sparse": {
            "0": run(1.5, a=controlled(10, "frozen_norms"), b=report(10), c=report(1)),
            "1": run(1.7, a=report(10), b=UNSOLVED, c=UNSOLVED),
        },
        "narrow": {
            "0": run(1.6, a=report(20), b=report(80), c=UNSOLVED),
            "1": run(1.6, a=report(40), b=UNSOLVED, c=UNSOLVED),
        },
        "dense": {"0": run(1.6, a={**report(500), "tested": False})},
    }
    text = page({"search": SEARCH, "networks": networks})
    lines = text.splitlines()
    # Edges 2x and 4x on task a, 8x on task b: the geometric mean is 4. Task c, which one of them solves, is left out.
    assert lines[2].startswith("**The fair comparison**")
    assert "over 2 tasks that both solve and 2 training seeds" in lines[2]
    assert "edges 4.0x (" in lines[2] and "nodes 1.0x (1.0 to 1.0)" in lines[2]
    assert "fewer edges for 3 of 3 tasks and seeds" in lines[2]
    assert "dense relative to sparse" in lines[4] and "edges 50.0x (50.0 to 50.0)" in lines[4]
    # The overview leaves out dense, of which most tasks are missing, and tasks b and c, which are not always solved.
    assert "| sparse | 8 | 0.1 | 2 | 1.600 (1.500 to 1.700) | 10 (10 to 10) | 10 (10 to 10) |" in text
    assert "| dense | 8" not in text and common_tasks(networks) == ["a"]
    assert "| b | 1 of 2: 0.450, 72% | 1 of 2: 0.450, 72% |  |" in text
    assert "| a | narrow | 2 | 10 (10 to 10) | 28 (20 to 40) | 57 (40 to 80) | 50% | 0.200, 95% | 90% |" in text
    assert "| a | dense | 1 | at most 10 | at most 500 | 1000 |" in text
    assert "**Controls that warn**: frozen norms of sparse (a)." in text


def test_intervals_hold_the_mean_and_shrink_with_the_spread() -> None:
    wide = interval({("0", task): math.log(value) for task, value in (("a", 1), ("b", 2), ("c", 4))})
    assert wide[0] == pytest.approx(0) and wide[1] == pytest.approx(math.log(4))
    assert interval({("0", "a"): 0.5, ("1", "a"): 0.5}) == (0.5, 0.5)
    # What a seed shares with all its tasks stays as uncertain, however many tasks there are.
    shared = {(seed, str(task)): float(seed) for seed in "01" for task in range(50)}
    assert interval(shared) == (0.0, 1.0)


def test_records_are_kept_merged_and_refused(tmp_path: Path) -> None:
    one = read(tmp_path / "one.json")
    one["networks"]["sparse_idioms_cpu"] = {"1": run(1.5, for_while=report(3))}
    save(one, tmp_path / "one")
    assert read(tmp_path / "one.json") == one and "for_while" in (tmp_path / "one.md").read_text()
    other = read(tmp_path / "other.json")
    other["networks"]["narrow_idioms_cpu"] = {"0": run(1.6, for_while=report(9))}
    other["networks"]["sparse_idioms_cpu"] = {"1": run(1.5, for_while=report(8), var_if=UNSOLVED), "0": run(1.4)}
    one["networks"]["sparse_idioms_cpu"]["1"]["tasks"]["with_as"] = report(5)
    other["networks"]["sparse_idioms_cpu"]["1"]["tasks"]["with_as"] = controlled(5, "random_nodes")
    merge(one, other)
    save(one, tmp_path / "one")
    found = json.loads((tmp_path / "one.json").read_text())["networks"]
    assert list(found) == ["sparse_idioms_cpu", "narrow_idioms_cpu"] and list(found["sparse_idioms_cpu"]) == ["0", "1"]
    assert found["sparse_idioms_cpu"]["1"]["tasks"] == {
        "with_as": controlled(5, "random_nodes"),
        "for_while": report(3),
        "var_if": UNSOLVED,
    }
    one["search"]["steps"] = 7
    save(one, tmp_path / "one")
    with pytest.raises(ValueError, match=r"one\.json were found by another search"):
        read(tmp_path / "one.json")


def test_tasks_of_a_network_are_measured_if_it_solves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "PAIRS", 4)
    model = zoo.load("sparse-idioms")
    assert isinstance(model, SparseTransformer)
    how = Pruning(steps=2, pairs=2, penalties=(1e-3,), passes=3)
    unsolved = circuits.measure(model, "var_swap", how=how)
    assert not unsolved["solved"] and unsolved["search_loss"] > how.target
    found = circuits.measure(model, "else_elif", how=how)
    assert found["solved"] and found["train"]["loss"] <= how.target
    assert found["edges"] <= found["before"]["edges"] and found["whole"]["accuracy"] == 1
    assert found["halves"]["worst_accuracy"] <= found["halves"]["accuracy"]
