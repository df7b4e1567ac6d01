"""`train.py export`: exported programs give the explanations of the model, for every batch size."""

import json
import sys
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import SMALL
from zoo.checkpoints import export
from zoo.cli.main import main

NAMES = ("protopnet", "cbm", "bagnet", "prototree")  # linear heads, a residual network, and a tree without a sum


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of small models."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    return {name: zoo.save(SMALL[name]().model.eval(), folder / name) for name in NAMES}


def run(checkpoint: Path, form: str, path: Path) -> int:
    return main(["export", "--checkpoint", str(checkpoint), "--format", form, "--output", str(path)])


def expected(checkpoint: Path, count: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Inputs, and what `explain` gives for them."""
    model = zoo.load(checkpoint)
    x = model.domain.example(count, torch.Generator().manual_seed(1))
    explanation = model.explain(x, reference="zero")
    terms = {name: getattr(explanation, name) for name in export.OUTPUTS}
    return x, {name: tensor for name, tensor in terms.items() if tensor is not None}


@pytest.mark.parametrize("name", NAMES)
def test_onnx_gives_the_explanation(name: str, saved: dict[str, Path], tmp_path: Path, capsys) -> None:
    runtime = pytest.importorskip("onnxruntime")
    assert run(saved[name], "onnx", tmp_path / "model.onnx") == 0
    assert "largest difference from the model" in capsys.readouterr().out
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x, terms = expected(saved[name], count)
        assert [output.name for output in session.get_outputs()] == list(terms)
        for output, found in zip(terms, session.run(None, {"input": x.numpy()}), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), terms[output], rtol=1e-3, atol=1e-4)
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[export.METADATA])
    model = zoo.load(saved[name])
    assert metadata["model"] == name and metadata["units"] == [unit.name for unit in model.units()]
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", NAMES)
def test_pt2_gives_the_explanation(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    assert run(saved[name], "pt2", tmp_path / "model.pt2") == 0
    files = {export.METADATA: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files).module()
    x, terms = expected(saved[name], 5)
    assert json.loads(files[export.METADATA])["outputs"] == list(terms)
    for found, term in zip(program(x), terms.values(), strict=True):
        torch.testing.assert_close(found, term)


def test_a_model_that_cannot_be_exported_is_refused(
    saved: dict[str, Path], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = zoo.prototypes.ProtoPNet.evidence

    def by_value(self, x):
        return evidence(self, x * 2 if float(x.sum()) > 0 else x)

    monkeypatch.setattr(zoo.prototypes.ProtoPNet, "evidence", by_value)
    assert run(saved["protopnet"], "pt2", tmp_path / "model.pt2") == 2
    assert "ProtoPNet cannot be exported as pt2: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_differs_is_not_kept(
    saved: dict[str, Path], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt2").write_bytes(b"old")
    monkeypatch.setattr(export, "read_pt2", lambda path: lambda x: [t + 1 for t in forward(x)])
    forward = export.NamedForward(zoo.load(saved["cbm"]), expected(saved["cbm"], 2)[0])
    assert run(saved["cbm"], "pt2", tmp_path / "model.pt2") == 2
    assert "CBM as pt2: 'scores' differs by 1 from the model for 2 inputs" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"] and (tmp_path / "model.pt2").read_bytes() == b"old"


def test_without_the_extra(saved: dict[str, Path], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run(saved["cbm"], "onnx", tmp_path / "model.onnx") == 2
    assert "pip install self-interpretable-zoo[onnx]" in capsys.readouterr().err


def test_the_ending_must_fit_the_format(saved: dict[str, Path], tmp_path: Path, capsys) -> None:
    assert run(saved["cbm"], "onnx", tmp_path / "model.pt2") == 2
    assert "--output must end in .onnx" in capsys.readouterr().err
