"""A run knows what it was made of."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoo.cli.run_record import RunRecord, make_record, read_record, require_same
from zoo.data import Digits, ImageFolder
from zoo.data.base.fingerprint import fingerprint

CONFIG = {
    "model": {
        "class_path": "ProtoPNet",
        "init_args": {"dim": 8, "recipe": {"lr": {"head": 0.1}, "stages": [{"name": "a"}]}},
    },
    "data": {"class_path": "Digits", "init_args": {"augment": "flip", "workers": 0}},
    "seed_everything": 0,
    "trainer": {"max_epochs": 3, "devices": 1, "logger": None},
    "output": "runs/x",
}
DOMAIN = {"modality": "image", "classes": ["cat", "dog"], "mean": [0.5]}


def record(config: dict = CONFIG, domain: dict = DOMAIN, splits: dict | None = None) -> RunRecord:
    return make_record(config, domain, splits or {"train": {"items": 9, "sha256": "a"}})


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    record().save(tmp_path)
    found = read_record(tmp_path)
    assert found == record() and found is not None and found.differences(record()) == []
    assert set(found.versions) >= {"python", "torch"} and read_record(tmp_path / "nothing") is None


def test_where_files_lie_and_what_is_printed_does_not_matter() -> None:
    other = json.loads(json.dumps(CONFIG))
    other["data"]["init_args"]["workers"], other["trainer"]["devices"], other["output"] = 4, 2, "elsewhere"
    other["trainer"]["max_epochs"] = 9  # to train for longer
    assert record().differences(record(other)) == []


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("model.init_args.recipe.lr.head", 0.2, "model.init_args.recipe.lr.head: was 0.1, is 0.2"),
        ("model.init_args.recipe.stages", [{"name": "a"}, {"name": "b"}], "stages: had 1 entries, has 2"),
        ("data.init_args.augment", "none", 'data.init_args.augment: was "flip", is "none"'),
        ("seed_everything", 1, "seed: was 0, is 1"),
        ("trainer.precision", "bf16-mixed", 'trainer.precision: was missing, is "bf16-mixed"'),
    ],
)
def test_a_difference_is_named_by_its_key(path: str, value: object, line: str) -> None:
    other = json.loads(json.dumps(CONFIG))
    *above, last = path.split(".")
    part = other
    for key in above:
        part = part[key]
    part[last] = value
    found = record().differences(record(other))
    assert len(found) == 1 and found[0].endswith(line)


def test_other_classes_and_other_items_are_named() -> None:
    renamed = record(domain={**DOMAIN, "classes": ["zebra", "dog"]})
    assert record().differences(renamed) == ['domain.classes: entry 0 was "cat", is "zebra"']
    fewer = record(splits={"train": {"items": 8, "sha256": "b"}})
    assert record().differences(fewer)[0] == "split train.items: was 9, is 8"


def test_a_difference_is_refused_unless_the_user_insists(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"key {i}: was 0, is 1" for i in range(10)]
    with pytest.raises(ValueError, match=r"(?s)cannot resume runs/x: .*key 0.*and 2 more.*--force true"):
        require_same(lines, "resume runs/x", force=False)
    require_same(lines, "resume runs/x", force=True)
    assert "key 0: was 0, is 1" in capsys.readouterr().err
    require_same([], "resume runs/x", force=False)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"config": {}}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            read_record(tmp_path)


def test_versions_alone_are_no_difference() -> None:
    assert record().differences(replace(record(), versions={"torch": "0"})) == []


def test_the_fingerprint_follows_items_and_targets(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (8, 8), (i, 9, 9)).save(tmp_path / split / name / f"{i}.png")
    before = fingerprint(ImageFolder(str(tmp_path), size=[8, 8]))
    assert {split: told["items"] for split, told in before.items()} == {"train": 8, "val": 8, "test": 8}
    assert fingerprint(ImageFolder(str(tmp_path), size=[8, 8])) == before
    (tmp_path / "train" / "cat" / "0.png").rename(tmp_path / "train" / "dog" / "4.png")
    after = fingerprint(ImageFolder(str(tmp_path), size=[8, 8]))
    assert after["train"] != before["train"] and after["test"] == before["test"]


def test_the_fingerprint_of_numbers_follows_the_numbers() -> None:
    data = Digits()
    before = fingerprint(data)
    assert before == fingerprint(Digits()) and before != fingerprint(Digits(seed=1))
    items = data.items("train", False)
    assert len(items) > before["train"]["items"] and torch.is_tensor(items.targets)
