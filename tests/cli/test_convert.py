"""`convert` takes a trained classifier apart, trains a model of its features, and the checkpoint loads again."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

import zoo
from tests.cli.pictures_run import write_pictures
from zoo.cli.main import main
from zoo.conversion import report, targets
from zoo.conversion.budget import Trial, search
from zoo.data import ConceptToy, ImageFolder, Table
from zoo.networks import classifiers
from zoo.training.black_box_file import load_network

CODE = """
import torch
from torch import nn


def make():
    torch.manual_seed(1)
    features = nn.Conv2d(3, 6, 3, stride=4), nn.ReLU()
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def no_linear():
    return nn.Sequential(make(), nn.Softmax(1))


def three():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
"""
SMALL = ["--epochs", "1", "--trainer.accelerator", "cpu", "--model.init_args.code.atoms", "8"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with pictures, a config and a file of code; what is registered is forgotten at the end."""
    write_pictures(tmp_path / "pictures", 2)
    arguments = {"root": "pictures", "size": [32, 32], "batch_size": 4}
    config = {"data": {"class_path": "ImageFolder", "init_args": arguments}, "cache_features": True}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "my_network.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifiers, "_own", {})
    monkeypatch.setattr(report, "REMOVED", 1)
    monkeypatch.setattr(report, "REPEATS", 1)
    monkeypatch.setitem(targets.TARGETS, "sparse_code", replace(targets.TARGETS["sparse_code"], sizes=(1, 2)))
    yield tmp_path


def convert(spec: str, *options: str) -> int:
    return main(["convert", "--model", spec, "--data", "data.yaml", "--output", "out", *SMALL, *options])


def test_a_network_of_torchvision(home: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=2).eval()
    save_file(network.state_dict(), "weights.safetensors")
    assert convert("torchvision:resnet18", "--weights", "weights.safetensors", "--data.size", "[64, 64]") == 0
    model = zoo.load("out/checkpoint")
    x = model.domain.example(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = network(x)
    explanation = model.explain(x)
    assert (explanation.scores - scores).abs().max() <= 1e-5 * scores.abs().max()
    assert explanation.support is not None and explanation.support.shape[2:] == (2, 2)
    record = json.loads(Path("out/convert.json").read_text())
    assert record["black box"]["layer"] == "layer4" and record["cells"] == 4 and record["agreement"]["model"] == 1
    assert record["largest difference of scores"] <= 1e-5 * record["largest score"]
    assert "share of the residual" in Path("out/convert.html").read_text()


def test_code_of_the_user_is_named_before_a_checkpoint_of_it_loads(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert convert("module:./my_network.py:make", "--budget", "0.5") == 0
    assert "--code ./my_network.py:make explain" in Path("out/convert.html").read_text()
    record = json.loads(Path("out/convert.json").read_text())
    assert record["budget"]["chosen"] == record["budget"]["tried"][0]["size"] == 1 and record["budget"]["within"]
    monkeypatch.setattr(classifiers, "_own", {})
    picture = next(Path("pictures/test/cat").glob("*.png"))
    explain = ["explain", "--checkpoint", "out/checkpoint", "--input", str(picture), "--output", "pages"]
    capsys.readouterr()
    assert main(explain) == 2
    assert "train.py --code my_network.py:make COMMAND" in capsys.readouterr().err
    assert main(["--code", "my_network.py:make", *explain]) == 0 and list(Path("pages").glob("*.html"))


def test_b_cosification(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--head exact` the network as it is, with its biases as a unit; else it is trained with B-cos layers."""
    command = ["convert", "--model", "module:./my_network.py:make", "--data", "data.yaml", "--to", "bcos"]
    command += ["--epochs", "1", "--trainer.accelerator", "cpu"]
    assert main([*command, "--output", "exact", "--head", "exact"]) == 0
    record = json.loads(Path("exact/convert.json").read_text())
    assert record["model"] == "bcos" and record["largest difference of scores"] <= 1e-5 * record["largest score"]
    assert record["residual share"] > 0 and record["agreement"]["model"] == 1
    assert main([*command, "--output", "tuned"]) == 0
    record = json.loads(Path("tuned/convert.json").read_text())
    assert record["largest difference of scores"] > 1e-3 and "residual share" not in record
    model = zoo.load("tuned/checkpoint")
    model.explain(model.domain.example(3, torch.Generator().manual_seed(0))).check()
    assert main([*command, "--output", "none", "--head", "sparse"]) == 2
    assert "its heads are tuned, exact" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("module:my_network.py:no_linear", "the scores of the network are not those of its linear layer '0.4'"),
        ("module:my_network.py:three", "with 2 outputs, one for each class of the data, that reads vectors; its last"),
        ("module:my_network.py:maker", "my_network.py has no function 'maker'; did you mean 'make'?"),
        ("torchvision:resnet18", "give --weights FILE.safetensors"),
        ("torchvision:resnet81", "torchvision has no classifier 'resnet81'; did you mean"),
        ("nothing", "the model to convert is a folder of a run of a BlackBox"),
    ],
)
def test_what_cannot_be_converted(spec: str, message: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", "none.safetensors"] if spec.endswith("81") else []
    assert convert(spec, *weights) == 2
    assert message in capsys.readouterr().err and not Path("out/checkpoint").exists()


class Tokens(nn.Module):
    """A transformer of patches: the head reads the first token or the mean of all."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        if self.first:
            tokens = torch.cat([self.cls.expand(len(x), 1, 8), tokens], 1)
        tokens = self.norm(self.block(tokens))
        return self.head(tokens[:, 0] if self.first else tokens.mean(1))


@pytest.mark.parametrize("first", [True, False])
def test_zoo_convert_on_tokens(first: bool, home: Path) -> None:
    torch.manual_seed(0)
    network, data = Tokens(first).train(), ImageFolder("pictures", size=(32, 40), batch_size=4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    options = {"code": {"atoms": 8, "active": 2}, "trainer": {"accelerator": "cpu", "progress": False}}
    model, report = zoo.convert(network, data, folder=home / "out", epochs=1, head="replacing", **options)
    assert report["cells"] == (1 if first else 20) and report["black box"]["layer"] == ("head" if first else "norm")
    assert network.training and not network._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    x = model.domain.example(2, torch.Generator().manual_seed(0))
    support = model.explain(x).support
    assert support is not None and support.shape[2:] == ((1, 1) if first else (4, 5))
    assert torch.equal(zoo.load(home / "out" / "checkpoint").explain(x).scores, model.explain(x).scores)


def test_other_models_and_tables(home: Path) -> None:
    torch.manual_seed(0)
    quiet = {"accelerator": "cpu", "progress": False}
    data = ConceptToy("xor", count=60, batch_size=16)
    network = nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 2))
    _, report = zoo.convert(network, data, "posthoc_cbm", folder="table", examples=8, trainer=quiet)
    assert report["model"] == "posthoc" and report["cells"] == 1 and report["units"] == 2
    loaded = load_network(Path("table/black_box/black_box.safetensors"))
    x = data.test_dataset()[0]["input"][None]
    assert torch.allclose(loaded(x), network(x), atol=1e-6)
    pictures = ImageFolder("pictures", size=(32, 32), batch_size=4)
    with pytest.raises(ValueError, match="prototype_head has no head 'sparse'; it has one head"):
        zoo.convert(Tokens(False), pictures, "prototype_head", folder="heads", head="sparse")
    with pytest.raises(ValueError, match="posthoc_cbm needs data with annotated concepts, and these have none"):
        zoo.convert(Tokens(False), pictures, "posthoc_cbm", folder="heads")
    model, report = zoo.convert(Tokens(False), pictures, "prototype_head", folder="heads", epochs=1, trainer=quiet)
    assert report["model"] == "protosvit" and report["units"] == len(model.units()) == 200


def values_table(rows: int = 60) -> tuple[str, nn.Module]:
    """A table of two values that a network predicts nearly, and that network, on standardised features."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator)
    last = nn.Linear(6, 2)
    network = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), last)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([200.0, -1.0]))
        last.weight[0] *= 30
        standardised = (x - x.mean(0)) / x.std(0)
        y = network(standardised) + torch.randn(rows, 2, generator=generator) * torch.tensor([1.0, 0.05])
    lines = [",".join(f"{v:.6f}" for v in (*row, *values)) for row, values in zip(x.tolist(), y.tolist(), strict=True)]
    return "\n".join(["a,b,c,price,weight", *lines]), network


def test_a_network_of_values(home: Path) -> None:
    torch.manual_seed(0)
    text, network = values_table()
    Path("values.csv").write_text(text)
    data = Table("values.csv", target=["price", "weight"], task="regression", batch_size=16)
    quiet = {"accelerator": "cpu", "progress": False}
    model, record = zoo.convert(network, data, folder="values", epochs=1, trainer=quiet, code={"atoms": 8, "active": 2})
    x = torch.stack([data.test_dataset()[i]["input"] for i in range(6)])
    explanation = model.explain(x).check()
    with torch.no_grad():
        torch.testing.assert_close(explanation.scores, network(x), rtol=1e-5, atol=1e-5)
    targets = torch.stack([row["target"] for row in map(data.test_dataset().__getitem__, range(12))])
    inputs = torch.stack([row["input"] for row in map(data.test_dataset().__getitem__, range(12))])
    with torch.no_grad():
        error = (network(inputs) - targets).square().mean(0)
    r2 = (1 - error / targets.var(0, correction=0)).mean().item()
    assert record["test rows"] == 12 and record["R2"]["black box"] == pytest.approx(r2, rel=1e-4)
    assert record["RMSE"]["model"]["price"] == pytest.approx(error[0].sqrt().item(), rel=1e-3)
    assert record["R2"]["units"] < record["R2"]["model"] and record["agreement"]["model"] == pytest.approx(1, abs=1e-6)
    page = Path("values/convert.html").read_text()
    assert "Root mean squared error: price" in page and "R² of the units alone" in page
    with pytest.raises(ValueError, match="the head 'sparse' of sparse_code predicts classes, and the data have values"):
        zoo.convert(network, data, folder="values", head="sparse")
    with pytest.raises(ValueError, match="convert networks of values to sparse_code, direct_logit"):
        zoo.convert(network, data, "posthoc_cbm", folder="values")


def test_phrases(home: Path) -> None:
    torch.manual_seed(0)
    quiet = {"accelerator": "cpu", "progress": False}
    pictures = ImageFolder("pictures", size=(32, 32), batch_size=4)
    with pytest.raises(ValueError, match="needs scores of concepts for the training items"):
        zoo.convert(Tokens(False), pictures, "labelfree", folder="phrases")
    options = {"scores": "random", "concepts": ["a tail", "a beak"], "lam": 1.0}
    model, record = zoo.convert(Tokens(False), pictures, "labelfree", folder="phrases", trainer=quiet, **options)
    assert [unit.name for unit in model.units()] == ["a tail", "a beak"] and record["model"] == "labelfree"
    x = model.domain.example(2, torch.Generator().manual_seed(0))
    assert torch.equal(zoo.load("phrases/checkpoint").explain(x).scores, model.explain(x).scores)


def test_the_sparse_head_within_a_budget(home: Path) -> None:
    assert convert("module:my_network.py:make", "--head", "sparse", "--budget", "0.01") == 0
    record = json.loads(Path("out/convert.json").read_text())
    assert record["head"] == "sparse" and record["budget"]["what"] == "weights of a class"
    model = zoo.load("out/checkpoint")
    assert int((model.head.weight != 0).sum(1).max()) <= record["budget"]["chosen"]
    assert model.explain(model.domain.example(2, torch.Generator().manual_seed(0))).check()


def test_without_a_size_within_the_budget_the_best_is_taken() -> None:
    quality = {1: 0.2, 2: 0.6, 3: 0.5, 4: 0.4}
    found = search((1, 2, 3, 4), 0.1, lambda size: Trial(size, quality[size], 0.9, None))
    assert (found.chosen, found.within) == (2, False) and [trial.size for trial in found.trials] == [2, 3, 4]
