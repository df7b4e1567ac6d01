"""What benchmarks keep: measurements are not repeated, missing runs are trained, interrupted ones resume."""

import json
from pathlib import Path

import pytest

from benchmarks import faithful, forecasting, graph_nodes, graphs, grounding, policies, runs, selectors, series, text
from benchmarks.runs import HERE, Record, evaluated, ordered, read, trained


def pages_of() -> dict:
    """The page of each record that no other test compares."""
    return {
        "FORECASTING": forecasting.page,
        "GRAPH_NODES": graph_nodes.page,
        "GRAPHS": lambda found: graphs.page(ordered(found, list(graphs.WORLDS), list(graphs.CONFIGS))),
        "SELECTORS": selectors.page,
        "FAITHFUL": faithful.page,
    }


@pytest.mark.parametrize("name", pages_of())
def test_the_pages_are_those_of_the_records(name: str) -> None:
    assert (HERE / f"{name}.md").read_text(encoding="utf-8") == pages_of()[name](read(HERE / f"{name}.json"))


def test_pages_can_be_made_after_the_first_measurement() -> None:
    """Regression: the page of series failed as long as only planted evidence was measured."""
    pages = {**pages_of(), "GROUNDING": grounding.page, "POLICIES": policies.page, "SERIES": series.page}
    del pages["FAITHFUL"]  # written once, at the end
    for name, page in {**pages, "TEXT": text.page}.items():
        found = read(HERE / f"{name}.json")
        for key in (next(iter(found)), list(found)[-1]):
            assert page({key: found[key]}).startswith("# ")


def test_a_record_is_sorted_and_its_keys_are_measured_once(tmp_path: Path) -> None:
    asked = []

    def measure(value: int) -> int:
        asked.append(value)
        return value

    for _ in range(2):  # the second time, it is read from its file
        record = Record("TRIAL", " ".join, lambda found: ordered(found, ["A", "B"], ["m"]), tmp_path)
        for key, value in (("B, m, seed 0", 1), ("A, m, seed 10", 2), ("A, m, seed 9", 3)):
            record.keep(key, measure, value)
    assert asked == [1, 2, 3]
    kept = json.loads((tmp_path / "TRIAL.json").read_text())
    assert list(kept.items()) == [("A, m, seed 9", 3), ("A, m, seed 10", 2), ("B, m, seed 0", 1)]
    assert (tmp_path / "TRIAL.md").read_text() == " ".join(kept)


def test_runs_are_trained_resumed_or_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(runs, "call", lambda command, name: calls.append(command))
    folder = tmp_path / "run"
    trained(folder, "parts/senn", 3, "name", {"data.init_args.seed": "3"})
    assert calls[0][:2] == ["fit", "--config"] and "--overwrite" in calls[0]
    assert calls[0][calls[0].index("--seed_everything") + 1] == "3" and calls[0][-2:] == ["--data.init_args.seed", "3"]
    folder.mkdir()
    (folder / "last.ckpt").touch()
    trained(folder, "parts/senn", 3, "name")
    assert calls[1][calls[1].index("--ckpt_path") + 1] == "last" and "--overwrite" not in calls[1]
    (folder / "metrics.json").touch()
    assert trained(folder, "parts/senn", 3, "name") == folder and len(calls) == 2
    (folder / "faithfulness_5").mkdir()
    (folder / "faithfulness_5" / "faithfulness.json").write_text("{}")
    assert evaluated(folder, ["M2"], 5, "name") == {} and len(calls) == 2


def test_a_failing_command_says_what_it_printed() -> None:
    with pytest.raises(SystemExit, match=r"trial failed:\n.*did you mean 'fit'"):
        runs.call(["fti"], "trial")
