"""The user's own images: every layout that is read, and every mistake with what is said about it."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import ImageFolder
from zoo.data.base.images import Pictures
from zoo.domain import Domain

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), COLOURS[colour]).save(path)
    return path


def fill(folder: Path, count: int = 10, classes: tuple[str, ...] = ("blue", "red")) -> Path:
    for label in classes:
        for i in range(count):
            picture(folder / label / f"{label}{i}.png", label)
    return folder


def read(root: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(str(root), size=(4, 6), **settings)


def names(part: Pictures) -> list[str]:
    return [part.name(i) for i in range(len(part))]


def labels(data: ImageFolder, part: Pictures) -> list[str]:
    return [data.domain["classes"][part[i]["target"]] for i in range(len(part))]


# Layouts


def test_folders_by_class(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    picture(tmp_path / "red" / "deep" / "below.PNG")  # nested, capital ending
    picture(tmp_path / ".thumbnails" / "x.png")  # hidden folders are no classes
    (tmp_path / "red" / "notes.txt").write_text("not an image")
    (tmp_path / "readme.md").write_text("not a class")
    data = read(tmp_path)
    assert data.domain["classes"] == ["blue", "red"]
    parts = {"train": data.train_dataset(), "val": data.val_dataset(), "test": data.test_dataset()}
    found = sorted(name for part in parts.values() for name in names(part))
    assert found == sorted([f"{c}/{c}{i}.png" for c in ("blue", "red") for i in range(20)] + ["red/deep/below.PNG"])
    counts = {split: Counter(labels(data, part)) for split, part in parts.items()}
    assert counts["test"] == {"blue": 4, "red": 4} and counts["val"] == {"blue": 2, "red": 2}
    assert counts["train"] == {"blue": 14, "red": 15}
    for part in parts.values():  # the label is the folder's, and the pixels are the file's
        for i, (name, label) in enumerate(zip(names(part), labels(data, part), strict=True)):
            assert name.startswith(label)
            assert part[i]["input"].shape == (3, 4, 6)
            assert Domain.from_dict(data.domain).picture(part[i]["input"])[:, 0, 0].tolist() == list(COLOURS[label])


def test_splits_follow_from_the_seed(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    for part in ("train_dataset", "val_dataset", "test_dataset"):
        first, again, other = (names(getattr(read(tmp_path, seed=seed), part)()) for seed in (0, 0, 1))
        assert first == again != other


def test_official_splits_by_folders(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("val", 2), ("test", 1)):
        fill(tmp_path / split, count)
    picture(tmp_path / "extras" / "x.png")  # beside train/, other folders are not read
    data = read(tmp_path)
    assert data.domain["classes"] == ["blue", "red"]
    assert names(data.train_dataset()) == [f"train/{c}/{c}{i}.png" for c in ("blue", "red") for i in range(5)]
    assert names(data.val_dataset()) == [f"val/{c}/{c}{i}.png" for c in ("blue", "red") for i in range(2)]
    assert names(data.test_dataset()) == ["test/blue/blue0.png", "test/red/red0.png"]


def test_train_and_test_folders_alone(tmp_path: Path) -> None:
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 1)
    data = read(tmp_path, val_fraction=0.2)
    train, val = names(data.train_dataset()), names(data.val_dataset())
    assert len(train) == 16 and len(val) == 4 and not set(train) & set(val)
    assert all(name.startswith("train/") for name in train + val)
    assert names(data.test_dataset()) == ["test/blue/blue0.png", "test/red/red0.png"]


def table(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def test_table_with_splits(tmp_path: Path) -> None:
    lines = [
        f"{c}/{c}{i}.png,{c}ish,{'train' if i < 3 else 'val' if i < 4 else 'test'}" for c in COLOURS for i in range(6)
    ]
    fill(tmp_path, 6, tuple(COLOURS))
    # As a spreadsheet saves it: byte order mark, further columns, an empty split for train.
    lines = [line.replace(",train", ",") + ",x" for line in lines]
    file = table(tmp_path / "list.csv", "path,label,split,note", *lines, encoding="utf-8-sig")
    data = read(tmp_path, csv=file)
    assert data.domain["classes"] == ["blueish", "greenish", "redish"]
    assert names(data.train_dataset()) == [f"{c}/{c}{i}.png" for c in COLOURS for i in range(3)]
    assert names(data.val_dataset()) == [f"{c}/{c}3.png" for c in COLOURS]
    assert Counter(labels(data, data.test_dataset())) == {"blueish": 2, "greenish": 2, "redish": 2}


def test_table_without_splits_and_files_elsewhere(tmp_path: Path) -> None:
    fill(tmp_path / "root", 5)
    away = picture(tmp_path / "away.png")
    lines = [f"{c}/{c}{i}.png,{c}" for c in ("blue", "red") for i in range(5)]
    data = read(tmp_path / "root", csv=table(tmp_path / "list.csv", "path,label", *lines, f"{away},red"))
    parts = [data.train_dataset(), data.val_dataset(), data.test_dataset()]
    found = [name for part in parts for name in names(part)]
    assert sorted(found) == sorted([line.split(",")[0] for line in lines] + ["away.png"])
    assert [len(part) for part in parts] == [7, 2, 2]


def test_domain_follows_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", str(fill(tmp_path, 4)))
    plain = ImageFolder("$PICTURES", size=(8, 5), channels=1, mean=[0.25], resize="crop").domain
    assert (plain["size"], plain["channels"], plain["mean"], plain["std"]) == ([8, 5], 1, [0.25], [0.5])
    assert plain["resize"] == "crop"
    assert read(tmp_path).domain["mean"] == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match="one number for each of 3 channels; got 1"):
        _ = ImageFolder("$PICTURES", mean=[0.25]).domain


def test_grey_inputs_from_colour_files(tmp_path: Path) -> None:
    data = ImageFolder(str(fill(tmp_path, 4)), size=(4, 6), channels=1)
    assert data.train_dataset()[0]["input"].shape == (1, 4, 6)
    assert torch.isfinite(next(iter(data.train_dataloader()))["input"]).all()


# Mistakes


def refused(error: type[Exception], message: str, root: Path, **settings: Any) -> None:
    """The error comes with the domain, that is, before a model is built."""
    with pytest.raises(error, match=message):
        _ = read(root, **settings).domain


def test_no_folder(tmp_path: Path) -> None:
    refused(
        FileNotFoundError,
        r"no image folder at .*nothing; give the folder as data\.init_args\.root",
        tmp_path / "nothing",
    )
    refused(FileNotFoundError, "no image folder at", picture(tmp_path / "a.png"))


def test_one_class_or_none(tmp_path: Path) -> None:
    refused(ValueError, r"has 0 classes to train on \(none\); a classifier needs two or more", tmp_path)
    fill(tmp_path, 4, ("red",))
    refused(ValueError, r"has 1 class to train on \(red\); a classifier needs two or more", tmp_path)


def test_empty_class(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    (tmp_path / "green").mkdir()
    (tmp_path / "green" / "notes.txt").write_text("soon")
    refused(ValueError, r"class folder .*green has no images \(\.bmp, .*\.webp\); fill it or remove it", tmp_path)


def test_class_with_too_few_images(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    fill(tmp_path, 2, ("green",))
    refused(
        ValueError,
        "class 'green' has only 2 training images; 3 are needed, because there is no val and no test split",
        tmp_path,
    )
    picture(tmp_path / "green" / "third.png", "green")
    data = read(tmp_path)
    for part in (data.train_dataset(), data.val_dataset(), data.test_dataset()):
        assert labels(data, part).count("green") == 1


def test_class_that_train_has_not(tmp_path: Path) -> None:
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 1, ("blue", "green"))
    refused(ValueError, "the test split has classes that the train split lacks: green", tmp_path)


def test_unreadable_images_are_all_counted_and_some_named(tmp_path: Path) -> None:
    fill(tmp_path, 8)
    for i in range(6):
        (tmp_path / "red" / f"red{i}.png").write_bytes(b"junk")
    message = r"6 images cannot be read \(red0\.png: cannot identify .*red4\.png: [^;]*\)\. Repair or remove them"
    refused(ValueError, message, tmp_path)


def test_damaged_image(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "red" / "red1.png")
    whole = (tmp_path / "red" / "red1.png").read_bytes()
    (tmp_path / "red" / "red1.png").write_bytes(whole[: len(whole) // 2])
    refused(ValueError, r"1 images cannot be read \(red1\.png: ", tmp_path)


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_images_that_were_cut_short(tmp_path: Path, ending: str, share: float) -> None:
    """A JPEG without its end has all that `PIL.Image.verify` looks at."""
    fill(tmp_path, 4)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = tmp_path / "red" / f"cut.{ending}"
    Image.fromarray(noise).save(file)
    assert len(read(tmp_path).train_dataset())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(ValueError, rf"1 images cannot be read \(cut\.{ending}: ", tmp_path)


@pytest.mark.parametrize("there", [("test",), ("val",), ("val", "test")])
def test_splits_without_one_to_train_on(tmp_path: Path, there: tuple[str, ...]) -> None:
    for split in there:
        fill(tmp_path / split, 4)
    message = rf"has {'/ and '.join(there)}/ but no train/\. Add train/<class>/ beside, or, if these are classes"
    refused(ValueError, message, tmp_path)


def test_no_table(tmp_path: Path) -> None:
    refused(FileNotFoundError, r"no CSV at .*list\.csv", fill(tmp_path, 4), csv=str(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (["file,class", "a.png,a"], ValueError, r"has no column 'path' \(found: file, class\)"),
        (["path,class", "a.png,a"], ValueError, r"has no column 'label' \(found: path, class\)"),
        ([""], ValueError, r"has no column 'path' \(found: nothing\)"),
        (
            ["path,label,split", "red/red0.png,red,dev"],
            ValueError,
            "line 2: split is 'dev'; expected train, val or test",
        ),
        (
            ["path,label", "red/red0.png,red", "red/red1.png,"],
            ValueError,
            "line 3: path and label must not be empty; got",
        ),
        (["path,label", ",red"], ValueError, "line 2: path and label must not be empty; got '', 'red'"),
        (
            ["path,label", "red/red0.png"],
            ValueError,
            "line 2 has 1 cells; expected 2",
        ),
        (
            ["path,label", "red/no.png,red", "no.png,blue"],
            FileNotFoundError,
            "lists 2 files that are not in .*line 3: no.p",
        ),
        (["path,label", "red/red0.png,a, b"], ValueError, "line 2 has 3 cells; expected 2, as in the first line"),
        (["path,label,split", "red/red0.png,red,test"], ValueError, r"has 0 classes to train on \(none\)"),
    ],
)
def test_table_that_cannot_be_right(tmp_path: Path, lines: list[str], error: type[Exception], message: str) -> None:
    file = table(tmp_path / "list.csv", *lines)
    refused(error, rf"list\.csv.*{message}", fill(tmp_path, 4), csv=file)


def test_linked_folders_are_read(tmp_path: Path) -> None:
    """Of 32 images in linked subfolders only 8 were used, silently."""
    fill(tmp_path / "store", 6)
    root = tmp_path / "root"
    for label in ("red", "blue"):
        (root / label).mkdir(parents=True)
        (root / label / "batch1").symlink_to(tmp_path / "store" / label)
    (root / "red" / "loop").symlink_to(root / "red")
    data = read(root)
    found = names(data.train_dataset()) + names(data.val_dataset()) + names(data.test_dataset())
    assert sorted(found) == sorted(f"{label}/batch1/{label}{i}.png" for label in ("red", "blue") for i in range(6))


def test_one_image_twice(tmp_path: Path) -> None:
    """The same file with two labels, or in two splits, was accepted."""
    fill(tmp_path, 4)
    lines = [f"{c}/{c}{i}.png,{c},train" for c in ("blue", "red") for i in range(4)]
    for again in ("red/red0.png,blue,train", "red/red0.png,red,test", "blue/../red/red0.png,red,train"):
        file = table(tmp_path / "list.csv", "path,label,split", *lines, again)
        message = (
            r"list\.csv: the same image is listed twice, as 'red' \(line 6\) and as '(red|blue)' \(line 10\); keep one"
        )
        refused(ValueError, message, tmp_path, csv=file)
    (tmp_path / "blue" / "link.png").symlink_to(tmp_path / "red" / "red0.png")
    message = "the same image is listed twice, as 'blue' .*link.png.* and as 'red' .*red0.png"
    refused(ValueError, message, tmp_path)


def test_few_images_with_splits_of_their_own(tmp_path: Path) -> None:
    """Three training images were needed "to hold some out", though nothing is held out."""
    for split in ("train", "val", "test"):
        fill(tmp_path / split, 1)
    data = read(tmp_path)
    assert [len(part) for part in (data.train_dataset(), data.val_dataset(), data.test_dataset())] == [2, 2, 2]
    for path in (tmp_path / "val").rglob("*.png"):
        path.unlink()
    refused(ValueError, "class folder .*blue has no images", tmp_path)
    for label in ("blue", "red"):
        (tmp_path / "val" / label).rmdir()
    refused(ValueError, "the val split is empty; fill it, or remove it", tmp_path)
    (tmp_path / "val").rmdir()
    refused(ValueError, "only 1 training images; 2 are needed, because there is no val split", tmp_path)


def test_pipes_devices_and_odd_names_are_refused_before_training(tmp_path: Path) -> None:
    """A pipe was waited for without end; a name that is not UTF-8 failed when results were written."""
    fill(tmp_path, 4)
    os.mkfifo(tmp_path / "red" / "pipe.png")
    (tmp_path / "red" / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "red" / os.fsdecode(b"odd\xff.png")).write_bytes((tmp_path / "red" / "red0.png").read_bytes())
    message = (
        r"3 images cannot be read \('odd\\udcff\.png': the file name is not UTF-8; pipe\.png: .*a named pipe.*; "
        r"zero\.jpg: .*a device.*\)"
    )
    refused(ValueError, message, tmp_path)


def test_postscript_named_png_runs_no_interpreter(tmp_path: Path) -> None:
    """Pillow starts Ghostscript for an EPS, whatever its name."""
    fill(tmp_path, 4)
    (tmp_path / "red" / "red1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    refused(ValueError, r"1 images cannot be read \(red1\.png: cannot identify", tmp_path)


def test_root_that_names_an_unset_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ValueError, match=r"\$NOWHERE/birds names an environment variable that is not set"):
        ImageFolder("$NOWHERE/birds")


def test_setting_that_cannot_be_right(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    refused(ValueError, "channels must be 1 .* got 2", tmp_path, channels=2)
    refused(ValueError, "resize must be 'squash' or 'crop'; got 'pad'", tmp_path, resize="pad")
