"""Part birds: what a class is made of, exact removals, masks that tell the truth."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import PartBirds
from zoo.data.synthetic.bird_drawing import objects_seen, render
from zoo.data.synthetic.bird_scenes import BACKGROUND, Scenes
from zoo.data.synthetic.bird_shapes import CARDINALITIES, GLYPHS, PARTS

SMALL = {"count": 60, "val_count": 20, "test_count": 20}
ROWS = list(range(20))


@pytest.fixture(scope="module")
def birds() -> PartBirds:
    return PartBirds(**SMALL)


def scenes_of(glyphs: list[list[int]], unit: float = 0.15, objects: list[list[float]] | None = None) -> Scenes:
    """Birds in the middle of a grey picture, the smallest that there are, all before the same objects."""
    count = len(glyphs)
    place = torch.tensor([[0.5, 0.5, unit, 0.0, 1.0]], dtype=torch.float64).expand(count, -1)
    behind = torch.tensor(objects or [], dtype=torch.float64).view(1, -1, 6).expand(count, -1, -1)
    return Scenes(torch.tensor(glyphs), place, behind, torch.full((count, 3), 220, dtype=torch.uint8))


def clearly_changed(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How many pixels (n,) of pictures (n, 3, H, W) differ by more than 40 of 255."""
    return ((one.int() - other.int()).abs().amax(1) > 40).flatten(1).sum(1)


def glyphs_told(concepts: torch.Tensor) -> torch.Tensor:
    """(N, 5) from concepts (N, 26), -1 where nothing is annotated; every part's are one-hot, or all unknown."""
    told = []
    for labels in concepts.split(list(CARDINALITIES), 1):
        assert bool((labels.isnan().all(1) | (labels.sum(1) == 1)).all())
        told.append(torch.where(labels[:, 0].isnan(), -1, labels.nan_to_num().argmax(1)))
    return torch.stack(told, 1)


def test_items(birds: PartBirds) -> None:
    assert [len(birds.items(split, False)) for split in ("train", "val", "test")] == [60, 20, 20]
    assert len(birds.train_dataset()) == 60 and birds.val_dataset().name(2) == "val bird 2"  # an official split
    item = birds.test_dataset()[3]
    assert item["input"].shape == (3, 64, 64) and item["regions"].shape == (5, 64, 64)
    assert set(item["regions"].unique().tolist()) == {0, 1}
    assert birds.factors == PARTS and list(birds.domain["concept_groups"]) == list(PARTS) == birds.domain["exclusive"]
    assert birds.domain["concepts"][:5] == ["beak 1", "beak 2", "beak 3", "beak 4", "eye 1"]
    batch = next(iter(birds.test_dataloader()))
    assert batch["concepts"].shape == (20, len(birds.domain["concepts"])) == (20, 26)
    assert glyphs_told(batch["concepts"]).equal(birds.class_parts[batch["target"]])  # complete birds of their class


def test_deterministic_by_seed() -> None:
    one, two, other = PartBirds(**SMALL), PartBirds(**SMALL), PartBirds(**SMALL, seed=1)
    pictures = [data.items("test", False).sources[ROWS] for data in (one, two, other)]
    assert pictures[0].equal(pictures[1]) and not pictures[0].equal(pictures[2])
    assert one.items("train", True).targets.equal(two.items("train", True).targets)
    assert one.class_parts.equal(two.class_parts) and not one.class_parts.equal(other.class_parts)
    streams = [one.items(split, False).sources.scenes.place[0] for split in ("train", "val", "test")]
    assert not any(a.equal(b) for a, b in combinations(streams, 2))


def test_classes_have_parts_of_their_own(birds: PartBirds) -> None:
    table = birds.class_parts
    assert len(table.unique(dim=0)) == len(table) == 50
    assert bool((table >= 0).all()) and bool((table < torch.tensor(CARDINALITIES)).all())
    every = PartBirds(**SMALL, classes=2592).class_parts
    assert len(every.unique(dim=0)) == 2592  # all combinations, once each
    with pytest.raises(ValueError, match=r"a side of 32 to 256 and 2 to 2592 classes; got 64 and 2593"):
        PartBirds(classes=2593)


def test_the_label_can_be_seen_so_the_ceiling_is_one(birds: PartBirds) -> None:
    """No other kind of a part, in the same scene, looks the same: pixels tell the parts, and these the class."""
    scenes = birds.items("test", False).sources.scenes
    drawn = render(scenes, 64)[0]
    for p, count in enumerate(CARDINALITIES):
        for step in range(1, count):
            glyphs = scenes.glyphs.clone()
            glyphs[:, p] = (glyphs[:, p] + step) % count
            other = Scenes(glyphs, scenes.place, scenes.objects, scenes.ground)
            assert clearly_changed(render(other, 64)[0], drawn).min() >= 8, PARTS[p]
    assert birds.compatible(scenes.glyphs).nonzero()[:, 1].equal(birds.items("test", False).targets)
    assert birds.ceiling == 1


@pytest.mark.parametrize("part", PARTS)
def test_every_glyph_looks_different(part: str) -> None:
    p, count = PARTS.index(part), len(GLYPHS[part])
    glyphs = [[0] * p + [g] + [0] * (4 - p) for g in range(count)]
    pictures = render(scenes_of(glyphs), 64)[0]  # of the smallest birds
    bare = render(scenes_of(glyphs).without([part]), 64)[0]
    assert bare.unique(dim=0).shape[0] == 1
    assert clearly_changed(pictures, bare).min() >= 8
    for a, b in combinations(range(count), 2):
        assert clearly_changed(pictures[a : a + 1], pictures[b : b + 1]).item() >= 8, (a, b)


def test_areas_and_colours_by_geometry() -> None:
    square = [1, 0, 0.5, 0.5, 0.2, 0.0]  # half a side of 0.8 radii
    bird = scenes_of([[-1] * 5], 1e-6, [square])
    picture, bits = render(bird, 128)
    assert objects_seen(bird, 128).sum().item() == pytest.approx((2 * 0.8 * 0.2 * 128) ** 2, rel=0.06)
    assert picture[0, :, 0, 0].tolist() == [220] * 3 and picture[0, :, 50, 50].tolist() == [92, 148, 110]
    assert not (bits & 0b11111).any()  # no part
    white = render(scenes_of([[0, 0, 0, 0, 0]], 0.2), 256)[1] >> PARTS.index("wing") & 1
    whole = np.pi * 0.5 * 0.3 * (0.2 * 256) ** 2  # an ellipse, a little of which the eye could hide, but does not
    assert white.sum().item() == pytest.approx(whole, rel=0.08)
    tail, foot = (render(scenes_of([[0] * 5]), 64)[1] >> PARTS.index(part) & 1 for part in ("tail", "foot"))
    columns, lines = tail[0].any(0).nonzero(), foot[0].any(1).nonzero()
    assert columns.max() < 32 and lines.min() >= 32  # it looks to the right, and stands below its middle


def test_a_removed_part_changes_its_own_pixels_only(birds: PartBirds) -> None:
    whole = birds.interventions("test", ROWS, [])
    assert whole.equal(torch.stack([birds.test_dataset()[i]["input"] for i in ROWS]))
    parts, objects = birds.masks("test", ROWS)
    assert parts.shape == (20, 5, 64, 64) and objects.shape == (20, 12, 64, 64)
    assert parts.float().equal(torch.stack([birds.test_dataset()[i]["regions"] for i in ROWS]))
    for p, part in enumerate(PARTS):
        changed = (birds.interventions("test", ROWS, [part]) != whole).any(1)
        assert not bool((changed & ~parts[:, p]).any()), part  # nothing else
        own = parts[:, p].flatten(1).sum(1)
        assert bool(((changed & parts[:, p]).flatten(1).sum(1) >= 0.8 * own).all()) and own.min() >= 8, part
    for i in range(12):
        changed = (birds.interventions("test", ROWS, [f"{BACKGROUND} {i + 1}"]) != whole).any(1)
        assert not bool((changed & ~objects[:, i]).any())
        seen = objects[:, i].flatten(1).sum(1) > 4  # an object in front of one of its colour may change nothing
        assert (changed.flatten(1).any(1) | ~seen).double().mean() > 0.9


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from([*PARTS, BACKGROUND, f"{BACKGROUND} 1", f"{BACKGROUND} 12"])), st.integers(0, 19))
def test_what_is_left_is_as_it_was(birds: PartBirds, remove: set[str], row: int) -> None:
    parts, objects = birds.masks("test", [row])
    gone = [parts[0, p] for p, part in enumerate(PARTS) if part in remove]
    gone += [seen for i, seen in enumerate(objects[0]) if {BACKGROUND, f"{BACKGROUND} {i + 1}"} & remove]
    where = torch.stack([torch.zeros(64, 64, dtype=torch.bool), *gone]).any(0)
    whole, left = birds.interventions("test", [row], [])[0], birds.interventions("test", [row], remove)[0]
    assert bool((whole == left)[:, ~where].all())
    assert birds.interventions("test", [row], [*remove, *remove])[0].equal(left)


def test_bird_pixels(birds: PartBirds) -> None:
    bird, (parts, _) = birds.bird_pixels("test", ROWS), birds.masks("test", ROWS)
    assert bird.shape == (20, 64, 64) and not bool((parts.any(1) & ~bird).any())
    assert (bird & ~parts.any(1)).flatten(1).sum(1).min() > 40  # the trunk
    alone = birds.interventions("test", ROWS, [BACKGROUND])
    ground = alone[:, :, :1, :1]
    assert not bool(((alone != ground).any(1) & ~bird).any())
    assert ((alone != ground).any(1) == bird).double().mean() > 0.998  # but for shapes of the colour of the ground


def test_subsets(birds: PartBirds) -> None:
    first, second = birds.subsets("test", [2, 5])
    assert first.shape == (32, 3, 64, 64) and first[31].equal(birds.test_dataset()[2]["input"])
    for kept in range(32):
        remove = [part for p, part in enumerate(PARTS) if not kept >> p & 1]
        assert second[kept].equal(birds.interventions("test", torch.tensor([5]), remove)[0]), remove


def test_minimal_sufficient_sets_by_brute_force(birds: PartBirds) -> None:
    table, sizes = birds.class_parts.tolist(), []
    for c in range(50):
        enough = []
        for size in range(6):
            for kept in combinations(range(5), size):
                alike = [o for o in range(50) if all(table[o][p] == table[c][p] for p in kept)]
                if alike == [c]:
                    enough.append(kept)
        least = [s for s in enough if not any(set(other) < set(s) for other in enough)]
        assert birds.minimal_sufficient(c) == least
        sizes += [len(s) for s in least]
    assert len(sizes) / 50 == pytest.approx(3.9, abs=0.8)  # as in tables of 50 random classes
    assert set(sizes) <= {1, 2, 3, 4} and np.mean([size in (2, 3) for size in sizes]) > 0.9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*(st.integers(-1, n - 1) for n in CARDINALITIES)), max_size=5))
def test_compatible_classes_by_brute_force(birds: PartBirds, glyphs: list[tuple[int, ...]]) -> None:
    fits = birds.compatible(torch.tensor(glyphs, dtype=torch.long).view(-1, 5))
    table = birds.class_parts.tolist()
    expected = [
        [all(own in (-1, want) for own, want in zip(bird, row, strict=True)) for row in table] for bird in glyphs
    ]
    assert fits.tolist() == expected


def test_training_birds_without_parts() -> None:
    data = PartBirds(side=32, count=3000, val_count=1, test_count=1)
    items = data.items("train", False)
    glyphs = glyphs_told(data.concept_labels())
    assert glyphs.equal(items.sources.scenes.glyphs)
    assert bool(data.compatible(glyphs).gather(1, items.targets[:, None]).all())  # a label that the parts allow
    missing = (glyphs < 0).sum(1)
    shares = (missing.bincount(minlength=6) / 3000).tolist()
    assert shares == pytest.approx([0.5 + 0.5 / 6] + [0.5 / 6] * 5, abs=0.03)
    assert (glyphs < 0).double().mean(0).tolist() == pytest.approx([0.5 * 2.5 / 5] * 5, abs=0.03)  # every part alike
    fits, labels = data.compatible(glyphs).double(), torch.nn.functional.one_hot(items.targets, 50).double()
    expected = fits / fits.sum(1, keepdim=True)  # any class that the parts allow, with equal chance
    off, spread = (labels - expected).sum(0), (expected * (1 - expected)).sum(0).sqrt()
    assert bool((off.abs() < 4 * spread).all())
    absent = items[int((missing == 5).nonzero()[0])]
    assert not absent["regions"].any() and bool(absent["concepts"].isnan().all())
    assert bool((PartBirds(**SMALL, removal=0).items("train", True).sources.scenes.glyphs >= 0).all())


def test_scenes_tell_nothing_of_the_class() -> None:
    data = PartBirds(side=32, count=1, val_count=1, test_count=4000)
    items = data._splits["test"]  # which are not painted
    scenes, targets = items.sources.scenes, items.targets
    assert targets.bincount().tolist() == [80] * 50
    objects = (scenes.objects[:, :, 0] >= 0).sum(1)
    assert (objects.bincount(minlength=13) / 4000).tolist() == pytest.approx([1 / 13] * 13, abs=0.02)
    values = torch.cat([scenes.place, objects[:, None], scenes.ground], 1).double()
    spread = torch.stack([values[targets == c].mean(0) for c in range(50)]).std(0) / values.std(0)
    assert bool((spread < 1.5 / 80**0.5).all())  # of means of 80 draws, the same for all classes


def test_augmented_birds_have_no_regions() -> None:
    data = PartBirds(**SMALL, augment="pipnet", views=2)
    item = data.train_dataset()[0]
    assert set(item) == {"input", "view", "target", "concepts"} and item["view"].shape == (3, 64, 64)
    assert "regions" in data.projection_dataset()[0] and "regions" in data.test_dataset()[0]


def test_without_background() -> None:
    data = PartBirds(side=32, **SMALL, background=0)
    parts, objects = data.masks("test", [0, 1])
    assert parts.shape == (2, 5, 32, 32) and objects.shape == (2, 0, 32, 32)
    assert data.interventions("test", [0], [BACKGROUND]).equal(data.interventions("test", [0], []))
    corners = data.items("test", False).sources[ROWS][:, :, 0, 0]
    assert corners.equal(data.items("test", False).sources.scenes.ground)  # plain
    with pytest.raises(ValueError, match=r"no removable factor named 'background 1'; did you mean 'background'\?"):
        data.interventions("test", [0], ["background 1"])


def test_bad_arguments(birds: PartBirds) -> None:
    with pytest.raises(ValueError, match=r"expected a side of 32 to 256 and 2 to 2592 classes; got 16 and 50"):
        PartBirds(side=16)
    with pytest.raises(ValueError, match=r"expected 0 <= removal <= 1 and 0 <= background <= 100; got 1.5 and 12"):
        PartBirds(removal=1.5)
    with pytest.raises(ValueError, match=r"no removable factor named 'beek'; did you mean 'beak'\?"):
        birds.interventions("test", [0], ["beek"])
    with pytest.raises(ValueError, match=r"split must be one of train, val, test; got 'tset'\. Did you mean 'test'\?"):
        birds.masks("tset", [0])
    with pytest.raises(ValueError, match=r"split 'test' has rows 0 to 19; got -1"):
        next(birds.subsets("test", [-1]))
    with pytest.raises(ValueError, match=r"split 'test' has rows 0 to 19; got 20"):
        birds.interventions("test", [20], [])
    for c in (-1, 50):
        with pytest.raises(ValueError, match=rf"expected a class of 0 to 49; got {c}\."):
            birds.minimal_sufficient(c)
    with pytest.raises(ValueError, match=r"expected glyphs \(N, 5\), -1 for a missing part; got \(3, 4\)"):
        birds.compatible(torch.zeros(3, 4))
