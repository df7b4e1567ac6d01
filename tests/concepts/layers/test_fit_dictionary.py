"""Training on feature vectors of a file: what is read, that memory does not grow, and what is found."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness import peak_memory
from tests.concepts.layers.test_sparse_codes import planted
from zoo.concepts import fit_dictionary
from zoo.concepts.layers import row_files
from zoo.concepts.layers.row_files import RowFile
from zoo.concepts.layers.row_sample import Sample
from zoo.metrics import atom_stability, matched_cosines

OPTIONS = {"atoms": 20, "active": 3}


def test_a_file_is_read_as_it_is_and_each_row_once_in_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "BLOCK", 16)
    monkeypatch.setattr(row_files, "POOL", 4 * 2 * 16 * 3)
    rows = np.arange(202, dtype=np.float16).reshape(101, 2)
    np.save(tmp_path / "a.npy", rows)
    for source in (tmp_path / "a.npy", torch.from_numpy(rows)):
        file = RowFile(source)
        assert (len(file), file.channels) == (101, 2)
        assert torch.equal(torch.cat(list(file.blocks())), torch.from_numpy(rows).float())
        order = file.shuffled(10, torch.Generator().manual_seed(0))
        seen = torch.cat([next(order) for _ in range(20)])  # the rest of a round begins the next batch
        first, again = seen[:101, 0], seen[101:, 0]
        assert sorted(first.tolist()) == rows[:, 0].tolist()
        assert len(set(again.tolist())) == 99 and first[:99].tolist() != again.tolist()


def test_memory_does_not_grow_with_the_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "POOL", 2**20)
    peaks = []
    for count in (5_000, 400_000):  # 0.6 and 51 MB in fp32
        np.save(tmp_path / "a.npy", np.ones((count, 32), np.float16))
        options = {"atoms": 8, "active": 1, "archetypes": 4}
        peaks.append(peak_memory(lambda o=options: fit_dictionary(tmp_path / "a.npy", o, steps=3), torch.device("cpu")))
    if None in peaks:
        pytest.skip("the system does not report peak memory")
    assert peaks[1] < peaks[0] + 16, peaks


@pytest.mark.parametrize("code", [OPTIONS, {**OPTIONS, "kind": "batch_topk"}])
def test_planted_atoms_are_found(tmp_path: Path, code: dict) -> None:
    features, _, atoms = planted(4096)
    np.save(tmp_path / "a.npy", features.numpy())
    steps: list[int] = []
    made = fit_dictionary(
        tmp_path / "a.npy", code, steps=400, batch=128, lr=1e-2, report=lambda step, error: steps.append(step)
    )
    assert steps == list(range(1, 401)) and not made.training
    assert matched_cosines(made.atoms, atoms).mean() >= 0.85
    again = fit_dictionary(features, code, steps=400, batch=128, lr=1e-2)
    assert torch.equal(again.weight, made.weight)


def test_archetypal_atoms_are_stable() -> None:
    features, _, _ = planted(2048)
    found = {
        count: [
            fit_dictionary(features, {**OPTIONS, "archetypes": count}, steps=60, batch=128, seed=seed).atoms
            for seed in (0, 1)
        ]
        for count in (0, 40)
    }
    assert atom_stability(found[40]) > 0.95 > atom_stability(found[0])


def test_stability_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    # The first atom of both is nearest to the second of the other; one to one, [2, 0] gets [1, 1].
    torch.testing.assert_close(matched_cosines(first, second), torch.tensor([0.5**0.5, 1.0]).double())
    assert atom_stability([first, second, first]) == pytest.approx(((0.5**0.5 + 1) / 2 * 2 + 1) / 3)
    with pytest.raises(ValueError, match="at least 2 dictionaries; got 1"):
        atom_stability([first])
    with pytest.raises(ValueError, match=r"expected atoms \(m, d\) and \(n, d\); got \(2, 2\) and \(3, 4\)"):
        matched_cosines(first, torch.zeros(3, 4))


def test_a_sample_is_uniform_and_without_replacement() -> None:
    counts = torch.zeros(60)
    for seed in range(200):
        sample = Sample(10, seed)
        batches = [b[:, None] for b in torch.arange(60.0).split(7)]
        assert len(list(sample.watch(batches))) == 9
        chosen = sample.rows[:, 0].long()
        assert len(set(chosen.tolist())) == 10
        counts[chosen] += 1
    assert counts.min() > 12 and counts.max() < 60  # 33 expected
    with pytest.raises(ValueError, match="the training set is empty"):
        _ = Sample(3).rows


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    with pytest.raises(FileNotFoundError):
        RowFile(file)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not a file of NumPy"):
        RowFile(file)
    for wrong in (np.zeros((3, 2), np.int64), np.zeros(5, np.float32), np.zeros((3, 2), np.float32, order="F")):
        np.save(file, wrong)
        with pytest.raises(ValueError, match=r"must hold vectors \(N, d\) of float16 or float32, row by row"):
            RowFile(file)
    np.save(file, np.zeros((30, 2), np.float32))
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="cut off: 8 bytes are missing"):
        RowFile(file)
    with pytest.raises(ValueError, match="leave source out"):
        fit_dictionary(torch.zeros(4, 2), {"source": "somewhere"})
