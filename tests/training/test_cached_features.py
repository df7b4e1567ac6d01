"""Cached features: the same maps, both views, images where images are needed, and a clear error where it cannot be."""

from pathlib import Path

import pytest
import torch

from zoo.cli.main import main
from zoo.data import Digits, PartBirds
from zoo.networks.base import Features
from zoo.prototypes import PIPNet, ProtoPNet
from zoo.training.cached_features import CachedFeatures
from zoo.training.stages import parse_stages

FROZEN = [
    {"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]},
    {"name": "push"},
    {"name": "last", "epochs": 1, "train": ["head"]},
]


def parts(tmp_path: Path, augment: str = "flip", **options: object) -> tuple[CachedFeatures, ProtoPNet, Digits]:
    torch.manual_seed(0)
    data = Digits(augment=augment)
    settings = {
        "backbone": {"name": "convnet", "widths": [6], "pool": [0]},
        "dim": 4,
        "recipe": {"stages": FROZEN},
        **options,
    }
    model = ProtoPNet(data.domain, prototypes_per_class=1, **settings).eval()
    return CachedFeatures(data, model, tmp_path), model, data


def test_maps_are_what_the_backbone_makes(tmp_path: Path) -> None:
    cached, model, data = parts(tmp_path, "none")
    train, images = cached.train_dataloader().dataset, data.projection_dataset()
    assert len(train) == len(images)
    with torch.no_grad():
        for i in (0, 7, len(images) - 1):
            expected = model.backbone(images[i]["input"][None])[0]
            torch.testing.assert_close(train[i]["input"], expected, rtol=1e-3, atol=1e-3)
            assert train[i]["target"] == images[i]["target"]
            x = images[i]["input"][None]
            maps = train[i]["input"][None].as_subclass(Features)
            torch.testing.assert_close(model(x), model.step(maps)[0], rtol=2e-2, atol=2e-2)


def test_both_views_are_drawn(tmp_path: Path) -> None:
    cached, model, data = parts(tmp_path)
    train, x = cached.train_dataloader().dataset, data.projection_dataset()[3]["input"][None]
    with torch.no_grad():
        views = [model.backbone(v)[0] for v in (x, x.flip(-1))]
    seen = {min(range(2), key=lambda v: (train[3]["input"] - views[v]).abs().max().item()) for _ in range(30)}
    assert seen == {0, 1}
    assert len(cached.val_dataloader().dataset) == len(data.val_dataset())


def test_masks_lie_on_the_view_that_is_drawn(tmp_path: Path) -> None:
    """Regression: a mask was not mirrored with its features, so that the loss punished what is marked."""
    small = {"count": 8, "val_count": 2, "test_count": 2, "classes": 3, "removal": 0.0}
    data = PartBirds(masks=["beak"], augment="flip", **small)
    spec = {"name": "convnet", "widths": [6], "pool": [0]}
    model = ProtoPNet(data.domain, spec, 1, dim=4, recipe={"stages": FROZEN}).eval()
    train, seen = CachedFeatures(data, model, tmp_path).train_dataloader().dataset, set()
    plain = data.projection_dataset()[3]
    assert not torch.equal(plain["relevant"], plain["relevant"].flip(-1))
    with torch.no_grad():
        views = [model.backbone(v)[0] for v in (plain["input"][None], plain["input"][None].flip(-1))]
    for item in (train[3] for _ in range(20)):
        view = min(range(2), key=lambda v: (item["input"] - views[v]).abs().max().item())
        assert torch.equal(item["relevant"], (plain["relevant"], plain["relevant"].flip(-1))[view])
        seen.add(view)
    assert seen == {0, 1}


def test_masks_are_bytes_in_a_file(tmp_path: Path) -> None:
    """Regression: they were floats in memory, 0.2 MB for an image of 224 x 224, without a bound."""
    data = PartBirds(masks=["beak"], count=30, val_count=2, test_count=2, classes=3, removal=1.0)
    spec = {"name": "convnet", "widths": [6], "pool": [0]}
    model = ProtoPNet(data.domain, spec, 1, dim=4, recipe={"stages": FROZEN}).eval()
    train, plain = CachedFeatures(data, model, tmp_path).train_dataloader().dataset, data.projection_dataset()
    assert all(torch.as_tensor(value).numel() <= 64 for item in train.rest for value in item.values())
    assert {name: marks.bytes.dtype.itemsize for name, marks in train.marks.items()} == {"relevant": 1, "regions": 1}
    for item, expected in zip(train.__getitems__(list(range(30))), [plain[i] for i in range(30)], strict=True):
        assert torch.equal(item["regions"], expected["regions"])
        torch.testing.assert_close(item["relevant"], expected["relevant"], rtol=0, atol=0, equal_nan=True)
    assert {bool(plain[i]["relevant"].isnan().all()) for i in range(30)} == {True, False}
    assert not list(tmp_path.iterdir())


def test_balanced_sampling_is_kept(tmp_path: Path) -> None:
    """Regression: the cache read every item once, whatever the data's `sampling` was."""
    cached, _, data = parts(tmp_path, "none")
    data.sampling = "balanced"
    assert list(cached.train_dataloader().sampler) == list(data.train_dataloader().sampler)


@pytest.mark.parametrize("augment", ["none", "flip"])
def test_batches_are_their_items(augment: str, tmp_path: Path) -> None:
    """And take the same draws: what is trained does not depend on how it is read."""
    train, found = parts(tmp_path, augment)[0].train_dataloader().dataset, []
    for read in (train.__getitems__, lambda rows: [train[i] for i in rows]):
        torch.manual_seed(3)
        found.append(read([5, 0, 9, 5]))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one["input"], other["input"]) and one["target"] == other["target"]
        assert one["input"].dtype == torch.float32


def test_a_pair_of_views_is_drawn_once(tmp_path: Path) -> None:
    """And is the same in every run: a run that is continued makes its cache anew."""
    pairs = []
    for seed in (1, 2):
        data = Digits(augment="pipnet", views=2, batch_size=256, val_fraction=0.95)
        torch.manual_seed(0)
        model = PIPNet(data.domain, {"name": "convnet", "widths": [6], "pool": [0]}, tail=0, prototypes=4).eval()
        model.stages = parse_stages([{"name": "joint", "epochs": 1, "train": ["addon", "head"]}])
        torch.manual_seed(seed)
        cached = CachedFeatures(data, model, tmp_path)
        pairs.append(cached.train_dataloader().dataset[3])
    assert torch.equal(pairs[0]["input"], pairs[1]["input"]) and torch.equal(pairs[0]["view"], pairs[1]["view"])
    assert pairs[0]["input"].shape == (6, 4, 4) and not torch.equal(pairs[0]["input"], pairs[0]["view"])
    assert pairs[0]["target"] == data.projection_dataset()[3]["target"]
    assert "view" not in cached.val_dataloader().dataset[0]


def test_mirror_images_are_kept_with_their_mark(tmp_path: Path) -> None:
    data = Digits(augment="mirror", views=2, batch_size=256, val_fraction=0.95)
    model = PIPNet(data.domain, {"name": "convnet", "widths": [6], "pool": [0]}, tail=0, prototypes=4).eval()
    model.stages = parse_stages([{"name": "joint", "epochs": 1, "train": ["addon", "head"]}])
    pair, x = CachedFeatures(data, model, tmp_path).train_dataloader().dataset[3], data.projection_dataset()[3]["input"]
    with torch.no_grad():
        maps = model.backbone(torch.stack([x, x.flip(-1)]))
    order = [0, 1] if torch.allclose(pair["input"], maps[0], atol=1e-2) else [1, 0]
    torch.testing.assert_close(torch.stack([pair["input"], pair["view"]]), maps[order], rtol=1e-2, atol=1e-2)
    assert bool(pair["mirrored"])


def test_only_batches_to_learn_from_are_maps(tmp_path: Path) -> None:
    """What a batch holds is said by its type, whatever the number of channels."""
    cached, model, _ = parts(tmp_path)
    batch = {"input": torch.randn(2, 6, 4, 4), "target": torch.zeros(2)}
    marked = cached.on_after_batch_transfer(batch, 0)
    assert type(marked["input"]) is Features and type(marked["target"]) is type(batch["input"]) is torch.Tensor
    found = model.backbone(marked["input"])
    assert type(found) is torch.Tensor and torch.equal(found, batch["input"])
    assert type(marked["input"] + 1) is torch.Tensor
    with pytest.raises(RuntimeError, match="to have 1 channels, but got 6"):
        model.backbone(batch["input"])


def test_tests_and_actions_see_images(tmp_path: Path) -> None:
    cached, _, data = parts(tmp_path)
    assert next(iter(cached.test_dataloader()))["input"].shape[1:] == (1, 8, 8)
    assert cached.projection_dataset()[0]["input"].shape == (1, 8, 8) and cached.domain == data.domain
    assert not list(tmp_path.iterdir())  # the file has no name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": "shift"}, "it needs augment 'none' or 'flip'; got 'shift'"),
        (
            {"recipe": {"stages": [{"name": "joint", "epochs": 1, "train": ["backbone", "addon"]}]}},
            "one pretrained backbone that stays frozen; 1 found, and it learns in joint",
        ),
    ],
)
def test_what_cannot_be_cached(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parts(tmp_path, **change)


def test_fit_with_cached_features(tmp_path: Path) -> None:
    config = tmp_path / "frozen.yaml"
    config.write_text(
        "cache_features: true\n"
        "model:\n  class_path: ProtoPNet\n  init_args:\n"
        "    {backbone: {name: convnet, widths: [8], pool: [0]}, dim: 8, prototypes_per_class: 1, recipe: {stages: ["
        "{name: warm, epochs: 2, train: [addon, prototypes]}, {name: push}, {name: last, epochs: 1, train: [head]}]}}\n"
        "data: {class_path: Digits, init_args: {augment: flip}}\n"
        "trainer: {accelerator: cpu, enable_progress_bar: false}\n"
    )
    assert main(["fit", "--config", str(config), "--output", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "metrics.json").is_file() and (tmp_path / "run" / "checkpoint").is_dir()
