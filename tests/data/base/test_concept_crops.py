"""Crops to concepts: labels against counts of pixels, edges, tables of boxes, and the data that have boxes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.concepts import CBM
from zoo.data import ImageFolder, PartBirds
from zoo.data.base.concept_crops import ConceptCrops, visible
from zoo.training.cached_features import CachedFeatures

NAN = math.nan
BOXES = torch.tensor([[[2.0, 1, 4, 4], [4, 3, 4, 4], [7, 5, 2, 2], [NAN] * 4, [5, 1, 1, 1]]])
LABELS = torch.tensor([1.0, 1, 1, 1, NAN])
TABLE = "path,concept,left,top,width,height\n"


def pixels_of(box: list[float]) -> set[tuple[int, int]]:
    left, top, width, height = map(int, box)
    return {(x, y) for x in range(left, left + width) for y in range(top, top + height)}


def counted(crop: set[tuple[int, int]]) -> list[float]:
    """The labels of a crop by counting pixels of the boxes."""
    found = []
    for box, label in zip(BOXES[0].tolist(), LABELS.tolist(), strict=True):
        if label != 1:
            found.append(label)
        elif math.isnan(box[0]):
            found.append(NAN)
        else:
            share = len(crop & pixels_of(box)) / len(pixels_of(box))
            found.append(1.0 if share >= 0.5 else NAN if share else 0.0)
    return found


def test_a_crop_shows_what_lies_in_it() -> None:
    """Each drawn crop is the box of a present concept, with the labels that counting pixels gives."""
    picture = torch.arange(80.0).view(1, 8, 10)
    crops, seen = ConceptCrops(BOXES, 1.0), set()
    torch.manual_seed(0)
    for _ in range(30):
        cut, labels = crops(0, picture, LABELS)
        first = int(cut[0, 0, 0])
        box = {(v % 10, v // 10) for v in map(int, cut.flatten().tolist())}
        assert any(box == pixels_of(row) for row in BOXES[0, :3].tolist())
        torch.testing.assert_close(labels, torch.tensor(counted(box)), equal_nan=True)
        seen.add(first)
    assert seen == {12, 34, 57}  # every present concept that has a box, and no other


def test_how_often_and_how_small() -> None:
    picture = torch.rand(3, 8, 10)
    torch.manual_seed(0)
    changed = [ConceptCrops(BOXES, 0.25)(0, picture, LABELS)[0].shape != picture.shape for _ in range(400)]
    assert 0.2 < sum(changed) / 400 < 0.3
    assert ConceptCrops(BOXES, 1.0)(0, picture, torch.zeros(5))[0] is picture  # nothing to crop to
    wide = ConceptCrops(BOXES, 1.0, smallest=0.5)
    assert wide.edges(torch.tensor([7.0, 5, 2, 2]), 8, 10) == (5, 4, 10, 8)  # widened, and moved into the picture
    assert ConceptCrops(BOXES, 1.0).edges(torch.tensor([9.2, -3, 2, 4]), 8, 10) == (8, 0, 10, 4)  # partly outside
    with pytest.raises(ValueError, match=r"box 20, 1, 4, 4 .* of picture 0 lies outside of its 10 x 8 pixels"):
        ConceptCrops(torch.tensor([[[20.0, 1, 4, 4]]]), 1.0)(0, picture, torch.ones(1))
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\]; got 1.5"):
        ConceptCrops(BOXES, 1.5)
    with pytest.raises(ValueError, match=r"expected boxes \(N, k, 4\) of left, top, width, height; got \(1, 5, 2\)"):
        ConceptCrops(BOXES[..., :2], 1.0)


def test_what_lies_beyond_the_picture_does_not_count() -> None:
    """A box of which only a corner is in the picture is cropped to that corner, which shows the concept."""
    picture, corner = torch.arange(80.0).view(1, 8, 10), [-6.0, -5, 8, 8]
    crops = ConceptCrops(torch.tensor([[corner, [20.0, 1, 4, 4], [1.0, 1, 4, 4]]]), 1.0)
    torch.manual_seed(0)
    cut, labels = crops(0, picture, torch.tensor([1.0, 0, 0]))
    assert torch.equal(cut, picture[:, :3, :2]) and labels.tolist() == [1, 0, 0]
    found = crops.labels(visible(crops.boxes[0], 8, 10), torch.ones(3), (0, 0, 2, 3))
    torch.testing.assert_close(found, torch.tensor([1, NAN, NAN]), equal_nan=True)  # none of the second is seen


def folder(root: Path, boxes: str, **options: Any) -> ImageFolder:
    """Two classes of five red pictures, each but the last with a blue beak of 4 x 2 pixels."""
    rows = ["path,beak,tail"]
    for label in ("crow", "jay"):
        for i in range(5):
            image = Image.new("RGB", (12, 8), "red")
            image.paste("blue", (3, 2, 7, 4))
            (root / label).mkdir(parents=True, exist_ok=True)
            image.save(root / label / f"{i}.png")
            rows.append(f"{label}/{i}.png,{int(i < 4)},{i % 2}")
    (root / "concepts.csv").write_text("\n".join(rows))
    (root / "boxes.csv").write_text(TABLE + boxes)
    tables = {"concepts": str(root / "concepts.csv"), "concept_boxes": str(root / "boxes.csv")}
    return ImageFolder(str(root), size=(4, 4), **{**tables, "concept_crops": 1.0, **options})


def test_own_images_are_cropped_in_training_alone(tmp_path: Path) -> None:
    rows = "".join(f"{c}/{i}.png,beak,{x},2,2,2\n" for c in ("crow", "jay") for i in range(4) for x in (3, 5))
    data = folder(tmp_path, rows)
    boxes, labels = data.concept_boxes("train"), data.items("train", False).concepts
    assert labels is not None and (boxes[labels[:, 0] == 1, 0] == torch.tensor([3.0, 2, 4, 2])).all()  # around both
    blue = torch.tensor([-1.0, -1, 1])[:, None, None].expand(3, 4, 4)
    train, kept = data.train_dataset(), data.projection_dataset()
    for i in range(len(train)):
        if kept[i]["concepts"][0] == 0:  # nothing to crop to
            assert torch.equal(train[i]["input"], kept[i]["input"])
            continue
        assert torch.equal(train[i]["input"], blue) and train[i]["concepts"][0] == 1
        assert train[i]["concepts"][1].isnan() == (kept[i]["concepts"][1] == 1)  # a tail without a box
        assert not torch.equal(kept[i]["input"], blue)
    assert train.__getitems__([0, 1])[1]["input"].equal(train[1]["input"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("crow/0.png,beek,1,1,1,1\n", "line 2: no concept named 'beek'; did you mean 'beak'"),
        ("crow/9.png,beak,1,1,1,1\n", "line 2: no image .*9.png. Correct the path"),
        ("crow/0.png,beak,1,1,0,1\n", "line 2: expected left and top of at least 0, and width and height above 0; got"),
        ("crow/0.png,beak,1,x,1,1\n", "line 2: 'top'"),
        ("", "has no box for any of the"),
    ],
)
def test_mistakes_in_tables_of_boxes(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, rows).train_dataset()


def test_data_without_boxes_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="concept_crops needs boxes; give their table"):
        folder(tmp_path, "", concept_boxes=None).train_dataset()
    with pytest.raises(ValueError, match="concept_groups, exclusive and concept_boxes need concepts"):
        folder(tmp_path, "", concepts=None)


def test_part_birds_have_the_boxes_of_their_masks() -> None:
    birds = PartBirds(count=30, val_count=5, test_count=5, missing="absent", concept_crops=0.5)
    assert birds.domain["exclusive"] == [] and birds.projection_dataset().concepts is not None
    labels, boxes = birds.projection_dataset().concepts, birds.concept_boxes("train")
    assert labels is not None and not labels.isnan().any() and bool((labels.sum(1) < 5).any())
    masks: Tensor = birds.masks("train", list(range(30)))[0]
    parts = [p for p, n in enumerate((4, 3, 4, 9, 6)) for _ in range(n)]
    for i in range(30):
        for j in range(26):
            places = masks[i, parts[j]].nonzero()
            if labels[i, j] != 1 or not len(places):
                assert boxes[i, j].isnan().all()
                continue
            (top, left), (bottom, right) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
            assert boxes[i, j].tolist() == [left, top, right - left, bottom - top]
    item = birds.train_dataset()[3]
    assert item["input"].shape == (3, 64, 64) and item["concepts"].shape == (26,)
    with pytest.raises(ValueError, match="missing must be one of unknown, absent"):
        PartBirds(missing="gone")
    with pytest.raises(ValueError, match="masks are of whole pictures"):
        PartBirds(masks=["beak"], concept_crops=0.5)


def test_cached_features_refuse_crops(tmp_path: Path) -> None:
    birds = PartBirds(count=8, val_count=2, test_count=2, concept_crops=0.5)
    with pytest.raises(ValueError, match="concept_crops crops them anew in every epoch"):
        CachedFeatures(birds, CBM(birds.domain, {"name": "convnet", "widths": [4]}), tmp_path)
