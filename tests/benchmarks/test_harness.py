"""The harness of the speed benchmarks, on ways whose times are given: no test hangs on how fast anything is."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import harness
from benchmarks.harness import Case, Goal, Reading, exponent, measure, peak_memory, read
from benchmarks.report import render
from benchmarks.speed import ON_GPU, SECTIONS, cases_of

CPU = torch.device("cpu")
Way = Callable[[], Any]


def pair(ours: Any, theirs: Any, **options: Any) -> Case:
    """Two ways, without their memory."""
    return Case("pair", {"zoo": lambda: ours, "plain": lambda: theirs}, **{"memory": False, **options})


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the seconds that each way of a case takes, by name."""

    def set_times(case: Case, **seconds: float) -> None:
        by_way = {way: seconds[name] for name, way in case.ways.items()}
        monkeypatch.setattr(harness, "_timed", lambda way, *_: by_way[way])

    return set_times


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_ways_that_find_different_numbers_are_not_timed(kind: Callable[[list[float]], Any]) -> None:
    measure(pair(kind([1.0, -4.0]), kind([1.0, -4.0001])), 0, CPU)
    with pytest.raises(
        ArithmeticError, match=r"pair: zoo and plain differ by 0\.25 of the largest value; at most 0\.1 "
    ):
        measure(pair(kind([1.0, -4.0]), kind([2.0, -4.0]), apart=0.1), 0, CPU)


def test_ways_that_find_different_things_are_timed_where_the_case_says_so() -> None:
    row = measure(pair(torch.zeros(2), torch.ones(3), apart=None), 0, CPU)
    assert row["apart"] is None and row["rounds"] >= 5


def test_whole_numbers_are_equal_or_not() -> None:
    measure(pair(torch.tensor([1000, 7]), torch.tensor([1000, 7])), 0, CPU)
    measure(pair(torch.tensor([True, False]), torch.tensor([True, False])), 0, CPU)
    with pytest.raises(ArithmeticError, match=r"differ by 0\.001 .* at most 0 is allowed"):
        measure(pair(torch.tensor([1000, 7]), torch.tensor([1000, 8]), apart=0.1), 0, CPU)
    with pytest.raises(ArithmeticError):
        measure(pair(torch.tensor([True, False]), torch.tensor([True, True]), apart=0.1), 0, CPU)


@pytest.mark.parametrize("other", [torch.inf, -torch.inf, torch.nan, 3.0])
def test_infinities_and_nan_are_equal_to_their_own_kind_alone(other: float) -> None:
    for value in (torch.inf, -torch.inf, torch.nan, 3.0):
        case = pair(torch.tensor([1.0, value]), torch.tensor([1.0, other]))
        if np.array_equal(value, other, equal_nan=True):
            measure(case, 0, CPU)
        else:
            with pytest.raises(ArithmeticError):
                measure(case, 0, CPU)


def test_lists_and_dictionaries_are_compared_thing_by_thing() -> None:
    measure(pair([torch.ones(2), [3, 0.5]], [torch.ones(2), [3, 0.5]]), 0, CPU)
    measure(pair({"a": 1.0}, {"a": 1.0}), 0, CPU)
    with pytest.raises(ArithmeticError, match="find 2 and 1 things"):
        measure(pair([1.0, 2.0], [1.0]), 0, CPU)
    with pytest.raises(ArithmeticError, match=r"shape \(2, 1\) and \(2, 3\)"):
        measure(pair(torch.ones(2, 1), torch.ones(2, 3)), 0, CPU)


def test_a_share_is_compared_with_the_start_and_its_time_multiplied(takes: Callable[..., None]) -> None:
    found = torch.arange(8.0)
    case = pair(found, found[:2], shares={"plain": 4})
    takes(case, zoo=0.5, plain=0.25)
    row = measure(case, 0, CPU)
    assert row["ways"]["plain"]["ms"] == [1000.0] * 3 and row["ratios"]["plain"] == [2.0] * 3
    with pytest.raises(ArithmeticError):
        measure(pair(found, found[6:], shares={"plain": 4}), 0, CPU)


def test_faster_is_their_time_by_ours_and_cost_the_other_way_round(takes: Callable[..., None]) -> None:
    for cost, ratio in ((False, 4.0), (True, 0.25)):
        case = pair(1.0, 1.0, cost=cost)
        takes(case, zoo=0.1, plain=0.4)
        row = measure(case, 0, CPU)
        assert row["kind"] == ("cost" if cost else "faster") and row["ratios"] == {"plain": [ratio] * 3}
        assert row["ways"]["zoo"]["ms"] == [100.0] * 3 and "met" not in row


def test_goals_are_of_the_first_other_way(takes: Callable[..., None]) -> None:
    ways: dict[str, Way] = {"slow": lambda: 1, "zoo": lambda: 1, "quick": lambda: 1}
    for goal, met in ((Goal(at_least=5), True), (Goal(at_least=6), False), (Goal(at_most=5), True)):
        case = Case("three", ways, goal=goal, missed="for a reason", memory=False)
        takes(case, slow=0.5, zoo=0.1, quick=0.01)
        row = measure(case, 0, CPU)
        assert row["met"] is met and list(row["ratios"]) == ["slow", "quick"]
        assert ("missed" in row) is not met


def test_goals_are_met_at_their_very_number() -> None:
    assert Goal(at_least=2).met(2.0) and not Goal(at_least=2).met(1.99)
    assert Goal(at_most=2).met(2.0) and not Goal(at_most=2).met(2.01)
    assert (
        not Goal(at_most=2).met(float("nan")) and str(Goal(at_least=2)) == "≥ 2" and str(Goal(at_most=1.5)) == "≤ 1.5"
    )


def test_readings_are_judged_too() -> None:
    assert read(Reading("peak", 3.5, "MiB")) == {"what": "peak", "value": 3.5, "unit": "MiB"}
    row = read(Reading("sweep", 130.0, "s", Goal(at_most=120), "a slow disk"))
    assert row["met"] is False and row["missed"] == "a slow disk" and row["goal"] == {"at_least": None, "at_most": 120}


def test_peak_memory_sees_what_lives_during_the_call() -> None:
    peak = peak_memory(lambda: torch.ones(64 << 18), CPU)  # 64 MiB
    if peak is None:
        pytest.skip("this system does not tell the peak of a process")
    assert 60 <= peak <= 80
    nothing = peak_memory(lambda: None, CPU)
    assert nothing is not None and nothing <= 16
    ways: dict[str, Way] = {"zoo": lambda: float(torch.ones(64 << 18)[0]), "plain": lambda: 1.0}
    measured = measure(Case("memory", ways), 0, CPU)["ways"]
    assert measured["zoo"]["MiB"] >= 60 > measured["plain"]["MiB"]


def test_the_exponent_of_a_power_law() -> None:
    sizes = [10, 20, 50, 400]
    assert exponent(sizes, [0.3 * n**1.7 for n in sizes]) == pytest.approx(1.7)


# The command and its page

Rows = list[Case | Reading]


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> dict[str, Rows]:
    """Two tiny sections in place of all, by name; a test puts into them what they measure."""
    rows: dict[str, Rows] = {"one": [], "two": []}
    for name in rows:
        module = ModuleType(f"benchmarks.speed.{name}", f"About section {name}.")

        def cases(device: torch.device, name: str = name) -> Iterator[Case | Reading]:
            yield from rows[name]

        module.cases = cases
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(command, "SECTIONS", tuple(rows))
    return rows


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    threads = str(torch.get_num_threads())  # so that other tests keep them
    options = ["--output", str(folder), "--seconds", "0", "--threads", threads, *given]
    monkeypatch.setattr("sys.argv", ["benchmarks", *options])
    return command.main()


def test_sections_that_are_not_measured_keep_what_they_had(
    sections: dict[str, Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sections["one"], sections["two"] = [Reading("depth", 1.0, "m")], [Reading("height", 2.0, "m")]
    assert run(tmp_path, monkeypatch, "--only", "two") == 0
    assert run(tmp_path, monkeypatch, "--only", "one") == 0
    sections["one"], sections["two"] = [Reading("depth", 3.0, "m")], [Reading("height", 4.0, "m")]
    assert run(tmp_path, monkeypatch, "--only", "one") == 0
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert list(results) == ["one", "two"]  # in the order of the list, whatever was measured first
    assert [results[name]["rows"][0]["value"] for name in results] == [3.0, 2.0]
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| depth | 3 m |" in page and "| height | 2 m |" in page and "About section two." in page
    assert "depth: 3 m" in capsys.readouterr().out


def test_a_section_that_fails_is_told_and_keeps_what_it_had(
    sections: dict[str, Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sections["one"], sections["two"] = [pair(1.0, 1.0)], [Reading("height", 2.0, "m")]
    assert run(tmp_path, monkeypatch) == 0
    before = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    sections["one"], sections["two"] = [pair(1.0, 2.0)], [Reading("height", 5.0, "m")]
    assert run(tmp_path, monkeypatch) == 1
    after = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert after["one"] == before["one"] and after["two"]["rows"][0]["value"] == 5.0
    told = capsys.readouterr().err
    assert "one failed: ArithmeticError: pair: zoo and plain differ by 1 of" in told and "not written: one" in told


def test_a_missed_goal_shows_its_reason(takes: Callable[..., None]) -> None:
    late = pair(1.0, 1.0, goal=Goal(at_least=3), missed="both wait for the disk")
    takes(late, zoo=0.1, plain=0.2)
    told = Reading("sweep", 200.0, "s", Goal(at_most=120))
    rows = [measure(late, 0, CPU), read(told), read(Reading("peak", 8.0, "MiB", Goal(at_most=9), "never shown"))]
    page = render({"one": {"about": "About.", "device": "abacus", "command": "count", "rows": rows}})
    assert "| one | pair: zoo vs. plain | ≥ 3 x, faster | 2 x (2 to 2) | **no**: both wait for the disk |" in page
    assert "| one | sweep | ≤ 120 s | 200 s | **no**: cause unknown |" in page
    assert "| one | peak | ≤ 9 MiB | 8 MiB | yes |" in page and "never shown" not in page
    assert "| pair | plain | 200 |  | 2 x (2 to 2) faster | 0.0001 |" in page and "abacus. `count`" in page


@pytest.mark.parametrize("section", [s for s in SECTIONS if find_spec(f"benchmarks.speed.{s}")])
def test_every_section_says_what_it_measures(section: str) -> None:
    assert callable(cases_of(section))
    about = import_module(f"benchmarks.speed.{section}").__doc__
    assert about and about.strip()


def test_sections_on_a_gpu_are_sections() -> None:
    assert set(ON_GPU) <= set(SECTIONS) and len(set(SECTIONS)) == len(SECTIONS)


def test_a_page_without_a_device_says_so() -> None:
    section = {"about": "About.", "device": "abacus", "command": "count", "rows": []}
    assert "no CUDA device was available" in render({"one": section})
    assert "no CUDA device was available" not in render({"one": section, "one (CUDA)": section})
