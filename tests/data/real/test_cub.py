"""CUB-200-2011: a tiny set in the official layout, and the real one where it is at hand."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.data import CUB
from zoo.domain import Domain

CLASSES = ("001.Black_footed_Albatross", "002.Blue-winged_Warbler", "003.Gull")
BOX = (12, 5, 10, 8)  # left, top, width, height


def official(root: Path, per_class: int = 10) -> Path:
    """Blue pictures of 40 x 30 pixels with a red box; of each class every other one is for training."""
    rows = [
        (c, f"{name}/{name[4:]}_{i:04}.png", i % 2 == 0) for c, name in enumerate(CLASSES, 1) for i in range(per_class)
    ]
    image = Image.new("RGB", (40, 30), "blue")
    left, top, width, height = BOX
    image.paste("red", (left, top, left + width, top + height))
    for _, file, _ in rows:
        (root / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / "images" / file)
    columns = {
        "images.txt": [file for _, file, _ in rows],
        "image_class_labels.txt": [c for c, _, _ in rows],
        "train_test_split.txt": [int(train) for _, _, train in rows],
        "bounding_boxes.txt": [" ".join(f"{v:.1f}" for v in BOX)] * len(rows),
        "classes.txt": CLASSES,
    }
    for name, column in columns.items():
        (root / name).write_text("".join(f"{i} {value}\n" for i, value in enumerate(column, 1)))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return official(tmp_path / "CUB_200_2011")


def names(part) -> list[str]:
    return [part.name(i) for i in range(len(part))]


def test_names_of_classes_are_made_readable(root: Path) -> None:
    domain = Domain.from_dict(CUB(str(root), size=(8, 10)).domain)
    assert domain.classes == ("Black footed Albatross", "Blue-winged Warbler", "Gull")
    assert domain.shape == (3, 8, 10)


def test_official_split_is_kept(root: Path) -> None:
    data = CUB(str(root), size=(8, 10), val_fraction=0.2, augment="none")
    train, val, test = (names(part) for part in (data.train_dataset(), data.val_dataset(), data.test_dataset()))
    number = lambda name: int(name[-8:-4])  # noqa: E731
    assert len(train) == 12 and len(val) == 3 and len(test) == 15
    assert all(number(name) % 2 == 0 for name in train + val) and all(number(name) % 2 for name in test)
    assert not set(train) & set(val)
    assert Counter(name[:3] for name in val) == {"001": 1, "002": 1, "003": 1}
    for part in (data.train_dataset(), data.val_dataset(), data.test_dataset()):
        assert [part[i]["target"] for i in range(len(part))] == [int(name[:3]) - 1 for name in names(part)]


def test_crops_are_the_boxes(root: Path) -> None:
    data = CUB(str(root), size=(16, 20), augment="none")
    domain = Domain.from_dict(data.domain)
    for part in (data.projection_dataset(), data.val_dataset(), data.test_dataset()):
        for i in (0, len(part) - 1):
            assert domain.picture(part[i]["input"]).flatten(1).unique(dim=1).flatten().tolist() == [255, 0, 0]
    assert data.test_dataset().picture(0).size == BOX[2:]


def test_whole_pictures_keep_the_surroundings(root: Path) -> None:
    data = CUB(str(root), box_crop=False, size=(30, 40), augment="none")
    red, _, blue = Domain.from_dict(data.domain).picture(data.test_dataset()[0]["input"]).long()
    left, top, width, height = BOX
    assert red.sum() == 255 * width * height and red[top : top + height, left : left + width].min() == 255
    assert torch.equal(blue, 255 - red)


def test_training_pictures_are_augmented_and_references_are_not(root: Path) -> None:
    data = CUB(str(root), size=(16, 20))
    train, projection_set = data.train_dataset(), data.projection_dataset()
    assert names(train) == names(projection_set)
    assert any(not torch.equal(train[i]["input"], projection_set[i]["input"]) for i in range(5))
    assert torch.equal(projection_set[0]["input"], data.projection_dataset()[0]["input"])


def test_root_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA", str(root.parent))
    assert CUB().root == root
    root.rename(root.parent / "cub50")
    assert CUB().root == root.parent / "cub50"
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(ValueError, match=r"give data\.init_args\.root, or set the environment variable ZOO_DATA"):
        CUB()


def test_folder_that_is_not_cub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"no images\.txt in .*nothing; give the folder that CUB_200_2011\.tgz"):
        CUB(str(tmp_path / "nothing"))
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no images\.txt in .*CUB_200_2011 or .*cub50; give the folder"):
        CUB()


@pytest.mark.parametrize(
    "file", ["classes.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_file_that_is_missing_or_cut_short(root: Path, file: str) -> None:
    lines = (root / file).read_text().splitlines()
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {file}; it is not the complete CUB-200-2011 folder"):
        CUB(str(root)).test_dataset()
    if file != "classes.txt":
        (root / file).write_text("\n".join(lines[:-3]))
        with pytest.raises(ValueError, match=f"{file} has 27 lines, but images.txt has 30; unpack the data set again"):
            CUB(str(root)).test_dataset()


def test_picture_that_is_missing(root: Path) -> None:
    data = CUB(str(root))
    test = data.test_dataset()
    (root / "images" / test.name(0)).unlink()
    with pytest.raises(FileNotFoundError, match=r"no image file at .*Albatross_0001\.png"):
        test[0]


def test_real_birds(zoo_data: Path) -> None:
    if not (zoo_data / "cub50").is_dir():
        pytest.skip("ZOO_DATA has no cub50")
    data = CUB(str(zoo_data / "cub50"), val_fraction=0.1)
    official = data.pictures("train", "none")
    train, val, test = data.train_dataset(), data.val_dataset(), data.test_dataset()
    assert len(official) == 1500 and len(test) == 1389
    assert len(train) == 1350 and len(val) == 150  # 30 images a class
    assert Counter(official.targets.tolist()) == dict.fromkeys(range(50), 30)
    assert sorted(names(train) + names(val)) == sorted(official.names)
    assert not set(official.names) & set(names(test))
    assert data.domain["classes"][:2] == ["Black footed Albatross", "Laysan Albatross"]
    assert len(data.domain["classes"]) == 50 and set(test.targets.tolist()) == set(range(50))
    for i in (0, 700, 1388):
        box = test.boxes[i, 2:].tolist()
        assert test.picture(i).size == pytest.approx(box, abs=1)  # both edges are rounded
        assert test[i]["input"].shape == (3, 224, 224) and test[i]["input"].isfinite().all()
        assert test.name(i).startswith(f"{test[i]['target'] + 1:03}.")


# Parts


def with_parts(root: Path, visible: int = 1) -> Path:
    """Two parts of each of 30 birds: at its number, and in the middle of the box, the first seen or not."""
    (root / "parts").mkdir()
    (root / "parts" / "parts.txt").write_text("1 back\n2 left eye\n")
    lines = [f"{i} 1 {i}.5 7.0 {visible}\n{i} 2 17.0 9.0 1\n" for i in range(1, 31)]
    (root / "parts" / "part_locs.txt").write_text("".join(reversed(lines)))
    return root


def test_parts_are_those_of_the_split(root: Path) -> None:
    data = CUB(str(with_parts(root)), size=(8, 10), augment="none")
    for split, first in (("train", 0), ("test", 1)):
        found = data.parts(split)
        assert found.names == ("back", "left eye") and found.places.shape == (15, 2, 2)
        numbers = [10 * CLASSES.index(n.split("/")[0]) + int(n[-8:-4]) for n in data.pictures(split, "none").names]
        assert numbers[0] == first and found.places[:, 0, 0].tolist() == [n + 1.5 for n in numbers]
        shares = found.within(data.pictures(split, "none").boxes)
        assert torch.equal(shares[:, 1], torch.full((15, 2), 0.5))
        inside = [BOX[0] <= n + 1.5 <= BOX[0] + BOX[2] for n in numbers]
        assert (~shares[:, 0].isnan()).all(1).tolist() == inside


def test_parts_that_nobody_saw(root: Path) -> None:
    places = CUB(str(with_parts(root, 0))).parts("test").places
    assert places[:, 0].isnan().all() and not places[:, 1].isnan().any()


def with_attributes(root: Path) -> Path:
    """Three attributes of which all three classes differ; the annotations are percentages of classes."""
    (root / "attributes").mkdir()
    names = ("has_back_color::brown", "has_eye_color::red", "has_size::small")
    (root / "attributes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    (root / "attributes" / "class_attribute_labels_continuous.txt").write_text("90 80 60\n90 10 90\n0 90 0\n")
    return root


def test_boxes_of_attributes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around visible parts, relative to the cropped picture; attributes of parts that nobody sees are absent."""
    monkeypatch.setattr("zoo.data.real.cub_concepts.MIN_CLASSES", 1)
    where = str(with_attributes(with_parts(root, 0)))
    whole = CUB(where, size=(8, 10), concepts="class", part_side=0.5)
    labels, boxes = whole.items("train", False).concepts, whole.concept_boxes("train")
    assert labels is not None and labels[0].tolist() == [1, 1, 1] and labels[-1].tolist() == [0, 1, 0]
    assert boxes[:, [0, 2]].isnan().all()  # the back is never visible, a size is of the whole bird
    side = 0.5 * (BOX[2] * BOX[3]) ** 0.5
    expected = torch.tensor([17 - side / 2 - BOX[0], 9 - side / 2 - BOX[1], side, side])
    torch.testing.assert_close(boxes[0, 1], expected)
    assert boxes[labels[:, 1] != 1].isnan().all()
    seen = CUB(where, size=(8, 10), concepts="visible").items("train", False).concepts
    assert seen is not None and seen[0].tolist() == [0, 1, 1] and seen[-1].tolist() == [0, 1, 0]
    item = CUB(where, size=(8, 10), concepts="visible", concept_crops=1.0, augment="none").items("train", True)[0]
    assert item["input"].shape == (3, 8, 10) and item["concepts"][1] == 1 and item["concepts"][2].isnan()
    with pytest.raises(ValueError, match="boxes of concepts need concepts"):
        CUB(where).concept_boxes("train")


def test_parts_that_are_missing_or_cut_short(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no .*parts\.txt; it is part of the complete CUB-200-2011 folder"):
        CUB(str(root)).parts("train")
    file = with_parts(root) / "parts" / "part_locs.txt"
    file.write_text("\n".join(file.read_text().splitlines()[:-2]))
    with pytest.raises(ValueError, match=r"has 58 lines; expected 30 images x 2 parts = 60, with 5 numbers in each"):
        CUB(str(root)).parts("train")


def test_parts_of_real_birds_lie_in_their_boxes(zoo_data: Path) -> None:
    if not (zoo_data / "cub50").is_dir():
        pytest.skip("ZOO_DATA has no cub50")
    data = CUB(str(zoo_data / "cub50"))
    found, boxes = data.parts("test"), data.pictures("test", "none").boxes
    assert found.places.shape == (1389, 15, 2) and "left eye" in found.names
    seen = ~found.places[..., 0].isnan()
    inside = ~found.within(boxes)[..., 0].isnan()
    assert 0.6 < float(seen.float().mean()) < 1 and float(inside[seen].float().mean()) > 0.98
