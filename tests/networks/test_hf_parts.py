"""First layers of a text encoder, and embeddings of some of its pieces."""

import json
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.hostile import no_network
from tests.subwords import BERT, SPECIAL, tiny_bert, tiny_classifier, transformers, wordpiece
from zoo.checkpoints.rounding import rounded_model, weights_of
from zoo.checkpoints.tensor_files import describe
from zoo.domain import TextDomain, seen_pieces
from zoo.networks.encoders import create_encoder
from zoo.networks.hf_classifier import read_classifier

TEXTS = ("good food !", "the place was loud . good food", "bad")
SIZES = {key: value for key, value in BERT.items() if key != "model_type"}


def domain(tokenizer: str = "") -> TextDomain:
    return TextDomain(classes=("a", "b"), tokenizer=tokenizer or wordpiece(), length=10)


SOME = domain(seen_pieces(wordpiece(), TEXTS))


def batch(domain: TextDomain) -> Tensor:
    return torch.stack([domain.preprocess(text) for text in TEXTS])


def encoder(folder: Path, on: TextDomain, **options: Any) -> Any:
    return create_encoder({"name": "hf", "model": str(folder), **options}, on).eval()


def folder_of(kind: str, folder: Path, **sizes: Any) -> Path:
    library = transformers()
    library.AutoModel.from_config(library.AutoConfig.for_model(kind, **{**SIZES, **sizes})).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(wordpiece(), encoding="utf-8")
    return folder


@torch.no_grad()
def test_states_are_those_of_the_whole_network_where_all_pieces_stay(tmp_path: Path) -> None:
    whole, some = encoder(tiny_bert(tmp_path), domain()), encoder(tmp_path, SOME)
    assert len(SOME.subwords.pieces) == len(SPECIAL) + 10 < len(domain().subwords.pieces)
    assert not torch.equal(batch(SOME), batch(domain()))  # numbers differ
    assert torch.equal(some.states(batch(SOME)), whole.states(batch(domain())))
    own, theirs = (e.network.get_input_embeddings().weight for e in (some, whole))
    for number, piece in enumerate(SOME.subwords.pieces):
        assert torch.equal(own[number], theirs[domain().subwords.pieces.index(piece)]), piece


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert"])
def test_the_first_layers_give_the_states_between_the_layers(kind: str, tmp_path: Path) -> None:
    special = {f"{name}_token_id": i for name, i in (("pad", 0), ("bos", 2), ("cls", 2), ("eos", 3), ("sep", 3))}
    sizes: dict[str, dict[str, int]] = {
        "bert": {"num_hidden_layers": 3},
        "distilbert": {"dim": 8, "n_layers": 3, "n_heads": 2, "hidden_dim": 16},
        "modernbert": {"num_hidden_layers": 3, **special},
    }
    folder_of(kind, tmp_path, **sizes[kind])
    whole, one = encoder(tmp_path, domain()), encoder(tmp_path, domain(), layers=1)
    inputs, _ = whole.inputs(batch(domain()))
    between = whole.network(**inputs, output_hidden_states=True).hidden_states[1]
    if kind == "modernbert":  # which has a norm behind its last layer
        between = whole.network.final_norm(between)
    own, _ = one.inputs(batch(domain()))
    there = inputs["attention_mask"].bool()
    torch.testing.assert_close(one.network(**own).last_hidden_state[there], between[there])
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in whole.parameters())
    again = create_encoder({key: value for key, value in one.spec.items() if key != "model"}, domain()).eval()
    again.load_state_dict(one.state_dict())
    assert torch.equal(again(batch(domain())), one(batch(domain())))


@pytest.mark.parametrize("tune", [0, 1])
@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_checkpoint_holds_what_it_needs(
    tune: int, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor a network; the layers and pieces that are left out are not stored."""
    backbone = {"name": "hf", "model": str(tiny_bert(tmp_path / "bert")), "layers": 1, "tune": tune}
    model = zoo.create_model("attention_pool", domain=SOME, backbone=backbone).eval()
    saved = zoo.save(model, tmp_path / "checkpoint", storage=storage)
    rmtree(tmp_path / "bert")
    no_network(monkeypatch)
    loaded, x = zoo.load(saved), batch(SOME)
    assert torch.equal(loaded(x), rounded_model(model, storage)(x))
    held = describe(saved / "model.safetensors")
    embedding = next(tensor for name, tensor in held.items() if "word_embeddings" in name)
    assert tuple(embedding.shape) == (len(SOME.subwords.pieces), 8) and not any("layer.1." in name for name in held)
    again = zoo.load(zoo.save(loaded, tmp_path / "again"))
    assert torch.equal(again(x), loaded(x))


def test_fixed_layers_are_rounded_with_the_others(tmp_path: Path) -> None:
    """They are buffers, since no stage trains them, and weights all the same."""
    backbone = {"name": "hf", "model": str(tiny_bert(tmp_path)), "tune": 1}
    model = zoo.create_model("c3m", domain=aspects(), backbone=backbone)
    fixed = weights_of(model) - dict(model.named_parameters()).keys()
    assert "backbone.network.embeddings.word_embeddings.weight" in fixed
    assert not weights_of(model) & {"backbone.before", "backbone.after"}


def aspects() -> TextDomain:
    names = ("food: good", "food: bad")
    return TextDomain(
        classes=("a", "b"),
        concepts=names,
        concept_groups={"food": names},
        exclusive=("food",),
        tokenizer=wordpiece(),
        length=10,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "layers must be 1 to 2, the number that the network has, or 0 for all; got 3"),
        ({"layers": -1}, "layers must be 1 to 2, the number that the network has, or 0 for all; got -1"),
        ({"layers": 1, "tune": 2}, r"cannot tune the last 2 layers of BertModel: it has 1 layers of their own"),
        (
            {"config": {**BERT, "num_hidden_layers": 5}},
            r"the first 5 layers of BertModel cannot be used: it has 2\. Use",
        ),
    ],
)
def test_layers_that_there_are_not(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(tiny_bert(tmp_path), domain(), **options)


def test_layers_that_share_their_weights(tmp_path: Path) -> None:
    folder_of("albert", tmp_path, embedding_size=8, num_hidden_layers=3)
    with pytest.raises(
        ValueError, match=r"first 2 layers of AlbertModel cannot be used: its layers share their weights"
    ):
        encoder(tmp_path, domain(), layers=2)


def test_pieces_that_are_not_those_of_the_network(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    other = json.loads(SOME.tokenizer)
    other["model"]["vocab"]["fine"] = other["model"]["vocab"].pop("food")
    with pytest.raises(
        ValueError, match=r"has 1 pieces that the one of .* does not have \(first: 'fine'\); give the da"
    ):
        encoder(folder, domain(json.dumps(other)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 17}))
    with pytest.raises(
        ValueError, match=r"the network pads with piece 17 \('was'\), which this tokenizer does not have"
    ):
        encoder(folder, SOME)


def test_a_network_may_have_more_rows_than_its_tokenizer_has_pieces(tmp_path: Path) -> None:
    """As some round their number up: the pieces have the first rows."""
    folder_of("bert", tmp_path, vocab_size=24)
    assert encoder(tmp_path, domain()).network.get_input_embeddings().weight.shape == (24, 8)
    assert encoder(tmp_path, SOME).network.get_input_embeddings().weight.shape == (len(SOME.subwords.pieces), 8)


def test_a_classifier_keeps_all_pieces(tmp_path: Path) -> None:
    tiny_classifier(tmp_path)
    (tmp_path / "tokenizer.json").write_text(wordpiece(), encoding="utf-8")
    assert read_classifier(str(tmp_path), domain()).scores(batch(domain())).shape == (3, 2)
    with pytest.raises(ValueError, match=r"the data have some of the pieces of the tokenizer of .*; give them pi"):
        read_classifier(str(tmp_path), SOME)
