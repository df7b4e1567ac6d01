"""Contexts of nodes: their places are the largest of the corpus, and memory and result do not depend on the batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from tests.circuits.tokens import LENGTH, prompts, windows
from zoo.circuits import Circuit, SparseTransformer
from zoo.circuits.analysis.contexts import ALIKE, GROUPS, Contexts, contexts_path, measure_contexts
from zoo.domain.text import PAD
from zoo.training.projection_set import ProjectionSet

BEFORE, AFTER = 5, 2


@pytest.fixture(scope="module")
def corpus() -> ProjectionSet:
    """Windows of several lengths."""
    tokens, answers = prompts(60, seed=1)
    tokens[10:20, 8:] = PAD
    return ProjectionSet(TensorDataset(tokens, answers), batch_size=16)


@pytest.fixture
def contexts(model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet) -> Contexts:
    return measure_contexts(model, circuit, corpus, each=3, before=BEFORE, after=AFTER)


def every_value(model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet) -> tuple[Tensor, Tensor]:
    """Tokens (N, T), and values (N, T, n) of the nodes in the complete network."""
    tokens = torch.stack([corpus.input(i) for i in range(len(corpus))])
    trace = model.network.trace(record=True)
    with torch.no_grad():
        model.network(tokens, trace, torch.zeros(len(tokens), dtype=torch.long))
    layout = model.network.layout
    places = [layout.locate(n) for n in circuit.nodes.tolist()]
    return tokens, torch.stack([trace.values[layer, site][..., i] for layer, site, i in places], -1)


def test_the_places_are_the_extremes_of_the_corpus(
    model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet, contexts: Contexts
) -> None:
    tokens, values = every_value(model, circuit, corpus)
    real = tokens != PAD
    flat = values[real]
    torch.testing.assert_close(contexts.largest, flat.amax(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(contexts.smallest, flat.amin(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(contexts.active, (flat != 0).float().mean(0))
    assert contexts.count == int(real.sum())
    at = contexts.values[..., int(contexts.place)]
    torch.testing.assert_close(at[:, 0, 0], flat.amax(0), rtol=0, atol=1e-5)
    below = flat.amin(0) < 0
    torch.testing.assert_close(at[below, 2, 0], flat.amin(0)[below], rtol=0, atol=1e-5)
    assert not bool(contexts.tokens[~below, 2].any())  # a node that is never negative has no bottom
    for k in range(flat.shape[1]):
        other = flat[flat[:, k] != 0, k]
        if len(other) <= 96:  # then the sample has all of them
            least = (other - other.nanmedian()).abs().amin()
            assert abs(float(at[k, 1, 0] - other.nanmedian())) <= float(least) + 1e-5


def test_windows_are_of_the_corpus_and_have_its_values(
    model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet, contexts: Contexts
) -> None:
    tokens, values = every_value(model, circuit, corpus)
    padded = torch.nn.functional.pad(tokens, (BEFORE, AFTER)).unfold(1, BEFORE + 1 + AFTER, 1)  # (N, T, W)
    numbers = torch.nn.functional.pad(values, (0, 0, BEFORE, AFTER)).unfold(1, BEFORE + 1 + AFTER, 1)  # (N, T, n, W)
    seen: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    for k, g, i in contexts.tokens[..., BEFORE].nonzero().tolist():
        window = contexts.tokens[k, g, i]
        last = tuple(window[: BEFORE + 1][-ALIKE:].tolist())
        assert last not in seen.setdefault((k, g), set())
        seen[k, g].add(last)
        same = (padded == window).all(-1)
        assert bool(same.any())
        mine = (contexts.values[k, g, i] * (window != PAD)).expand(int(same.sum()), -1)
        theirs = numbers[same][:, k] * (window != PAD)
        assert float((mine - theirs).abs().amax(1).amin()) < 1e-5
    assert len(seen) > len(circuit.nodes)


def test_extremes_do_not_depend_on_the_batches(
    model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet, contexts: Contexts
) -> None:
    other = ProjectionSet(corpus.dataset, batch_size=7)
    found = measure_contexts(model, circuit, other, each=3, before=BEFORE, after=AFTER)
    at = (slice(None), [0, 2], 0, BEFORE)  # which of equal values comes first is not determined
    torch.testing.assert_close(found.values[at], contexts.values[at], rtol=0, atol=1e-5)
    assert torch.equal(found.active, contexts.active)


def test_saved_contexts_are_the_same(contexts: Contexts, tmp_path: Path) -> None:
    path = contexts_path(tmp_path / "quotes.safetensors")
    assert path.name == "quotes.contexts.safetensors"
    contexts.save(path)
    back = Contexts.load(path)
    assert torch.equal(back.tokens, contexts.tokens) and back.count == contexts.count
    torch.testing.assert_close(back.values, contexts.values, rtol=1e-3, atol=1e-3)
    assert contexts.tokens.shape[1:] == (len(GROUPS), 3, BEFORE + 1 + AFTER)


def test_wrong_files_and_circuits(
    model: SparseTransformer, circuit: Circuit, corpus: ProjectionSet, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no contexts at .*; run `train.py circuit --contexts`"):
        Contexts.load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_text("pickle")
    with pytest.raises(ValueError, match="is not a valid safetensors file"):
        Contexts.load(tmp_path / "broken.safetensors")
    circuit.save(tmp_path / "circuit")
    with pytest.raises(ValueError, match="does not contain contexts"):
        Contexts.load(tmp_path / "circuit.safetensors")
    empty = ProjectionSet(TensorDataset(torch.zeros(3, LENGTH, dtype=torch.long), torch.zeros(3)))
    with pytest.raises(ValueError, match="the corpus has no tokens"):
        measure_contexts(model, circuit, empty)
    narrow = replace(circuit, layout=replace(circuit.layout, width=16))
    with pytest.raises(ValueError, match="belongs to a network of"):
        measure_contexts(model, narrow, windows())
