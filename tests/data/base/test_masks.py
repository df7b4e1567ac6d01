"""Masks of what is relevant: files that fit their images, and masks that move with them."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from zoo.cli.run_record import RunRecord, make_record
from zoo.data import DecoyDigits, ImageFolder, PartBirds
from zoo.data.base.augment import PIPELINES
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.images import Pictures
from zoo.domain import ImageDomain

SQUARE = ImageDomain(classes=("a", "b"), size=(40, 40), mean=(0.0,) * 3, std=(1.0,) * 3)


class Squares:
    """Masks of a square off the centre; none for odd numbers."""

    def __getitem__(self, i: int) -> torch.Tensor | None:
        return None if i % 2 else square()[:1]


def square() -> torch.Tensor:
    picture = torch.zeros(3, 50, 50, dtype=torch.uint8)
    picture[:, 8:28, 22:46] = 255
    return picture


@pytest.mark.parametrize("augment", PIPELINES)
def test_a_mask_moves_with_its_picture(augment: str) -> None:
    """The picture is white where it is marked, so that every step must leave the two equal, but for the borders."""
    sources = torch.stack([square()] * 12)
    names = [str(i) for i in range(12)]
    pictures = Pictures(sources, torch.arange(12) % 2, SQUARE, names, augment=augment, masks=Squares())
    torch.manual_seed(0)
    items = pictures.__getitems__(list(range(12)))
    torch.manual_seed(0)
    without = Pictures(sources, torch.arange(12) % 2, SQUARE, names, augment=augment).__getitems__(list(range(12)))
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(items, without, strict=True))  # the same draws
    assert all(item["relevant"].isnan().all() for item in items[1::2])
    wrong = [((item["input"][0] > 0.5).float() - item["relevant"]).abs().mean() for item in items[::2]]
    assert max(wrong) < (0.2 if augment == "pipnet" else 0.03)  # "pipnet" shifts single views by a few pixels
    assert all(0.1 < item["relevant"].mean() < 0.5 for item in items[::2])


def test_a_mask_that_left_the_picture_is_unknown() -> None:
    domain = ImageDomain(classes=("a", "b"), size=(10, 10), resize="crop")
    sides = torch.zeros(1, 10, 30, dtype=torch.uint8)
    sides[:, :, :8] = 255  # outside of the middle square
    sources = torch.zeros(1, 3, 10, 30, dtype=torch.uint8)
    pictures = Pictures(sources, torch.zeros(1), domain, ["a"], masks=[sides])
    assert pictures[0]["relevant"].isnan().all()


def folder(root: Path) -> Path:
    for label in ("jay", "wren"):
        (root / label).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (20, 16), (40 * i, 0, 0)).save(root / label / f"{i}.jpg")
    return root


def mask(path: Path, size: tuple[int, int] = (20, 16), level: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size)
    image.paste(level, (0, 0, size[0] // 2, size[1]))
    image.save(path)
    return path


def test_masks_in_a_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "birds")
    for i in range(6):
        mask(tmp_path / "masks" / "jay" / f"{i}.png")
    data = ImageFolder(str(root), size=(8, 10), masks=str(tmp_path / "masks"), batch_size=20)
    batch = next(iter(data.train_dataloader()))
    names = [data.train_dataset().name(i) for i in range(len(data.train_dataset()))]
    known = ~batch["relevant"].flatten(1).isnan().any(1)
    assert batch["relevant"].shape == (len(names), 8, 10)
    assert int(known.sum()) == sum(name.startswith("jay") and int(name[4]) < 6 for name in names) > 0
    assert torch.equal(batch["relevant"][known][0], (torch.arange(10) < 5).float().expand(8, 10))
    assert "relevant" not in next(iter(ImageFolder(str(root), size=(8, 10)).train_dataloader()))


def test_a_resumed_run_has_the_same_masks(tmp_path: Path) -> None:
    """Regression: masks that were drawn anew since the training began were taken without a word."""
    root = folder(tmp_path / "birds")
    for i in range(10):
        mask(tmp_path / "masks" / "jay" / f"{i}.png")

    def record() -> RunRecord:
        data = ImageFolder(str(root), size=(8, 10), masks=str(tmp_path / "masks"))
        return make_record({}, data.domain, fingerprint(data))

    before = record()
    assert before.differences(record()) == [] and "masks" not in before.splits["test"]
    data = ImageFolder(str(root), size=(8, 10)).train_dataset()
    name = next(Path(name).stem for name in map(data.name, range(len(data))) if name.startswith("jay"))
    path = mask(tmp_path / "masks" / "jay" / f"{name}.png")
    with Image.open(path) as image:
        ImageOps.mirror(image).save(path)
    assert before.differences(record()) == ["split train: other masks"]
    path.unlink()
    assert before.differences(record()) == ["split train: other masks"]
    without = fingerprint(ImageFolder(str(root), size=(8, 10)))
    assert all("masks" not in split for split in without.values())
    assert without["train"]["sha256"] == before.splits["train"]["sha256"]


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root, masks = folder(tmp_path / "birds"), tmp_path / "masks"
    data = lambda: ImageFolder(str(root), size=(8, 10), masks=str(masks)).train_dataset()  # noqa: E731
    with pytest.raises(FileNotFoundError, match="no folder of masks at"):
        data()
    masks.mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no masks; the mask of birds/a/b.jpg is masks/a/b.png"):
        data()
    cases = {
        "jay/77.png": ({}, "77.png has the name of no image"),
        "jay/1.png": ({"size": (10, 16)}, r"1.png has 16 x 10 pixels, its image 16 x 20"),
        "wren/2.png": ({"level": 90}, "2.png marks nothing"),
    }
    for name, (options, message) in cases.items():
        path = mask(masks / name, **options)
        with pytest.raises(ValueError, match=f"1 masks do not fit .{message}"):
            data()
        path.unlink()
    (masks / "jay").mkdir(exist_ok=True)
    Image.new("RGBA", (20, 16), (255, 255, 255, 0)).save(masks / "jay" / "1.png")
    with pytest.raises(ValueError, match=r"1.png has transparent pixels"):
        data()
    (masks / "jay" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1.png cannot be read as an image"):
        data()
    mask(masks / "jay" / "1.png")
    Image.new("RGB", (20, 16)).save(root / "jay" / "1.bmp")
    with pytest.raises(ValueError, match=r"1.png has the name of 2 images: 1.bmp and 1.jpg"):
        data()


def test_masks_of_generated_pictures_are_the_pixels_of_factors() -> None:
    small = {"count": 12, "val_count": 2, "test_count": 2, "classes": 3, "removal": 1.0}
    data = PartBirds(masks=["beak", "wing"], **small)
    for item in (data.train_dataset()[i] for i in range(12)):
        union = item["regions"][[0, 4]].amax(0)
        assert torch.equal(item["relevant"], union) if union.any() else item["relevant"].isnan().all()
    flipped = PartBirds(masks=["beak", "wing"], augment="flip", **small).train_dataset()
    for i in range(12):
        plain, moved = data.train_dataset()[i]["relevant"], flipped[i]["relevant"]
        assert any(torch.equal(p.nan_to_num(-1), moved.nan_to_num(-1)) for p in (plain, plain.flip(1)))
    digits = DecoyDigits("corner", masks=["digit"], count=20, test_count=5).train_dataset()
    assert torch.equal(digits[3]["relevant"], digits[3]["regions"][0])
    assert "relevant" not in PartBirds(**small).train_dataset()[0]
    with pytest.raises(ValueError, match=r"masks must be one of beak, eye, foot, tail, wing; got 'beek'. Did you mean"):
        PartBirds(masks=["beek"])
