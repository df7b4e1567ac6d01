"""The benchmark of the spectral dictionary: its page, its n-grams and its transformer."""

import json
from math import log2

import pytest
import torch

from benchmarks import spectral
from benchmarks.intervals import half_width
from benchmarks.kneser_ney import KneserNey, counted

TEXT = [0, 1, 2, 0, 1, 3, 0, 1, 2, 4, 1, 2]


def test_the_page_has_the_numbers_of_the_record() -> None:
    record = json.loads(spectral.RECORD.read_text(encoding="utf-8"))
    written = (spectral.HERE / "SPECTRAL.md").read_text(encoding="utf-8")
    for name in spectral.NETWORKS:
        bits = [record[f"{name}, seed {seed}"]["bits"] for seed in spectral.SEEDS]
        row = next(line for line in written.splitlines() if line.startswith(f"| {name} |"))
        assert f"| {sum(bits) / 3:.3f} ± {half_width(bits):.3f} |" in row
    for name in ("Kneser-Ney of equal size", "Kneser-Ney, not pruned"):
        assert f"| {record[name]['size']:,} | {record[name]['bits']:.3f} |" in written


@pytest.mark.parametrize("cutoff", [1, 2, 9])
def test_probabilities_of_n_grams_add_up_to_one(cutoff: int) -> None:
    model = KneserNey(counted(TEXT, 3), 6, cutoff)
    for context in ((), (1,), (0, 1), (1, 2), (5, 5), (3, 0, 1)):
        assert abs(sum(model.probability(context, token) for token in range(6)) - 1) < 1e-12


def test_bigrams_by_hand() -> None:
    """Pairs: 01 and 12 three times; 20, 13, 30, 24 and 41 once, so that the discount is 5 / (5 + 0) = 1.

    Different tokens before 0, 1, 2, 3, 4: 2, 2, 1, 1, 1, so that the discount of the lower order is 3 / (3 + 2 · 2).
    """
    model = KneserNey(counted(TEXT, 2), 6)
    discount = 3 / 7
    lower = (1 - discount) / 7 + discount * 5 / 7 / 6
    assert abs(model.probability((0, 1), 2) - (2 / 4 + 2 / 4 * lower)) < 1e-12
    assert abs(model.bits([[1, 2]]) + log2(2 / 4 + 2 / 4 * lower)) < 1e-12
    assert model.size == 5 + 1 + 7 + 5  # tokens and their context, pairs and their contexts


def test_the_transformer_reads_no_later_token() -> None:
    torch.manual_seed(0)
    model = spectral.Transformer(10, 6, 8, 1, 2, 8).eval()
    x = torch.randint(10, (2, 6))
    other = x.clone()
    other[:, 4:] = 1
    torch.testing.assert_close(model(x)[:, :4], model(other)[:, :4])
