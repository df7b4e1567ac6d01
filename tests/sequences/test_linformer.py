"""Linformer against a loop over its formula, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_models import IMAGES, SENTENCES, SERIES, TEXTS
from zoo.domain.text import PAD
from zoo.sequences.linformer import Linformer


def double(domain: Any, **options: Any) -> Linformer:
    torch.manual_seed(0)
    return Linformer(domain, **{"width": 6, "mixtures": 3, "heads": 2, **options}).double().eval()


def by_hand(model: Linformer, u: Tensor, words: int) -> Tensor:
    """Scores of the token vectors u (T, D) of one input of so many words, one head and position after the other."""
    block, size = model.block, 3
    pooled = torch.zeros_like(u[0])
    for i in range(words):
        heads = []
        for h in range(2):
            part = slice(h * size, (h + 1) * size)
            query, key, value = (u @ w.weight[part].T for w in (block.query, block.key, block.value))
            keys = [sum(block.of_keys[h, t, m] * key[t] for t in range(words)) for m in range(3)]
            values = [sum(block.of_values[h, t, m] * value[t] for t in range(words)) for m in range(3)]
            powers = [torch.exp((query[i] * k).sum() / size**0.5) for k in keys]
            heads.append(sum(p * v for p, v in zip(powers, values, strict=True)) / sum(powers))
        pooled += (u[i] + block.out(torch.cat(heads))) / words
    return model.head(pooled)


@torch.no_grad()
def test_scores_are_those_of_the_formula_and_contributions_those_of_the_matrix() -> None:
    model = double(SENTENCES)
    x = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])
    u = model.reader(x)
    told = model.evidence(x)
    scores = model.readout(told)
    for row, words in enumerate((x != PAD).sum(1).tolist()):
        torch.testing.assert_close(scores[row], by_hand(model, u[:, row], words), rtol=1e-10, atol=1e-10)
    for target in range(3):
        through = model.effective_attention(x, target)
        torch.testing.assert_close(through.sum(1), told.state["unit_logits"][:, :-1, target])
    attention = model.effective_attention(x)
    assert attention.shape == (5, 2, 7, 7) and float(attention.min()) < 0 and not attention[2, :, :, 1:].any()
    held = model.block.observe(u, model.reader.here(x))
    torch.testing.assert_close(held.push(), torch.einsum("ikbe,kbe->ibe", held.matrix(), held.values))


@torch.no_grad()
def test_a_series_has_terms_of_variables_and_a_bias_path() -> None:
    model = double(SERIES, elements={"patch": 4})
    x = torch.zeros(1, 11, 2, dtype=torch.double)
    told = model.explain(x)
    assert not told.contributions[:, :-1].any() and bool(told.contributions[:, -1].abs() > 0)  # pyright: ignore
    x = torch.randn(2, 11, 2, dtype=torch.double)
    torch.testing.assert_close(model.step(x)[0][0].double(), by_hand(model, model.reader(x)[:, 0], 11))


def test_other_inputs_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="Linformer reads text, series, audio; got a domain of images"):
        Linformer(IMAGES)
    with pytest.raises(ValueError, match="width must be a multiple of heads; got 6 and 4"):
        Linformer(SERIES, width=6)
    with pytest.raises(ValueError, match="mixtures must be at least 1; got 0"):
        Linformer(SERIES, mixtures=0)
