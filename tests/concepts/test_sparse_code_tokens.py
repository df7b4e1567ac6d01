"""SparseCode of texts and series: a code for each token or step, and what it adds up to."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import BACKBONES, SENTENCES, SERIES, TEXTS, Examples, sparse_code
from tests.subwords import BERT, wordpiece
from zoo.concepts.layers.cells import Cells, cells_of
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.sparse_codes import CodeOptions
from zoo.concepts.layers.token_examples import TokenExamples
from zoo.data import TextTable
from zoo.domain import Domain, TextDomain
from zoo.domain.text import FIRST, PAD
from zoo.networks.base import Features
from zoo.training.cached_features import CachedFeatures
from zoo.training.projection_set import ProjectionSet

X = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])


def wordpieces() -> TextDomain:
    return replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())


@pytest.mark.parametrize("kind", ["transformer", "convnet1d", "padded", "hf", "series"])
def test_explaining_has_the_scores_of_the_black_box(kind: str) -> None:
    domain, backbone = SENTENCES, BACKBONES["text"]
    if kind == "series":
        domain, backbone = SERIES, BACKBONES["series"]
    elif kind == "hf":
        domain, backbone = wordpieces(), {"name": "hf", "config": BERT}
    elif kind == "convnet1d":
        backbone = {"name": "convnet1d", "widths": [8, 8], "kernels": [3]}
    elif kind == "padded":
        backbone = {**backbone, "pooling": "padded"}
    small = sparse_code(domain=domain, backbone=backbone, head="explaining")
    explanation = small.model.explain(small.inputs, reference="zero").check()
    with torch.no_grad():
        expected = small.model.head(small.model.backbone(small.inputs))
    torch.testing.assert_close(explanation.scores, expected, rtol=0, atol=1e-5)
    assert explanation.support is None if kind == "padded" else explanation.support.shape[2:] == domain.shape[:1]


def test_contributions_of_tokens_by_hand() -> None:
    model = sparse_code(
        domain=SENTENCES, backbone=BACKBONES["text"], code={"kind": "topk", "atoms": 6, "active": 2}
    ).model
    with torch.no_grad():
        states = model.backbone.states(X)
        atoms, words = F.normalize(model.code.weight, dim=1), X != PAD
        x = (states - model.code.mean) / model.code.scale - model.code.offset
        found = F.linear(x, model.code.encoder.weight, model.code.encoder.bias)
        codes = model.code.scale * found.relu() * (found >= found.topk(2, 2).values[..., 1:]) * words[..., None]
        per_token = codes / words.sum(1)[:, None, None]
    explanation = model.explain(X, 1, reference="zero").check()
    torch.testing.assert_close(explanation.activation, per_token.sum(1), rtol=1e-4, atol=1e-5)
    contributions = (per_token * (atoms @ model.head.weight[1])).sum(2)
    torch.testing.assert_close(explanation.attribution(), contributions, rtol=1e-4, atol=1e-5)
    assert (explanation.support.mT[~words] == 0).all()
    mean = torch.cat([states[b][words[b]] for b in range(len(X))]).mean(0)
    torch.testing.assert_close(model.code.mean, mean, rtol=1e-4, atol=1e-5)  # padding is not measured


def test_nothing_is_learned_from_padding() -> None:
    code = make_dictionary(4, CodeOptions("batch_topk", atoms=8, active=2)).train()
    features, share = torch.randn(2, 3, 4), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    found = Cells(features, share, (3,)).code(code)
    threshold = code.get_buffer("threshold").clone()
    alone = make_dictionary(4, CodeOptions("batch_topk", atoms=8, active=2)).train()
    alone.load_state_dict({**code.state_dict(), "threshold": torch.tensor(-1.0), "idle": torch.zeros(8).long()})
    rows = alone(features[share > 0])
    assert torch.equal(found.code[share > 0], rows.code) and torch.equal(found.error[share > 0], rows.error)
    assert (found.code[share == 0] == 0).all() and (found.error[share == 0] == 0).all()
    assert threshold == alone.get_buffer("threshold") and torch.equal(code.idle, alone.idle)
    still = Cells(features, share, (3,)).code(code.eval())
    assert (still.code[share == 0] == 0).all() and (still.error[share == 0] == 0).all()
    torch.testing.assert_close(Cells(features, share, (3,)).mean(features)[0], features[0, :2].mean(0))


def test_atoms_of_texts_are_named_by_their_strongest_tokens() -> None:
    shown = TokenExamples(2, 2)
    number = {word: i + FIRST for i, word in enumerate(SENTENCES.vocabulary)}
    maps = [(number["loud"], 2.0), (number["bad"], 1.0), (number["food"], 0.0)]
    shown.fill(
        ProjectionSet(Examples(X)),
        lambda x: torch.stack([sum((x == n) * v for n, v in maps[:2]), (x == maps[2][0]) * maps[2][1]], 1),
    )
    assert shown.words(0, SENTENCES) == ["loud"] and shown.words(1, SENTENCES) == []
    assert shown.examples.sources(0)[0] == {"index": 1, "cell": 1, "activation": 2.0}
    model = sparse_code(domain=SENTENCES, backbone=BACKBONES["text"]).model
    active = [unit for unit in model.units() if "words" in unit.source]
    assert active
    assert all(unit.name.endswith(f"({', '.join(unit.source['words'][:2])})") for unit in active)


def test_vectors_of_a_cache_have_no_tokens() -> None:
    model = sparse_code(domain=SENTENCES, backbone=BACKBONES["text"]).model
    with pytest.raises(ValueError, match="features of tokens or steps are"):
        cells_of(model.backbone, torch.randn(2, 8).as_subclass(Features))


@pytest.mark.parametrize("kind", ["transformer", "hf"])
def test_states_of_a_cache_give_the_scores_and_codes_of_the_texts(kind: str, tmp_path: Path) -> None:
    rows = list(zip(TEXTS, "abcab", strict=True))
    table = [f"{text},{label},{split}" for split in ("train", "val", "test") for text, label in rows]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label,split", *table]))
    backbone, options = BACKBONES["text"], {}
    if kind == "hf":
        (tmp_path / "tokenizer.json").write_text(wordpieces().tokenizer)
        backbone, options = {"name": "hf", "config": BERT}, {"tokenizer": str(tmp_path)}
    data = TextTable(str(tmp_path / "texts.csv"), length=9, batch_size=2, least=1, **options)
    data.prepare_data()
    data.setup("fit")
    model = sparse_code(domain=Domain.from_dict(data.domain), backbone=backbone, head="explaining").model
    cached = CachedFeatures(data, model, tmp_path)
    kept = cached.train_dataloader().dataset
    assert kept.maps.shape == (5, 1, 9, 8) and kept.maps.dtype == "float16"
    x = torch.stack([data.projection_dataset()[i]["input"] for i in (0, 2)])
    batch = torch.stack([item["input"] for item in kept.__getitems__([0, 2])])
    assert batch.shape == (2, int((x != PAD).sum(1).max()), 8)  # no longer than the longest of the batch
    with torch.no_grad():
        scores, evidence = model.step(batch.as_subclass(Features))
        expected = model.evidence(x)
    torch.testing.assert_close(scores, model(x), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(evidence.activation, expected.activation, rtol=2e-2, atol=2e-2)
