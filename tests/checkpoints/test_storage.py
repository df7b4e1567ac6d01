"""Rounded weights: what is rounded and how, that explanations of the stored model add up, and what is told of it."""

import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import zoo
from tests.checkpoints.test_shared_backbone import cbm
from tests.small_models import protopnet
from zoo.checkpoints import config_file
from zoo.checkpoints.config_file import CONFIG, GOLDEN, STORAGE, WEIGHTS, read_config
from zoo.checkpoints.hub import self_contained
from zoo.checkpoints.model_card import CARD
from zoo.checkpoints.rounding import rounded_model
from zoo.checkpoints.save import attach_effect
from zoo.checkpoints.verify import verify
from zoo.cli.main import main
from zoo.core.storage import Effect, Storage
from zoo.metrics import storage_effect
from zoo.utils import small_tensors
from zoo.utils.small_tensors import FORMS, nbytes, restore, shrink, store

EFFECT = Effect(200, "test", "accuracy", 0.98, 0.975, 0.99, 0.0123, 2.5, 3e-7)


@pytest.fixture(scope="module")
def model() -> zoo.SelfInterpretable:
    torch.manual_seed(0)
    return protopnet().model


@pytest.fixture(autouse=True)
def small_tensors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of a small model are rounded, too."""
    monkeypatch.setattr(small_tensors, "SMALLEST", 16)


def test_int8_is_per_row_and_symmetric() -> None:
    """Against the formula, written out in numbers."""
    w = torch.zeros(4, 256)
    w[0, :3] = torch.tensor([1.27, -0.635, 0.004])  # a step of 0.01
    w[1] = torch.linspace(-3, 2, 256)
    w[2, 5] = 1e-30
    parts = shrink("w", w, "int8")
    assert parts is not None and parts["w::int8"].dtype == torch.int8 and parts["w::scale"].shape == (4,)
    assert parts["w::int8"][0, :3].tolist() == [127, -64, 0] and parts["w::int8"][1, 0] == -127
    back = restore(parts)["w"]
    for row, left in zip(w, back, strict=True):
        step = float(row.abs().max()) / 127
        assert all(abs(a - b) <= step / 2 * (1 + 1e-5) for a, b in zip(row.tolist(), left.tolist(), strict=True))
    assert bool((back[w == 0] == 0).all()) and bool((back * w >= 0).all()) and not back[3].any()


def test_what_is_not_rounded() -> None:
    big = torch.randn(small_tensors.SMALLEST)
    assert shrink("w", big[1:], "float16") is None  # small
    assert shrink("w", big.double(), "float16") is None and shrink("w", big.long(), "int8") is None
    assert shrink("w", big, "int8") is None  # no rows to have scales
    assert shrink("w", big * 1e5, "float16") is None  # beyond the largest number of float16
    halves = shrink("w", big * 1e5, "bfloat16")
    assert halves is not None and halves["w"].dtype == torch.bfloat16
    kept = store({"w": big, "buffer": big}, {"w"}, "float16")
    assert kept["w"].dtype == torch.half and kept["buffer"] is big


def test_sparse_tensors_are_stored_in_the_smaller_way() -> None:
    """One number in 500 is smaller as it is; one in 4 is smaller as int8; half of the numbers packed as halves."""
    rare, some = torch.zeros(2, 4000), torch.zeros(2, 4000)
    rare[:, ::500], some[:, ::4] = 0.1, 0.1
    stored = store({"rare": rare, "some": some}, {"rare", "some"}, "int8")
    assert "rare::gaps" in stored and "some::int8" in stored
    packed = store({"some": some}, {"some"}, "float16")
    assert packed["some::values"].dtype == torch.half and nbytes(packed) < some.numel()


@pytest.mark.parametrize("form", FORMS)
def test_a_stored_model_explains_itself_exactly(model: zoo.SelfInterpretable, form: str, tmp_path: Path) -> None:
    folder = zoo.save(model, tmp_path / "small", metrics={"accuracy": 0.5}, storage=form)
    assert verify(folder) == 0  # golden terms are those of the rounded model, bit for bit
    loaded, rounded, config = zoo.load(folder), rounded_model(model, form), read_config(folder)
    for name, tensor in rounded.state_dict().items():
        assert tensor.dtype == model.state_dict()[name].dtype and torch.equal(loaded.state_dict()[name], tensor), name
    x = model.domain.example(3, torch.Generator().manual_seed(1))
    before, after = model.explain(x, reference="zero"), loaded.explain(x, reference="zero").check()
    assert torch.equal(before.scores, after.scores) == (form == "float32")
    if form == "float32":
        assert STORAGE not in config and config["format"] == 3
        return
    told = Storage.from_dict(config[STORAGE])
    files = sum(tensor.nbytes for tensor in load_file(folder / WEIGHTS).values())
    assert config["format"] == 4 and told.form == form and told.bytes_after == files < told.bytes_before
    again = zoo.save(loaded, tmp_path / "again", storage=form)
    torch.testing.assert_close(zoo.load(again).explain(x).scores, loaded.explain(x).scores)


def test_the_original_is_left_as_it_is(model: zoo.SelfInterpretable, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    zoo.save(model, tmp_path / "small", storage="int8")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_unknown_storage_is_refused(model: zoo.SelfInterpretable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be stored as float32, float16, bfloat16, int8; got 'int4'"):
        zoo.save(model, tmp_path / "small", storage="int4")
    assert not list(tmp_path.iterdir())


def test_a_shared_backbone_is_not_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_tensors, "SMALLEST", 4)
    own = cbm()
    with torch.no_grad():
        dict(own.named_parameters())["backbone.backbone.network.0.weight"].normal_()
    folder = zoo.save(own, tmp_path / "small", share_backbone=True, storage="int8")
    before, after = own.state_dict(), zoo.load(folder).state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed and not any("network" in name for name in changed) and verify(folder) == 0
    with pytest.raises(ValueError, match="would have to be rounded, too"):
        self_contained(folder, tmp_path / "upload")
    alone = zoo.load(zoo.save(own, tmp_path / "alone", storage="int8")).state_dict()
    first = next(name for name in before if name.endswith("network.0.weight"))
    assert not torch.equal(alone[first], before[first])


# What is told


def test_the_effect_is_measured(model: zoo.SelfInterpretable) -> None:
    """Against a calculation by hand; weights that are not rounded change nothing."""
    rounded, x = rounded_model(model, "int8"), model.domain.example(6, torch.Generator().manual_seed(2))
    told = model.explain(x, reference="zero")
    other = rounded.explain(x, told.target, reference="zero")
    truth = told.target.clone()
    truth[:3] = (truth[:3] + 1) % len(model.domain.classes)
    found = storage_effect(
        model, rounded, [{"input": x[:4], "target": truth[:4]}, {"input": x[4:], "target": truth[4:]}]
    )
    assert told.contributions is not None and other.contributions is not None
    assert found.change == pytest.approx(float((told.contributions - other.contributions).abs().max()))
    assert found.before == 0.5 and found.rows == 6 and found.metric == "accuracy" and found.gap is not None
    assert found.answers == float((other.scores.argmax(1) == told.target).double().mean())
    same = storage_effect(model, model, [{"input": x, "target": truth}])
    assert (same.change, same.answers, same.before) == (0, 1, same.after)
    with pytest.raises(ValueError, match="without rows"):
        storage_effect(model, rounded, [])


def test_card_and_remark_tell_it(model: zoo.SelfInterpretable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = zoo.save(model, tmp_path / "small", metrics={"accuracy": 0.5}, about={"confusions": []}, storage="int8")
    text = (folder / CARD).read_text()
    assert "| test, float32: accuracy | 0.5000 |" in text and "| effect of the storage | not measured |" in text
    attach_effect(folder, EFFECT)
    text = (folder / CARD).read_text()
    assert "0.9800 and 0.9750; 99.00% of the answers stay (200 test rows)" in text and "0.0123" in text
    assert verify(folder) == 0
    code = main(
        ["explain", "--checkpoint", str(folder), "--input", "docs/digit.png", "--output", str(tmp_path / "out")]
    )
    assert code == 0 and "no contribution changed by more than 0.012" in (tmp_path / "out" / "digit.html").read_text()
    plain = zoo.save(model, tmp_path / "plain")
    with pytest.raises(ValueError, match="stored in float32"):
        attach_effect(plain, EFFECT)


@pytest.mark.parametrize("wrong", [{"form": "int4"}, {"bytes_after": -1}, {"effect": {}}, {"more": 1}, {"effect": 3}])
def test_a_description_that_is_not_valid_is_refused(wrong: dict) -> None:
    plain = Storage("int8", 10, 5, EFFECT).to_dict() | wrong
    with pytest.raises(ValueError):
        Storage.from_dict(plain)
    with pytest.raises(ValueError, match="finite"):
        Storage.from_dict(Storage("int8", 10, 5, EFFECT).to_dict() | {"effect": {**vars(EFFECT), "change": math.nan}})


# Damage


def test_damaged_parts_are_refused(model: zoo.SelfInterpretable, tmp_path: Path) -> None:
    folder = zoo.save(model, tmp_path / "small", storage="int8")
    tensors = load_file(folder / WEIGHTS)
    name = next(key for key in tensors if key.endswith("::int8")).removesuffix("::int8")
    config = yaml.safe_load((folder / CONFIG).read_text())

    def spoiled(changes: dict, **more: object) -> Path:
        target = tmp_path / "spoiled"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        save_file({k: t for k, t in (tensors | changes).items() if t is not None}, target / WEIGHTS)
        hashes = {file: config_file.file_hash(target / file) for file in (WEIGHTS, GOLDEN)}
        config_file.write_config(target, {**config, "sha256": hashes, **more})
        return target

    for changes, message in (
        ({f"{name}::scale": None}, "a scale for each row"),
        ({f"{name}::scale": torch.ones(1)}, "a scale for each row"),
        ({f"{name}::int8": tensors[f"{name}::int8"].flatten()}, "a scale for each row"),
        ({f"{name}::int8": tensors[f"{name}::int8"].float()}, "needs int8"),
        ({f"{name}::int8": tensors[f"{name}::int8"][:, :1].contiguous()}, "the model of the config needs"),
        ({f"{name}::scale": torch.full_like(tensors[f"{name}::scale"], torch.nan)}, "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            zoo.load(spoiled(changes))
    with pytest.raises(ValueError, match="format 4 has the key 'storage'"):
        zoo.load(spoiled({}, format=3))


def test_half_precision_needs_the_format(model: zoo.SelfInterpretable, tmp_path: Path) -> None:
    folder = zoo.save(model, tmp_path / "small", storage="float16")
    config = yaml.safe_load((folder / CONFIG).read_text())
    del config[STORAGE]
    config_file.write_config(folder, {**config, "format": 3})
    with pytest.raises(ValueError, match=r"torch\.float16"):
        zoo.load(folder)
