"""Drift of reasons: planted drift is found, and without any there are few alarms."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from tests.views.test_text import of_terms
from zoo.audit.drift import benjamini_hochberg, drift_between, measure_drift, stability_index
from zoo.audit.explained_period import Period, read_period
from zoo.cli.main import main

OPTIONS = {"checkpoint": "abc", "target": "None", "top": "3"}


def period(generator: np.random.Generator, count: int, shift: dict[int, float], units: int = 20) -> Period:
    """Explanations that list each unit with probability 0.6, with normal contributions."""
    usage = {}
    for k in range(units):
        listed = int(generator.binomial(count, 0.6))
        usage[f"unit {k}"] = (generator.normal(size=listed) + shift.get(k, 0.0)).tolist()
    answers = generator.multinomial(count, [0.5, 0.3, 0.2])
    named = dict(zip("abc", answers.tolist(), strict=True))
    return Period(Path("x"), OPTIONS, count, named, generator.normal(size=count), usage)


def test_planted_drift_is_found_and_nothing_else_much() -> None:
    generator = np.random.default_rng(0)
    alarms, false = 0, 0
    for _ in range(8):
        found = drift_between(period(generator, 300, {}), period(generator, 300, {3: 1.0, 7: -1.0}))
        names = {change.name for change in found.drifted}
        assert {"unit 3", "unit 7"} <= names
        assert all(change.stability > 0.1 for change in found.changes if change.name in ("unit 3", "unit 7"))
        alarms, false = alarms + len(names), false + len(names - {"unit 3", "unit 7"})
    assert false / alarms <= 0.15  # expected: 0.05; about 17 alarms


def test_without_drift_alarms_stay_within_the_rate() -> None:
    """All hypotheses are true, so the false discovery rate is the share of comparisons with any alarm."""
    generator = np.random.default_rng(1)
    trials = 100
    alarmed = sum(
        bool(drift_between(period(generator, 60, {}, 5), period(generator, 80, {}, 5), rate=0.1).drifted)
        for _ in range(trials)
    )
    assert alarmed / trials <= 0.1 + 2 * (0.1 * 0.9 / trials) ** 0.5


def test_a_unit_that_is_used_no_more_and_another_mix_of_classes() -> None:
    generator = np.random.default_rng(2)
    old, new = period(generator, 400, {}), period(generator, 400, {})
    new.usage.pop("unit 5")
    new.answers.update(a=20, b=360, c=20)
    found = drift_between(old, new)
    gone = next(change for change in found.changes if change.name == "unit 5")
    assert gone.drifted and gone.listed_after == gone.after == 0 < gone.listed_before
    answers = next(change for change in found.changes if change.kind == "answer")
    assert answers.drifted and answers.stability > 0.25
    assert found.changes[0].p <= found.changes[-1].p and found.rate == 0.05


def test_adjusted_p_values_are_those_of_scipy() -> None:
    generator = np.random.default_rng(3)
    for count in (1, 2, 7, 50):
        p = generator.uniform(size=count) ** 2
        assert benjamini_hochberg(p.tolist()) == pytest.approx(false_discovery_control(p).tolist())
    assert benjamini_hochberg([]) == [] and benjamini_hochberg([0.02, 0.02]) == [0.02, 0.02]


def test_stability_index_by_hand() -> None:
    old, new = np.array([0.0] * 6 + [1.0] * 2), np.array([0.0] * 2 + [1.0] * 6)
    p, q = np.array([6.5, 2.5, 0.5]) / 9.5, np.array([2.5, 6.5, 0.5]) / 9.5  # up to 0, up to 1, above; 0.5 is added
    index, first, second = stability_index(old, new)
    assert (first.tolist(), second.tolist()) == (pytest.approx(p.tolist()), pytest.approx(q.tolist()))
    assert index == pytest.approx(2 * (4 / 9.5) * np.log(6.5 / 2.5))
    assert stability_index(old, old)[0] == 0 and stability_index(np.zeros(9), np.zeros(9))[0] == 0
    assert stability_index(np.zeros(30), np.ones(30))[0] > 1


def lines(count: int, shift: float, seed: int, options: dict | None = None) -> str:
    """What `train.py explain` would write."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        one = of_terms((generator.normal(size=4) + np.array([shift, 0, 0, 0])).round(3).tolist(), 0.5)
        rows.append({"input": f"{i}.png", **one.to_dict(top=3)[0], "options": options or OPTIONS})
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    (folder / "old.jsonl").write_text(lines(80, 0.0, 1))
    (folder / "same.jsonl").write_text(lines(60, 0.0, 2))
    (folder / "new.jsonl").write_text(lines(60, 2.5, 3))
    (folder / "few.jsonl").write_text(lines(3, 0.0, 4))
    (folder / "model.jsonl").write_text(lines(30, 0.0, 4, {**OPTIONS, "checkpoint": "def"}))
    (folder / "top.jsonl").write_text(lines(30, 0.0, 4, {**OPTIONS, "top": "8"}))
    (folder / "mixed.jsonl").write_text(lines(30, 0.0, 4) + lines(1, 0.0, 4, {**OPTIONS, "top": "8"}))
    (folder / "bad.jsonl").write_text('{"target": "a"}\n')
    (folder / "nan.jsonl").write_text(lines(1, 0.0, 4).replace('"score": ', '"score": NaN, "x": '))
    (folder / "empty.jsonl").write_text("")
    return folder


def test_a_period_is_read_as_it_was_written(files: Path) -> None:
    found = read_period(files / "old.jsonl")
    rows = [json.loads(line) for line in (files / "old.jsonl").read_text().splitlines()]
    assert found.count == 80 and found.scores.tolist() == [row["score"] for row in rows]
    listed = [t["contribution"] for row in rows for t in row["evidence"] if t["unit"] == "thing 2"]
    values = found.values("thing 2")
    assert len(values) == 80 and values.sum() == pytest.approx(sum(listed)) and (values != 0).sum() == len(listed)
    assert found.values("no unit").tolist() == [0.0] * 80
    assert sum(found.answers.values()) == 80


def test_the_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = ["monitor", str(files / "old.jsonl")]
    out = ["--output", str(tmp_path), "--max-drift", "0"]
    assert main([*run, str(files / "same.jsonl"), *out]) == 0
    assert "0 of 5 quantities drifted between 80 and 60 explanations" in capsys.readouterr().out
    assert main([*run, str(files / "new.jsonl"), *out]) == 1
    told = capsys.readouterr()
    assert "thing 0: stability index" in told.out and "quantities drifted; allowed: 0" in told.err
    rows = list(csv.DictReader((tmp_path / "drift.csv").read_text().splitlines()))
    assert rows[0]["name"] == "thing 0" and rows[0]["drifted"] == "True" and len(rows) == 5
    page = (tmp_path / "drift.html").read_text()
    assert "thing 0" in page and page.count("<svg") == 5 and "<script" not in page
    assert main([*run, str(files / "new.jsonl"), "--output", str(tmp_path), "--rate", "1"]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("few", "few.jsonl has 3 explanations; drift is measured on 20 or more"),
        ("model", "are of different models.*train.py diff"),
        ("top", r"other options \(top: 3 and 8\)"),
        ("mixed", "mixed.jsonl line 31 has other options than the first"),
        ("bad", "bad.jsonl line 1 is not an explanation .KeyError"),
        ("nan", "NaN is not a number"),
        ("empty", "empty.jsonl has no explanations"),
    ],
)
def test_what_cannot_be_compared_is_told(files: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_drift(files / "old.jsonl", files / f"{name}.jsonl")


def test_a_class_or_a_rate_that_does_not_exist(files: Path) -> None:
    with pytest.raises(ValueError, match="has no explanations of 'square'"):
        measure_drift(files / "old.jsonl", files / "same.jsonl", target="square")
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\]; got 2"):
        measure_drift(files / "old.jsonl", files / "same.jsonl", rate=2)
    with pytest.raises(FileNotFoundError, match=r"no explanations\.jsonl at"):
        measure_drift(files / "none.jsonl", files / "same.jsonl")
