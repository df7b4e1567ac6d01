"""Part birds: what a class is made of, exact removals, masks that tell the truth."""

from itertools import combinations

import numpy as np
import pytest
import torch

from zoo.data import PartBirds
from zoo.data.bird_drawing import CARDINALITIES, GLYPHS, PARTS, Scene, paint

SMALL = {"count": 60, "val_count": 20, "test_count": 20}


@pytest.fixture(scope="module")
def birds() -> PartBirds:
    return PartBirds(**SMALL)


def test_items(birds: PartBirds) -> None:
    test = birds.test_dataset()
    assert len(test) == 20 and len(birds.train_dataset()) == 60 and len(birds.val_dataset()) == 20
    item = test[3]
    assert (
        item["input"].shape == (3, 64, 64) and item["regions"].shape == (5, 64, 64) and item["concepts"].shape == (26,)
    )
    assert set(item["regions"].unique().tolist()) == {0, 1} and test.name(3) == "test bird 3"
    start = 0
    for p, count in enumerate(CARDINALITIES):  # the concepts are those of the class
        assert item["concepts"][start : start + count].argmax() == birds.class_parts[item["target"], p]
        assert item["concepts"][start : start + count].sum() == 1
        start += count
    assert len(birds.domain["concepts"]) == start == 26 and birds.domain["exclusive"] == list(PARTS)


def test_deterministic_by_seed() -> None:
    one, two, other = PartBirds(**SMALL), PartBirds(**SMALL), PartBirds(**SMALL, seed=1)
    assert one.test_dataset()[5]["input"].equal(two.test_dataset()[5]["input"])
    assert not one.test_dataset()[5]["input"].equal(other.test_dataset()[5]["input"])
    assert not one.val_dataset()[5]["input"].equal(one.test_dataset()[5]["input"])


def test_classes_differ_and_the_ceiling_is_one(birds: PartBirds) -> None:
    assert len({tuple(row) for row in birds.class_parts.tolist()}) == 50
    assert bool((birds.class_parts < torch.tensor(CARDINALITIES)).all()) and birds.ceiling == 1
    complete = birds.class_parts[birds.items("test", False).targets]
    assert birds.compatible(complete).sum(1).tolist() == [1] * 20


def test_every_glyph_looks_different() -> None:
    for p, part in enumerate(PARTS):
        pictures = []
        for glyph in range(len(GLYPHS[part])):
            chosen = [0] * 5
            chosen[p] = glyph
            pictures.append(paint(Scene(chosen, (0.5, 0.5, 0.18, 0.0, 1.0), np.zeros((0, 6)), (220, 220, 220)), 64))
        for a, b in combinations(pictures, 2):
            changed = np.abs(a.astype(int) - b.astype(int)).max(2) > 40
            assert changed.sum() >= 4, part


def test_a_removed_part_changes_its_own_pixels_only(birds: PartBirds) -> None:
    rows = list(range(20))
    whole = torch.stack([birds.test_dataset()[i]["input"] for i in rows])
    parts, objects = birds.masks("test", rows)
    assert birds.interventions("test", rows, []).equal(whole)
    for p, part in enumerate(PARTS):
        without = birds.interventions("test", rows, [part])
        changed = (without != whole).any(1)
        assert not bool((changed & ~parts[:, p]).any()), part  # nothing else
        assert bool(changed.flatten(1).any(1).all()), part
        assert (changed & parts[:, p]).sum() >= 0.8 * parts[:, p].sum(), part  # and nearly all of its own
    bare = birds.interventions("test", rows, ["background"])
    changed = (bare != whole).any(1)
    assert not bool((changed & ~objects.any(1)).any())
    one = birds.interventions("test", rows, ["background 1"])
    assert not bool(((one != whole).any(1) & ~objects[:, 0]).any())


def test_regions_are_the_masks(birds: PartBirds) -> None:
    parts, _ = birds.masks("test", [4, 7])
    assert birds.test_dataset()[4]["regions"].equal(parts[0].float())
    assert birds.test_dataset()[7]["regions"].equal(parts[1].float())


def test_subsets(birds: PartBirds) -> None:
    (sets,) = birds.subsets("test", [2])
    assert sets.shape == (32, 3, 64, 64) and sets[31].equal(birds.test_dataset()[2]["input"])
    assert sets[0].equal(birds.interventions("test", [2], PARTS)[0])
    assert sets[0b10110].equal(birds.interventions("test", [2], ["beak", "tail"])[0])


def test_minimal_sufficient_sets_by_brute_force(birds: PartBirds) -> None:
    table = birds.class_parts.tolist()
    sizes = []
    for c in range(50):
        enough = []
        for size in range(6):
            for kept in combinations(range(5), size):
                alike = [o for o in range(50) if all(table[o][p] == table[c][p] for p in kept)]
                if alike == [c]:
                    enough.append(set(kept))
        least = [s for s in enough if not any(other < s for other in enough)]
        assert [set(s) for s in birds.minimal_sufficient(c)] == least
        sizes += [len(s) for s in least]
    assert 2.5 < len(sizes) / 50 < 5.5 and set(sizes) <= {1, 2, 3, 4} and np.mean(sizes) < 3


def test_training_birds_without_parts() -> None:
    data = PartBirds(count=2000, val_count=1, test_count=1)
    items = data.items("train", False)
    start, glyphs = 0, []
    for count in CARDINALITIES:
        labels = items.concepts[:, start : start + count]
        glyphs.append(torch.where(labels[:, 0].isnan(), -1, labels.nan_to_num().argmax(1)))
        assert bool((labels.isnan().all(1) | (labels.sum(1) == 1)).all())
        start += count
    glyphs = torch.stack(glyphs, 1)
    fits = data.compatible(glyphs)
    assert bool(fits.gather(1, items.targets[:, None]).all())  # a label that the parts allow
    missing = (glyphs < 0).sum(1)
    assert (missing == 0).double().mean() == pytest.approx(0.5 + 0.5 / 6, abs=0.04)
    assert [(missing == n).double().mean().item() for n in (1, 3, 5)] == pytest.approx([0.5 / 6] * 3, abs=0.03)
    many = items.targets[missing == 5]  # of birds without parts every class is as likely
    assert len(many.unique()) > 40


def test_bad_arguments(birds: PartBirds) -> None:
    with pytest.raises(ValueError, match=r"expected a side of 32 to 256 and 2 to 2592 classes; got 16 and 50"):
        PartBirds(side=16)
    with pytest.raises(ValueError, match=r"expected counts from 1, .*; got 5000, 500, 1000, 1.5 and 12"):
        PartBirds(removal=1.5)
    with pytest.raises(ValueError, match=r"birds have no 'beek' to remove; did you mean 'beak'"):
        birds.interventions("test", [0], ["beek"])
