"""Text encoders of Hugging Face: pooling by hand, padding, checkpoints without the hub, and what is refused."""

import json
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import zoo
from tests.hostile import Touch, no_network
from tests.subwords import BERT, bytelevel, tiny_bert, wordpiece
from tests.toy import fit
from zoo.checkpoints.config_file import read_config
from zoo.cli.main import main
from zoo.data import TextTable
from zoo.domain import Domain, TextDomain
from zoo.networks.encoders import create_encoder
from zoo.networks.weights import without_weights

TEXTS = ("good unbelievable food !", "bad", "the place was loud . good pizza")


def texts(length: int = 10, tokenizer: str = "") -> TextDomain:
    return TextDomain(classes=("a", "b"), tokenizer=tokenizer or wordpiece(), length=length)


def batch(domain: TextDomain) -> Tensor:
    return torch.stack([domain.preprocess(text) for text in TEXTS])


def encoder(domain: TextDomain, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_encoder({"name": "hf", "config": BERT, **options}, domain).eval()


@pytest.mark.parametrize("pooling", ["masked", "padded"])
def test_the_network_reads_what_its_own_tokenizer_gives(pooling: str) -> None:
    """Against the library's own path: numbers with special tokens and padding, attention mask, mean."""
    domain = texts()
    ours = encoder(domain, pooling=pooling)
    own = domain.subwords.tokenizer
    for text, x in zip(TEXTS, batch(domain), strict=True):
        ids = torch.tensor([own.encode(text).ids])
        there = torch.ones_like(ids)
        room = 12 - ids.shape[1]
        ids, there = (torch.cat([t, torch.zeros(1, room, dtype=torch.long)], 1) for t in (ids, there))
        with torch.no_grad():
            h = ours.network(input_ids=ids, attention_mask=there).last_hidden_state
            expected = h.mean(1) if pooling == "padded" else h[:, 1 : 11 - room].mean(1)
            torch.testing.assert_close(ours(x[None]), expected)


def test_padding_changes_nothing_where_it_is_masked() -> None:
    short, long = texts(8), texts(13)
    with torch.no_grad():
        torch.testing.assert_close(encoder(short)(batch(short)), encoder(long)(batch(long)))
        differs = encoder(short, pooling="padded")(batch(short)) - encoder(long, pooling="padded")(batch(long))
    assert differs.abs().max() > 1e-3


def test_a_network_whose_padding_has_another_number() -> None:
    domain = texts(9, bytelevel())
    config = {**BERT, "model_type": "roberta", "vocab_size": domain.size, "pad_token_id": 1}
    found = encoder(domain, config=config)
    x = torch.stack([domain.preprocess(text) for text in ("good", "good bad")])
    with torch.no_grad():
        expected = (
            found.network(torch.tensor([[0, *domain.subwords.encode("good"), 2]])).last_hidden_state[:, 1:-1].mean(1)
        )
        torch.testing.assert_close(found(x)[:1], expected)


@pytest.mark.parametrize("kind", ["distilbert", "gpt2", "electra"])
def test_networks_of_other_kinds(kind: str) -> None:
    sizes = {
        "distilbert": {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
        "gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 2},
    }
    domain = texts()
    found = encoder(
        domain, config={"model_type": kind, "vocab_size": 18, **sizes.get(kind, {**BERT, "model_type": kind})}
    )
    with torch.no_grad():
        assert found(batch(domain)).shape == (3, found.channels) == (3, 8)
        torch.testing.assert_close(found(batch(domain))[1:2], found(batch(domain)[1:2]))


def test_weights_come_from_the_folder(tmp_path: Path) -> None:
    domain, folder = texts(), tiny_bert(tmp_path)
    first, second = (create_encoder({"name": "hf", "model": str(folder)}, domain).eval() for _ in range(2))
    with torch.no_grad():
        assert torch.equal(first(batch(domain)), second(batch(domain)))
        blank = create_encoder(without_weights(first.spec), domain).eval()
        assert not torch.allclose(blank(batch(domain)), first(batch(domain)))


def test_a_checkpoint_needs_neither_the_hub_nor_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aspects = {"concepts": ("food: good", "food: bad"), "concept_groups": {"food": ("food: good", "food: bad")}}
    domain = TextDomain(classes=("a", "b"), **aspects, exclusive=("food",), tokenizer=texts().tokenizer, length=10)
    folder = tiny_bert(tmp_path / "bert")
    model = zoo.create_model("c3m", domain=domain, backbone={"name": "hf", "model": str(folder)}).eval()
    saved = zoo.save(model, tmp_path / "checkpoint")
    kept = read_config(saved)["arguments"]["backbone"]
    assert kept["model"] == str(folder) and kept["config"]["hidden_size"] == 8 and kept["pooling"] == "masked"
    rmtree(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = zoo.load(saved)
    x = loaded.domain.preprocess("unbelievable food")[None]
    assert torch.equal(loaded.explain(x).scores, model.explain(x).scores)
    again = zoo.load(zoo.save(loaded, tmp_path / "again"))
    assert torch.equal(again.explain(x).scores, model.explain(x).scores)


def test_a_table_of_texts_is_learned(tmp_path: Path) -> None:
    """Whether the food is good, through a tokenizer read from a folder; the network itself learns too."""
    folder = tiny_bert(tmp_path)
    table = tmp_path / "t.csv"
    rows = [
        f"the {'good' if i % 2 else 'bad'} food {'!' * (i % 3)},{'pn'[i % 2 == 0]},{'yes' if i % 2 else 'no'}"
        for i in range(60)
    ]
    table.write_text("text,label,tasty\n" + "\n".join(rows) + "\n", encoding="utf-8")
    data = TextTable(str(table), concepts=["tasty"], length=8, batch_size=10, tokenizer=str(folder))
    assert isinstance(domain := Domain.from_dict(data.domain), TextDomain) and domain.tokenizer == wordpiece()
    backbone = {"name": "hf", "model": str(folder)}
    stages = [{"name": "joint", "epochs": 8, "train": ["backbone", "concepts", "head"]}]
    model = zoo.create_model("c3m", domain=data.domain, backbone=backbone, recipe={"stages": stages, "lr": 0.01})
    before = model.backbone.network.embeddings.word_embeddings.weight.clone()
    trainer = fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] == 1
    assert not torch.equal(model.backbone.network.embeddings.word_embeddings.weight, before)


def test_from_a_config_to_a_page(tmp_path: Path) -> None:
    """The tokenizer reaches the checkpoint as it is, and the page has whole words, once the folder is gone."""
    folder = tiny_bert(tmp_path / "bert")
    rows = [f"the {('bad', 'good')[i % 2]} food,{'np'[i % 2]},{('no', 'yes')[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("text,label,tasty\n" + "\n".join(rows) + "\n", encoding="utf-8")
    stages = [{"name": "joint", "epochs": 1, "train": ["backbone", "concepts", "head"]}]
    settings = {"path": str(tmp_path / "t.csv"), "concepts": ["tasty"], "length": 8, "tokenizer": str(folder)}
    config = {
        "model": {
            "class_path": "C3M",
            "init_args": {"backbone": {"name": "hf", "model": str(folder)}, "recipe": {"stages": stages}},
        },
        "data": {"class_path": "TextTable", "init_args": settings},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]) == 0
    rmtree(folder)
    command = ["explain", "--checkpoint", str(tmp_path / "run/checkpoint"), "--input", "Unbelievable food!"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    assert read_config(tmp_path / "run/checkpoint")["arguments"]["domain"]["tokenizer"] == wordpiece()
    assert "Unbelievable" in (tmp_path / "out" / "text.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "length", "message"),
    [
        ({"pooling": "max"}, 10, "pooling must be one of masked, padded, first; got 'max'"),
        ({"config": None}, 10, "the backbone 'hf' needs a model, such as bert-base-uncased or a folder; got none"),
        (
            {"config": {"model_type": "bert", "attn_implementation": "me/kernel"}},
            10,
            r"config has attn_implementation: me/kernel, by which transformers could .* run code",
        ),
        (
            {"config": {"model_type": "bert", "text": {"_attn_implementation": "me/k"}}},
            10,
            "_attn_implementation: me/k",
        ),
        (
            {"config": {"model_type": "bertt"}},
            10,
            "config must have the model_type of a text encoder; got 'bertt'; did you mean 'bert'",
        ),
        ({"config": {}}, 10, "config must have the model_type of a text encoder; got None"),
        ({"config": {"model_type": "t5"}}, 10, "must have the model_type of a text encoder; got 't5'; there are: alb"),
        ({"config": {**BERT, "is_encoder_decoder": True}}, 10, "config has an encoder and a decoder; choose an enc"),
        ({"config": {**BERT, "hidden_size": "wide"}}, 10, r"config is not valid \(.*hidden_size"),
        ({"config": {**BERT, "num_hidden_layers": 2**31}}, 10, "config has num_hidden_layers: 2147483648, by which"),
        (
            {"config": {**BERT, "vocab_size": 5}},
            10,
            "the tokenizer has 18 pieces, the network knows 5; give the data the",
        ),
        ({}, 15, r"bert cannot read texts of 15 tokens and 1 \+ 1 special ones \(it has 16 positions\)"),
    ],
)
def test_encoder_that_cannot_be(options: dict, length: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(texts(length), **options)


@pytest.mark.parametrize(
    "hostile",
    [
        {"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "{folder}/README.md"}},
        {"model_type": "timm_wrapper", "architecture": "hf-hub:me/net"},
        {"model_type": "dpt", "use_pretrained_backbone": True, "backbone": "resnet18"},
        {**BERT, "model_args": {"checkpoint_path": "{folder}/README.md"}},
        {**BERT, "parts": [{"inner": [{"use_pretrained_backbone": True}]}]},
        {**BERT, "parts": [[{"architecture": "hf-hub:me/net"}]]},
        {**BERT, "auto_map": {"AutoModel": "me/code--model.Net"}},
        {**BERT, "inner": {"trust_remote_code": True}},
        {**BERT, "quantization_config": {"quant_method": "me"}},
    ],
)
@pytest.mark.parametrize("as_folder", [False, True], ids=["config", "folder"])
def test_other_networks_and_what_they_load_are_refused(
    hostile: dict, as_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: `timm_wrapper` unpickled the file of its `checkpoint_path`, and backbones were downloaded."""
    domain = texts()
    no_network(monkeypatch)
    torch.save({"x": Touch(tmp_path / "witness")}, tmp_path / "README.md")
    text = json.dumps(hostile).replace("{folder}", str(tmp_path))
    (tmp_path / "config.json").write_text(text)
    given = {"model": str(tmp_path)} if as_folder else {"config": json.loads(text)}
    if as_folder and set(hostile) & {"auto_map"}:
        pytest.skip("the auto_map of a folder is not used")
    with pytest.raises(ValueError, match=r"must have the model_type of a text encoder|by which transformers could"):
        create_encoder({"name": "hf", **given}, domain)
    assert not (tmp_path / "witness").exists()


def test_a_vocabulary_of_words_is_refused() -> None:
    words = TextDomain(classes=("a", "b"), vocabulary=("good",), length=5)
    with pytest.raises(ValueError, match=r"this domain has a vocabulary of words; give the data tokenizer: some/bert"):
        create_encoder({"name": "hf", "model": "some/bert"}, words)


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = texts()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"no text encoder '.*none': give a folder with config.json and"):
        create_encoder({"name": "hf", "model": str(tmp_path / "none")}, domain)
    folder = tiny_bert(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no text encoder .*: give a folder with config.json and model.safetensors"
    ):
        create_encoder({"name": "hf", "model": str(folder)}, domain)
