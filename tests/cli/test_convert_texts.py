"""`convert` of text classifiers of Hugging Face, from a folder, without a network."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.subwords import tiny_classifier
from zoo.cli.main import main
from zoo.conversion import report
from zoo.conversion.source import open_network
from zoo.data import TextTable
from zoo.domain import Domain, TextDomain, read_tokenizer
from zoo.networks.hf_classifier import read_classifier

SENTENCES = ("good food", "the food was good", "quiet good place !", "bad food .", "the place was loud", "bad place")
LABELS = ("good", "good", "good", "bad", "bad", "bad")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of texts and a config of data."""
    rows = [
        f"{text} {more},{label}" for more in ("", "!", "food .") for text, label in zip(SENTENCES, LABELS, strict=True)
    ]
    split = ["train"] * 8 + ["val"] * 4 + ["test"] * 6
    lines = [f"{row},{name}" for row, name in zip(rows, split, strict=True)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label,split", *lines]))
    arguments = {"path": "texts.csv", "tokenizer": "classifier", "length": 9, "batch_size": 4}
    config = {"data": {"class_path": "TextTable", "init_args": arguments}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "REPEATS", 1)
    return tmp_path


def domain_of(folder: Path, *classes: str) -> TextDomain:
    return TextDomain(classes=classes, tokenizer=read_tokenizer(str(folder)), length=9)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "deberta-v2", "albert"])
def test_the_parts_have_the_scores_of_the_classifier(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = tiny_classifier(tmp_path, ("good", "bad"), kind)
    domain = domain_of(tmp_path, "bad", "good")  # sorted, as data have them
    x = torch.stack([domain.preprocess(text) for text in SENTENCES])
    found = read_classifier(str(tmp_path), domain)
    with torch.no_grad():
        scores = found.head(found.encoder(x))
        for row, text in enumerate(SENTENCES):
            encoded = domain.subwords.tokenizer.encode(text).ids
            expected = network(input_ids=torch.tensor([encoded])).logits[0]
            torch.testing.assert_close(scores[row], expected.flip(0), rtol=0, atol=1e-5)


def convert(to: str, *options: str) -> int:
    small = ["--epochs", "1", "--trainer.accelerator", "cpu", "--output", "out"]
    return main(["convert", "--model", "hf:classifier", "--data", "data.yaml", "--to", to, *small, *options])


CASES = [("sparse_code", "explaining"), ("sparse_code", "replacing"), ("direct_logit", "")]


@pytest.mark.parametrize(("to", "head"), CASES)
def test_a_classifier_of_a_folder(to: str, head: str, home: Path) -> None:
    torch.manual_seed(0)
    network = tiny_classifier(home / "classifier")
    atoms = ["--head", head, "--model.init_args.code.atoms", "8"] if head else []
    assert convert(to, *atoms) == 0
    (home / "classifier").rename(home / "elsewhere")
    model = zoo.load("out/checkpoint")
    domain = model.domain
    assert isinstance(domain, TextDomain) and domain.classes == ("bad", "good")
    x = torch.stack([domain.preprocess(text) for text in SENTENCES])
    with torch.no_grad():
        ids = [torch.tensor([domain.subwords.tokenizer.encode(text).ids]) for text in SENTENCES]
        scores = torch.cat([network(input_ids=row).logits for row in ids]).flip(1)
    explanation = model.explain(x).check()
    record = json.loads(Path("out/convert.json").read_text())
    assert record["black box"]["layer"] == "bert.pooler.dense" and record["cells"] == 1
    if head == "replacing":
        assert record["features R2"] < 1 and (explanation.scores - scores).abs().max() > 1e-4
    else:
        torch.testing.assert_close(explanation.scores, scores, rtol=0, atol=1e-5)
        assert record["agreement"]["model"] == 1 and record["largest difference of scores"] <= 1e-5


def test_what_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = tiny_classifier(home / "classifier", ("good", "bad", "neither"))
    assert convert("sparse_code") == 2
    assert "has 3 classes (good, bad, neither), the data have 2 (bad, good)" in capsys.readouterr().err
    network.base_model.save_pretrained(home / "classifier")
    assert convert("sparse_code") == 2
    assert "must be a text classifier (...ForSequenceClassification) of albert" in capsys.readouterr().err
    config = json.loads((home / "classifier/config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (home / "classifier/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has no weights for 2 layers of a classifier"):
        read_classifier(str(home / "classifier"), domain_of(home / "classifier", "bad", "good", "neither"))
    words = TextDomain(classes=("bad", "good"), vocabulary=("good",), length=9)
    with pytest.raises(ValueError, match="give them tokenizer"):
        read_classifier(str(home / "classifier"), words)
    data = TextTable("texts.csv", length=9)
    with pytest.raises(ValueError, match="hf:classifier has its own weights and layer"):
        zoo.convert("hf:classifier", data, folder="out", layer="encoder")
    with pytest.raises(ValueError, match="hf:FOLDER_OR_NAME"):
        open_network("classifier", Domain.from_dict(data.domain))
