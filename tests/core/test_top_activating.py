"""Where units fire most: equal to sorting all activations at once, whatever cannot be read left out."""

from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

import zoo
from tests.small_models import SMALL
from zoo.cli.main import main
from zoo.core.top_activating import BATCH, top_activating_inputs
from zoo.domain import ImageDomain
from zoo.domain.inputs import inputs_of, read


def cbm() -> zoo.SelfInterpretable:
    domain = ImageDomain(
        classes=("a", "b"), concepts=("red", "round"), size=(8, 8), channels=1, mean=(0.5,), std=(0.5,)
    )
    torch.manual_seed(0)
    return zoo.create_model("cbm", domain=domain, backbone={"name": "convnet", "widths": [4]}).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, place = cbm(), tmp_path_factory.mktemp("images")
    assert isinstance(model.domain, ImageDomain)
    draw = torch.Generator().manual_seed(0)
    for i in range(BATCH + 5):
        picture = torch.randint(0, 256, (model.domain.channels, *model.domain.size), generator=draw, dtype=torch.uint8)
        write_png(picture, str(place / f"{i:03}.png"))
    (place / "007.png").write_text("no image")
    return place


def test_equals_sorting_everything(folder: Path, capsys: pytest.CaptureFixture) -> None:
    model = cbm()
    found = top_activating_inputs(model, list(inputs_of([str(folder)], model.domain)), 3)
    assert found is not None
    good = [file for file in sorted(folder.iterdir()) if file.name != "007.png"]
    with torch.no_grad():
        activation = model.evidence(torch.stack([read(file, model.domain) for file in good])).activation.T
    assert found.files == good and found.unread == 1 and "left out" in capsys.readouterr().err
    assert torch.allclose(found.activation, activation.sort(1, descending=True).values[:, :3], atol=1e-6)
    assert torch.allclose(activation.gather(1, found.index), found.activation, atol=1e-6)


def test_fewer_files_than_wanted(folder: Path) -> None:
    model = cbm()
    found = top_activating_inputs(model, [folder / "001.png"], 5)
    assert found is not None
    assert found.index.tolist() == [[0]] * len(model.units())
    with pytest.raises(ValueError, match=r"no images could be read \(1 files were tried\)"):
        top_activating_inputs(model, [folder / "007.png"], 5)


def test_show_has_strips(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = cbm()
    zoo.save(model, tmp_path / "model", metrics={"accuracy": 0.875})
    show = ["show", "--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "page.html")]
    assert main([*show, "--images", str(folder)]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("class='strip'") == len(model.units()) and page.count("<img ") == 5 * len(model.units())
    assert "accuracy</th><td>0.875" in page
    assert main([*show, "--images", str(folder), "--limit", "0"]) == 2
    assert "argument --limit: expected a positive integer; got 0" in capsys.readouterr().err
    assert main([*show, "--circuit", str(folder)]) == 2
    assert "cbm has no circuits" in capsys.readouterr().err


def test_only_of_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    zoo.save(SMALL["rrl"]().model.eval(), tmp_path / "model")
    arguments = ["show", "--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "page.html")]
    assert main([*arguments, "--images", str(tmp_path)]) == 2
    assert "--images requires a model of images; this model reads rows" in capsys.readouterr().err
