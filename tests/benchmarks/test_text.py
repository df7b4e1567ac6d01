"""The page of the benchmark of texts."""

import json

import pytest

from benchmarks import runs, text
from benchmarks.runs import HERE, ROOT, ordered, read
from benchmarks.text import BLACK_BOX, EVERY, MODELS, page


def run(accuracy: float, **values: float) -> dict:
    """A measurement whose metrics have intervals of 0.1 to either side."""
    told = {key: {"value": value, "low": value - 0.1, "high": value + 0.1} for key, value in values.items()}
    return {"accuracy": accuracy, **({"rows": 50, "faithfulness": told} if told else {})}


def test_the_page_has_intervals_over_rows_of_one_seed_and_over_seeds_of_several() -> None:
    record = {f"SST-2, {BLACK_BOX}, seed {seed}": run(0.88 + 0.01 * seed) for seed in range(3)}
    record |= {f"SST-2, Sum-of-Parts, seed {seed}": run(0.87 + 0.01 * seed, M2=0.5, M6=3.0) for seed in range(3)}
    record |= {f"CEBaB, {BLACK_BOX}, seed 0": run(0.7), "CEBaB, C3M, seed 0": run(0.69, M6=4.0, M13=0.2)}
    lines = page(record).splitlines()
    assert any("blackbox_sst2_minilm.yaml) | 3 | 89.0 ± 2.5 |  |  |" in line for line in lines)
    assert any("| 3 | 88.0 ± 2.5 | -1.0 |" in line and "| 0.50 |" in line and "| 3.0 |" in line for line in lines)
    assert any(
        "| 1 | 69.0 (66." in line and " to 71.2) | -1.0 |" in line and "20.0 (10.0 to 30.0)" in line for line in lines
    )
    assert "the other columns on 50 of them" in page(record)
    assert "nan" not in page(record) and "Not measured: SST-2, attention pooling; CEBaB, CBM." in lines


def test_the_record_is_in_the_order_of_the_models() -> None:
    keys = [f"{name}, {model}, seed {seed}" for name, models in MODELS.items() for model in models for seed in (0, 1)]
    assert list(ordered(dict.fromkeys(reversed(keys)), list(MODELS), EVERY)) == keys
    assert all((ROOT / "configs" / f"{file}.yaml").is_file() for m in MODELS.values() for file in m.values())


def test_the_written_page_is_that_of_the_record() -> None:
    assert (HERE / "TEXT.md").read_text(encoding="utf-8") == page(read(HERE / "TEXT.json"))


def test_a_finished_measurement_is_read_and_not_repeated(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["text", "--seeds", "0", "--sets", "CEBaB", "--runs", str(tmp_path / "runs")])
    calls = []

    def trained(command: list[str], key: str) -> None:
        calls.append(command[0])
        folder = tmp_path / "runs" / f"{command[2].rpartition('/')[2].removesuffix('.yaml')}_seed0"
        if command[0] == "fit":
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.7, "concept_accuracy": 0.9}))
            return
        report = tmp_path / "runs" / command[command.index("--output") + 1]
        report.mkdir(parents=True)
        values = {"effective units": {"value": 2.0, "low": 1.0, "high": 3.0}}
        metrics = {"M2": {"not applicable": "no supports"}, "M6": {"values": values}}
        (report / "faithfulness.json").write_text(json.dumps({"rows": 100, "metrics": metrics}))

    monkeypatch.setattr(runs, "call", trained)
    assert text.main() == 0 and calls == ["fit", "fit", "evaluate", "fit", "evaluate"]
    assert text.main() == 0 and len(calls) == 5
    told = json.loads((tmp_path / "TEXT.json").read_text())["CEBaB, C3M, seed 0"]
    assert told == {
        "accuracy": 0.7,
        "concept_accuracy": 0.9,
        "rows": 100,
        "faithfulness": {"M6": {"value": 2.0, "low": 1.0, "high": 3.0}},
    }
