"""What the benchmark of sparse codes measures, on a code that is known by hand."""

import pytest
import torch

from benchmarks import codes
from benchmarks.speed.codes import write_vectors
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.row_files import RowFile
from zoo.concepts.layers.sparse_codes import CodeOptions


def test_a_complete_code_loses_nothing_and_its_atoms_are_pure() -> None:
    draw = torch.Generator().manual_seed(0)
    code = make_dictionary(4, CodeOptions(kind="topk", atoms=5, active=4)).eval()
    with torch.no_grad():
        code.weight.copy_(torch.eye(5, 4))
        code.weight[4] = -1  # never in use: no feature is below 0
        code.encoder.weight.copy_(code.weight)
    features = torch.zeros(100, 64, 4)
    places = torch.randint(64, (100, 4), generator=draw)  # the cell where each of four parts is
    features[torch.arange(100)[:, None], places, torch.arange(4)] = torch.rand(100, 4, generator=draw) + 0.5
    target = torch.arange(100) % 3
    parts = (torch.stack([places % 8, places // 8], 2) + 0.5) / 8
    weight = torch.randn(3, 4, generator=draw)
    cells = {
        "test": features,
        "train": features,
        "test target": target,
        "train target": target,
        "weight": weight,
        "bias": torch.zeros(3),
        "parts": parts,
    }
    found, used = codes.measure(code, cells)
    assert used.tolist() == [True] * 4 + [False] and found["dead"] == pytest.approx(0.2)
    assert found["r2"] == pytest.approx(1) and found["residual"] == pytest.approx(0, abs=1e-5)
    predicted = (features.mean(1) @ weight.T).argmax(1)
    assert found["agreement"] == 1 and found["replacing"] == codes.share(predicted == target)
    assert found["active"] == pytest.approx(float((features > 0).sum(2).float().mean()))
    assert found["purity"] == 1 and found["chance"] < 0.8
    with torch.no_grad():
        code.encoder.weight[3] = 0  # the fourth channel is lost
    shares = []
    for image in features.mean(1):
        first, second = (image @ weight.T).topk(2).indices
        lead = image * (weight[first] - weight[second])  # one atom is one channel
        shares.append(float(lead[3].abs() / lead.abs().sum()))
    assert codes.measure(code, cells)[0]["residual"] == pytest.approx(sum(shares) / 100, rel=1e-4)


def test_middles_of_parts() -> None:
    masks = torch.zeros(1, 2, 4, 8, dtype=torch.bool)
    masks[0, 0, 1, 2:4] = True
    found = codes.middles(masks)
    assert found[0, 0].tolist() == [3 / 8, 1.5 / 4] and found[0, 1].isnan().all()


def test_the_page_gives_means_over_seeds() -> None:
    run = dict.fromkeys(codes.COLUMNS, 0.25)
    runs = [run, {**run, "dead": 0.75, "active": 0.75}]
    record = {"black box": 0.971, "seeds": [0, 1], "steps": 1000, "codes": {"TopK": runs, "L1": [{"r2": 0.5}]}}
    text = codes.page(record)
    assert "| TopK | 0.250 | 0.5 | 50.0% | 25.0% |" in text and "| L1 | 0.500 | – |" in text
    assert "The black box: 97.1%. Seeds 0, 1; 1,000 steps" in text


def test_files_of_the_speed_benchmark(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.codes.REPEATED", 30)
    file = RowFile(write_vectors(tmp_path / "a.npy", 70))
    assert (len(file), file.channels) == (70, 64)
    rows = next(file.blocks())
    assert torch.equal(rows[:30], rows[30:60]) and torch.equal(rows[:10], rows[60:])
