"""Files by `export` over HTTP: the same scores and terms as the checkpoint, and a clear word on what they lack."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx2")

import zoo
from tests.cli import hostile
from tests.serving.clients import client_of, error_of, service
from tests.small_models import build
from zoo.checkpoints.export import export
from zoo.checkpoints.exported import ExportedModel, read_exported
from zoo.cli.main import main
from zoo.cli.serve import exported_service, parse
from zoo.domain import TableDomain
from zoo.serving.service import Service


def exported(name: str, folder: Path, form: str = "pt2") -> Path:
    """A small model as a file."""
    torch.manual_seed(0)
    small = build(name)
    path = folder / f"{name}.{form}"
    export(small.model.eval(), small.model.domain.example(2, torch.Generator().manual_seed(0)), path, form)
    return path


def columns_of(model: ExportedModel) -> tuple[str, ...]:
    assert isinstance(model.domain, TableDomain)
    return model.domain.features


def served(path: Path, *options: str) -> Service:
    return exported_service(path.name, parse(["--checkpoint", str(path), *options]))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("protopnet", tmp_path_factory.mktemp("exported"))


def test_answers_are_those_of_the_checkpoint(image: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own, photo = service(tmp_path, "protopnet"), hostile.encoded("PNG")
    own.explain = lambda readings, target, *_: own.model.explain(  # type: ignore[attr-defined]
        torch.stack([r.x for r in readings]), target, reference="zero"
    )
    found = []
    for one in (own, served(image)):
        with client_of(one) as client:
            answers = [client.post(f"/{what}?name=a.png", content=photo) for what in ("predict", "explain", "page")]
            assert [answer.status_code for answer in answers] == [200, 200, 200]
            found.append([answer.json()["results"][0] for answer in answers[:2]])
            shown = answers[2].text
    (scores, told), (other_scores, other) = found
    assert other_scores["scores"] == pytest.approx(scores["scores"], abs=1e-5)
    assert other["answer"] == told["answer"] and other["checkpoint"] == "protopnet.pt2"
    for one, two in zip(told["evidence"], other["evidence"], strict=True):
        assert (one["unit"], one["kind"]) == (two["unit"], two["kind"])
        assert two["contribution"] == pytest.approx(one["contribution"], abs=1e-5)
    assert other["answer"].split(" (")[0] in shown and told["evidence"][0]["unit"] in shown


def test_what_it_lacks_is_said(image: Path, capsys: pytest.CaptureFixture) -> None:
    answers, photo = served(image), hostile.encoded("PNG")
    with client_of(answers) as client:
        about = client.get("/health").json()
        best = client.post("/predict?name=a.png", content=photo).json()["results"][0]["answer"]
        other = next(name for name in about["classes"] if name != best)
        assert client.post(f"/explain?name=a.png&target={best}", content=photo).status_code == 200
        error = error_of(client.post(f"/explain?name=a.png&target={other}", content=photo), 422)
    assert about["model"] == "protopnet (exported)" and "explains the predicted class only" in error["got"]
    assert main(["serve", "--checkpoint", str(image), "--reference", "mean", "--port", "0"]) == 2
    assert "--reference mean needs the checkpoint" in capsys.readouterr().err


def test_texts_are_named_and_models_need_not_be_additive(tmp_path: Path) -> None:
    path = exported("lex", tmp_path)
    model = read_exported(path)
    assert not model.additive
    with client_of(served(path)) as client:
        body = {"rows": [dict.fromkeys(columns_of(model), 0.5)]}
        told = client.post("/explain", json=body).json()["results"][0]
    assert set(told["scores"]) == set(model.domain.classes) and "contribution" not in told["evidence"][0]


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = exported("nam", tmp_path, "onnx")
    torch.manual_seed(0)
    own, model = build("nam").model.eval(), read_exported(path)
    x = own.domain.example(5, torch.Generator().manual_seed(3))
    told, before = model.explain(x), own.explain(x, reference="zero")
    assert told.contributions is not None and before.contributions is not None
    torch.testing.assert_close(told.scores, before.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told.contributions, before.contributions, rtol=1e-4, atol=1e-5)
    assert [unit.name for unit in told.units] == [unit.name for unit in before.units]
    with client_of(served(path)) as client:
        body = {"rows": [dict.fromkeys(columns_of(model), 0.5)]}
        assert client.post("/page", json=body).status_code == 200


def test_other_files_are_refused(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def changed(name: str, text: str) -> Path:
        """The archive with another content of one part."""
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.pt2"
        with zipfile.ZipFile(image) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.namelist():
                if member.endswith(name):
                    target.writestr(member, text)
                elif not member.endswith("serialization_id"):
                    target.writestr(member, source.read(member))
            if name == "custom_obj_0":
                target.writestr("x/data/constants/custom_obj_0", text)
        return path

    with zipfile.ZipFile(image) as archive:
        (member,) = (m for m in archive.namelist() if m.endswith("model_weights_config.json"))
        config = archive.read(member).decode()
        metadata = json.loads(archive.read(next(m for m in archive.namelist() if m.endswith("zoo.json"))))
    (tmp_path / "noise.pt2").write_bytes(b"PK\x03\x04" + bytes(100))
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2),)), tmp_path / "foreign.pt2")
    pickled = config.replace('"use_pickle": false', '"use_pickle": true', 1)
    for path, message in (
        (tmp_path / "noise.pt2", "is not a model by `train.py export`"),
        (tmp_path / "foreign.pt2", "it has no zoo.json"),
        (changed("model_weights_config.json", pickled), "names pickles, which are never loaded"),
        (changed("custom_obj_0", "x"), "is a pickle, which is never loaded"),
        (changed("zoo.json", json.dumps({**metadata, "outputs": ["scores"]})), "its outputs are scores"),
        (changed("zoo.json", json.dumps({k: v for k, v in metadata.items() if k != "kinds"})), "has no kinds"),
        (changed("zoo.json", json.dumps({**metadata, "units": metadata["units"][1:]})), "is not a model by"),
        (tmp_path / "missing" / "model.onnx", "no exported model"),
    ):
        assert main(["serve", "--checkpoint", str(path), "--port", "0"]) == 2, message
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"ends in \.onnx or \.pt2"):
        read_exported(zoo.save(build("nam").model, tmp_path / "nam") / "config.yaml")
