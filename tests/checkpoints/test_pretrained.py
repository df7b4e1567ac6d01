"""Checkpoints by name, from the hub and back, and `check`."""

import shutil
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

import zoo
from tests.checkpoints.test_checkpoint import configure
from tests.checkpoints.test_shared_backbone import cbm
from tests.small_models import protopnet
from zoo.checkpoints import model_card, shipped
from zoo.checkpoints.config_file import CONFIG, GOLDEN, WEIGHTS, read_config
from zoo.checkpoints.golden import times
from zoo.checkpoints.verify import verify
from zoo.cli.main import main
from zoo.utils.errors import ContractError

ABOUT = {
    **{key: "told" for key in model_card.TEXTS if key != "name"},
    "seed": 0,
    "rows": 100,
    "seconds": 7,
    "interval": [0.4, 0.6],
    "twin": {"config": "twin.yaml", "value": 0.75},
    "truth": {"gap": 1e-7},
}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints that come with the package: two."""
    torch.manual_seed(0)
    root = tmp_path / "shelf"
    zoo.save(protopnet().model, root / "protopnet-small", metrics={"accuracy": 0.5}, about=ABOUT)
    zoo.save(cbm(), root / "cbm-small", metrics={"accuracy": 0.5}, about=ABOUT, share_backbone=True)
    monkeypatch.setattr(shipped, "ROOTS", (tmp_path / "nowhere", root))
    monkeypatch.chdir(tmp_path)
    return root


def test_names(shelf: Path) -> None:
    assert zoo.list_checkpoints() == ["cbm-small", "protopnet-small"]
    x = zoo.load("cbm-small").domain.example(1, torch.Generator())
    assert torch.equal(zoo.load("cbm-small")(x), zoo.load(shelf / "cbm-small")(x))


def test_a_folder_goes_before_a_name(shelf: Path) -> None:
    zoo.save(cbm(1), "protopnet-small")
    assert type(zoo.load("protopnet-small")).__name__ == "CBM"


def test_unknown_names(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'cbm-smal': .* did you mean 'cbm-small'\?"):
        zoo.load("cbm-smal")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        zoo.load("some/where")
    monkeypatch.setattr(shipped, "ROOTS", ())
    with pytest.raises(FileNotFoundError, match="this installation has none"):
        zoo.load("cbm-small")


def test_commands_take_names(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["show", "--checkpoint", "cbm-small", "--output", "page.html"]) == 0
    assert Path("page.html").is_file()
    assert main(["show", "--checkpoint", "cbm-smal", "--output", "page.html"]) == 2
    assert "did you mean 'cbm-small'?" in capsys.readouterr().err


def test_check_passes_and_fails(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check"]) == 0
    assert "2 of 2 checkpoints are intact" in capsys.readouterr().out
    golden = load_file(shelf / "protopnet-small" / GOLDEN)
    save_file({**golden, "scores": golden["scores"] + 1}, shelf / "protopnet-small" / GOLDEN)
    assert main(["check", "protopnet-small"]) == 1
    assert "is damaged or was changed" in capsys.readouterr().err
    configure(shelf / "protopnet-small")
    assert main(["check"]) == 1
    told = capsys.readouterr()
    assert "'scores' differs by 1" in told.err and "1 of 2 checkpoints are intact" in told.out


def test_swapped_weights_are_noticed(shelf: Path) -> None:
    other = zoo.save(cbm(1), shelf / "other", share_backbone=True)
    shutil.copy(other / WEIGHTS, shelf / "cbm-small" / WEIGHTS)
    assert main(["check", "cbm-small"]) == 1
    configure(shelf / "cbm-small", backbones=read_config(other)["backbones"])
    with pytest.raises(ValueError, match="explains its golden inputs differently"):
        verify(shelf / "cbm-small")


def test_terms_that_do_not_add_up_are_noticed(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = type(zoo.load("protopnet-small"))
    true = of.attribute
    monkeypatch.setattr(of, "attribute", lambda *a: (true(*a)[0] + 0.1, true(*a)[1]))
    with pytest.raises((ArithmeticError, ContractError), match=r"miss its score by|must split the score"):
        verify(shelf / "protopnet-small")


# The hub, for which a folder stands in


def test_fetching_a_snapshot(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(shelf / "protopnet-small")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert type(zoo.load("hub:me/birds@v1")).__name__ == "ProtoPNet"
    zoo.load("hub:me/birds")
    assert [a[:2] for a in asked] == [("me/birds", "v1"), ("me/birds", None)]
    assert all(not pattern.startswith("*") and ".py" not in pattern for pattern in asked[0][2])


@pytest.mark.parametrize("name", ["birds", "me/", "a/b/c", "", "@v1"])
def test_names_that_the_hub_cannot_have(name: str) -> None:
    with pytest.raises(ValueError, match="is hub:owner/name or hub:owner/name@revision; got"):
        zoo.load(f"hub:{name}")


class TransportError(Exception):
    """As the HTTP libraries below the hub's client raise them: no OSError, and of another class in each version."""


@pytest.mark.parametrize("kind", [OSError, TransportError])
def test_no_network(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kind: type[Exception]
) -> None:
    def fails(*_: object, **__: object) -> str:
        raise kind("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(ConnectionError, match=r"download of 'me/birds' failed .*or a name \(cbm-small, proto"):
        zoo.load("hub:me/birds")
    assert main(["check", "hub:me/birds"]) == 1
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", fails)
    assert main(["push-to-hub", "--checkpoint", "cbm-small", "--repository", "me/birds"]) == 2
    assert "upload to 'me/birds' failed" in capsys.readouterr().err
    assert main(["push-to-hub", "--checkpoint", "cbm-small", "--repository", "birds"]) == 2
    assert "--repository must be OWNER/NAME; got 'birds'" in capsys.readouterr().err


def test_a_machine_without_a_network(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The hub's real client, at a port where nothing listens."""
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.__init__", partialmethod(HfApi.__init__, "http://127.0.0.1:9"))
    assert main(["push-to-hub", "--checkpoint", "cbm-small", "--repository", "me/birds"]) == 2
    assert "upload to 'me/birds' failed" in capsys.readouterr().err
    assert main(["push-to-hub", "--checkpoint", "cbm-small", "--repository", "me/b..d"]) == 2
    assert "'me/b..d' is not a valid name of the hub" in capsys.readouterr().err


def test_what_is_pushed_stands_alone(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def upload(_: object, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
        shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *a, **k: made.append((a[1:], k)))
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload)
    assert main(["push-to-hub", "--checkpoint", "cbm-small", "--repository", "me/birds", "--private"]) == 0
    assert made == [(("me/birds",), {"private": True, "exist_ok": True})]
    there = tmp_path / "hub" / "me" / "birds"
    assert "backbones" not in read_config(there) and (there / CONFIG).is_file()
    assert verify(there) == 0


# Cards, and pictures that are left out


def test_the_card_tells_what_was_measured(shelf: Path) -> None:
    text = (shelf / "cbm-small" / model_card.CARD).read_text()
    assert "| test accuracy | 0.5000 (95 % interval 0.4000 to 0.6000, 100 rows) |" in text
    assert "| black-box twin, accuracy | 0.7500 (`twin.yaml`) |" in text and 'zoo.load("cbm-small")' in text


def test_a_card_that_says_more_is_noticed(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    path = shelf / "cbm-small" / model_card.CARD
    path.write_text(path.read_text().replace("0.5000", "0.9000"))
    assert main(["check"]) == 1
    assert "does not match config.yaml" in capsys.readouterr().err
    path.unlink()
    assert main(["check", "cbm-small"]) == 1


@pytest.mark.parametrize(
    ("changed", "metrics", "told"),
    [
        ({}, {}, "the model card has no results"),
        ({}, {"accuracy": float("nan")}, "no finite number for accuracy"),
        ({"seconds": None}, {"accuracy": 0.5}, "no finite number for seconds"),
        ({"interval": []}, {"accuracy": 0.5}, r"no finite number for interval\[0\]"),
        ({"limits": " "}, {"accuracy": 0.5}, "has no text for limits"),
        ({"colour": 1}, {"accuracy": 0.5}, r"missing or unknown: \['colour'\]"),
        ({"twin": 3}, {"accuracy": 0.5}, "the twin of a model card"),
    ],
)
def test_a_card_without_numbers_is_refused(
    shelf: Path, changed: dict[str, object], metrics: dict[str, float], told: str
) -> None:
    before = (shelf / "cbm-small" / CONFIG).read_bytes()
    with pytest.raises(ValueError, match=told):
        zoo.save(cbm(1), shelf / "cbm-small", metrics=metrics, about={**ABOUT, **changed})
    assert (shelf / "cbm-small" / CONFIG).read_bytes() == before


def test_check_asks_for_a_card(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    zoo.save(cbm(), shelf / "bare")
    assert main(["check"]) == 1 and "FAILED bare: the model card needs the keys" in capsys.readouterr().err
    assert main(["check", "bare"]) == 0


def test_pictures_may_be_left_out(shelf: Path) -> None:
    model, x = protopnet().model, protopnet().model.domain.example(2, torch.Generator().manual_seed(0))
    bare = zoo.load(zoo.save(model, shelf / "bare", pictures=False))
    assert any(unit.picture is not None for unit in model.units())
    assert all(unit.picture is None for unit in bare.units())
    assert [unit.source for unit in bare.units()] == [unit.source for unit in model.units()]
    assert torch.equal(bare(x), model(x)) and bare.explain(x).check()
    assert verify(zoo.save(bare, shelf / "again")) == 0
    assert not any(t.numel() for n, t in load_file(shelf / "bare" / WEIGHTS).items() if n.endswith("picture"))
    assert main(["show", "--checkpoint", "bare", "--output", "page.html"]) == 0


def test_golden_pixels(shelf: Path) -> None:
    model = protopnet().model
    pixels = model.domain.picture(model.domain.example(2, torch.Generator().manual_seed(0)))
    folder = zoo.save(model, shelf / "pixels", golden=pixels)
    assert load_file(folder / GOLDEN)["inputs"].dtype == torch.uint8 and verify(folder) == 0
    assert torch.equal(load_file(folder / GOLDEN)["scores"], model(model.domain.normalise(pixels)))
    small = pixels[..., ::2, ::2]  # stored smaller, each pixel is repeated
    assert verify(zoo.save(model, shelf / "small", golden=small)) == 0
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(load_file(shelf / "small" / GOLDEN)["scores"], model(model.domain.normalise(large)))


@pytest.mark.parametrize(
    "stored, factor",
    [((3, 8, 8), 1), ((3, 2, 2), 4), ((3, 1, 1), 8), ((1, 8, 8), None), ((3, 3, 3), None), ((3, 4, 8), None)],
)
def test_enlarged_golden_images(stored: tuple[int, ...], factor: int | None) -> None:
    assert times(stored, (3, 8, 8)) == factor


def test_golden_images_are_not_enlarged_without_bound() -> None:
    assert times((3, 8, 8), (3, 64, 64)) == 8 and times((3, 8, 8), (3, 80, 80)) is None
