"""Splits, order and augmentation: what follows from the seed and the epoch alone."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback, Trainer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.data import Digits
from zoo.data.base.augment import PIPELINES, pipeline
from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.sampling import EpochSampler, stratified_split
from zoo.domain import ImageDomain
from zoo.training.black_box import BlackBox
from zoo.utils.paths import expand

COLOUR = ImageDomain(classes=("a", "b"), size=(4, 6), mean=(0.5,) * 3, std=(0.5,) * 3)


class Noise(ImageData):
    """Forty small pictures in memory, half of them of each class."""

    def make_domain(self) -> ImageDomain:
        return COLOUR

    def pictures(self, split: str, augment: str) -> Pictures:
        seed = {"train": 0, "test": 1}[split]
        pixels = torch.randint(0, 256, (40, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        names = [f"{split} {i}" for i in range(40)]
        return Pictures(pixels, torch.arange(40) % 2, COLOUR, names, augment=augment)


# Splits


@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_split_is_disjoint_complete_stratified_and_repeatable(targets: list[int], fraction: float, seed: int) -> None:
    labels = torch.tensor(targets)
    kept, held = stratified_split(labels, fraction, seed)
    assert sorted(kept + held) == list(range(len(targets)))
    assert kept == sorted(kept) and held == sorted(held)
    for c in set(targets):
        count, out = targets.count(c), sum(targets[i] == c for i in held)
        assert out < count  # of every class something is left to train on
        assert abs(out - count * fraction) <= 0.5 or out in (1, count - 1)
    assert stratified_split(labels, fraction, seed) == (kept, held)


def test_another_seed_is_another_split() -> None:
    labels = torch.arange(100) % 4
    assert stratified_split(labels, 0.2, 0) != stratified_split(labels, 0.2, 1)
    # The choice within a class depends on nothing but the seed and the classes before it.
    assert set(stratified_split(labels, 0.2, 0)[1]) & set(stratified_split(labels, 0.2, 1)[1])


@pytest.mark.parametrize("shape", [(200,), (200, 2)])
def test_values_are_split_by_rows(shape: tuple[int, ...]) -> None:
    """Every value is another one, so that they say nothing of which rows belong together."""
    kept, held = stratified_split(torch.rand(shape), 0.1, 0)
    assert len(held) == 20 and sorted(kept + held) == list(range(200))
    assert max(held) > 100  # from all of them


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"workers": -1}, {"val_fraction": 0.0}, {"val_fraction": 1.0}])
def test_setting_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected batch_size >= 1, workers >= 0 and 0 < val_fraction < 1; got"):
        Noise(**settings)


def test_train_and_val_share_the_training_pictures() -> None:
    data = Noise(val_fraction=0.25)
    train, val, test = data.train_dataset(), data.val_dataset(), data.test_dataset()
    names = [[part.name(i) for i in range(len(part))] for part in (train, val, test)]
    assert sorted(names[0] + names[1]) == sorted(f"train {i}" for i in range(40)) and len(names[1]) == 10
    assert names[2] == [f"test {i}" for i in range(40)]
    for part, own in zip((train, val), names, strict=False):
        for i in (0, 5):  # a name belongs to its item
            row = int(own[i].split()[1])
            assert torch.equal(part[i]["input"], data.pictures("train", "none")[row]["input"])
            assert part[i]["target"] == row % 2


def test_reference_set_is_the_training_set_unaugmented_and_in_order() -> None:
    data = Noise(augment="flip")
    projection_set, train = data.projection_dataset(), data.train_dataset()
    names = [projection_set.name(i) for i in range(len(projection_set))]
    assert names == [train.name(i) for i in range(len(train))]
    rows = [int(name.split()[1]) for name in names]
    assert rows == sorted(rows)
    plain = data.pictures("train", "none")
    for _ in range(2):
        for i, row in enumerate(rows):
            assert torch.equal(projection_set[i]["input"], plain[row]["input"])
    assert any(not torch.equal(train[i]["input"], projection_set[i]["input"]) for i in range(len(train)))


def test_validation_and_test_are_not_augmented() -> None:
    data = Noise(augment="flip")
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        first, second = ([batch["input"] for batch in loader] for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# Pictures


def test_items_and_batches_agree() -> None:
    pictures = Noise().pictures("train", "none")
    batch = pictures.__getitems__([3, 1, 4])
    for item, i in zip(batch, [3, 1, 4], strict=True):
        assert torch.equal(item["input"], pictures[i]["input"]) and item["target"] == pictures[i]["target"]


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_shifted_together_as_one_by_one(size: tuple[int, int], channels: int) -> None:
    """The same draws, the same pixels: a run must not depend on how its batches are made."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, channels, *size), dtype=torch.uint8, generator=draw)
    augment = pipeline("shift", size)
    torch.manual_seed(1)
    single, after = torch.stack([augment(picture) for picture in pixels]), torch.rand(1)
    torch.manual_seed(1)
    together = augment.together(pixels)
    assert torch.equal(after, torch.rand(1)) and not torch.equal(together, pixels)
    apart = (together.int() - single.int()).abs()
    assert apart.max() <= 1 and apart.float().mean() < 1e-3  # processors may round the last bit of a draw differently


def test_augmented_batches_are_made_as_items_are() -> None:
    data = Digits(augment="shift").train_dataset()
    torch.manual_seed(0)
    items = [data[i] for i in (5, 0, 9)]
    torch.manual_seed(0)
    for item, other in zip(data.__getitems__([5, 0, 9]), items, strict=True):
        assert torch.allclose(item["input"], other["input"], atol=0.02) and item["target"] == other["target"]


@pytest.mark.parametrize(("name", "joint"), [("none", True), ("shift", True), ("flip", False), ("pipnet", False)])
def test_only_what_draws_in_the_same_order_is_made_together(name: str, joint: bool) -> None:
    assert pipeline(name, (8, 8)).joint == joint


@pytest.mark.parametrize("indices", [[0], [0, 1], [0, 1, 2]])
def test_colours_become_grey_in_batches_of_any_size(indices: list[int]) -> None:
    """Regression: a batch of one picture was taken for a picture of one channel."""
    domain = ImageDomain(classes=("a", "b"), size=(4, 6), channels=1, mean=(0.5,), std=(0.5,))
    colour = Noise().pictures("train", "none")
    grey = Pictures(colour.sources, colour.targets, domain, colour.names)
    for item, i in zip(grey.__getitems__(indices), indices, strict=True):
        assert item["input"].shape == (1, 4, 6)
        assert torch.equal(item["input"], grey[i]["input"])


def test_files_are_cropped_to_their_boxes(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10), "blue")
    image.paste("red", (5, 2, 11, 6))
    image.save(tmp_path / "a.png")
    settings = ([tmp_path / "a.png"], torch.tensor([0]), COLOUR, ["a"])
    cropped = Pictures(*settings, boxes=torch.tensor([[5.0, 2.0, 6.0, 4.0]]))
    assert cropped.picture(0).size == (6, 4)
    assert COLOUR.picture(cropped[0]["input"]).flatten(1).unique(dim=1).flatten().tolist() == [255, 0, 0]
    assert Pictures(*settings).picture(0).size == (20, 10)


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("box", [(5.0, 2.0, 30.0, 20.0), (-3.0, 40.4, 90.0, 30.0)])  # the second beyond the edges
def test_what_is_trained_on_is_the_picture(tmp_path: Path, ending: str, box: tuple[float, ...]) -> None:
    draw = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(draw.numpy()).save(tmp_path / f"a.{ending}")
    domain = ImageDomain(classes=("a", "b"), size=(16, 20))
    for boxes in (None, torch.tensor([box])):
        pictures = Pictures([tmp_path / f"a.{ending}"], torch.tensor([0]), domain, ["a"], boxes)
        assert torch.equal(pictures[0]["input"], domain.preprocess(pictures.picture(0)))


@pytest.mark.parametrize("name", sorted(PIPELINES))
@pytest.mark.parametrize("kind", ["tensor", "image"])
def test_augmented_pictures_fit_and_follow_the_seed(name: str, kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 9, 12), dtype=torch.uint8, generator=draw)
    picture = pixels if kind == "tensor" else Image.fromarray(pixels.permute(1, 2, 0).numpy())
    augment = pipeline(name, COLOUR.size)

    def some(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.stack([COLOUR.preprocess(augment(picture)) for _ in range(8)])

    assert some(0).shape == (8, 3, 4, 6) and torch.equal(some(0), some(0))
    assert augment.changes == (name != "none") == (not torch.equal(some(0), some(1)))


def test_unknown_augmentation_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no augmentation named 'filp'; did you mean 'flip'"):
        Noise(augment="filp")
    with pytest.raises(ValueError, match=r"no augmentation named 'xyz'; there are: none, .*, protopnet, pipnet\."):
        Noise(augment="xyz")


# Order


def epoch_of(data: ImageData, epoch: int, loader: DataLoader | None = None) -> list[Tensor]:
    """The batches of an epoch, as a Trainer that begins with it would see them."""
    loader = loader or data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    torch.manual_seed(epoch)  # as StagedModule.on_train_epoch_start does, for workers=0
    return [batch["input"] for batch in loader]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # two workers on one core
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_the_same_after_a_resume(workers: int) -> None:
    settings = {"workers": workers, "augment": "crop", "batch_size": 12}
    loader = Noise(**settings).train_dataloader()
    through = [epoch_of(Noise(**settings), epoch, loader) for epoch in range(3)]
    torch.rand(17)  # another process has another history
    resumed = epoch_of(Noise(**settings), 2)
    assert [len(batch) for batch in resumed] == [12, 12, 12]
    assert all(torch.equal(a, b) for a, b in zip(through[2], resumed, strict=True))
    assert not torch.equal(through[1][0], through[2][0])
    assert not torch.equal(resumed[0], epoch_of(Noise(**settings, seed=1), 2)[0])


class Record(Callback):
    """Keeps every training batch by epoch, and leaves a checkpoint after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches: dict[int, list[Tensor]] = {}

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.batches.setdefault(trainer.current_epoch, []).append(batch["input"].clone())

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


def train(data: ImageData, folder: Path, resume: Path | None = None) -> tuple[BlackBox, Record]:
    torch.manual_seed(0)
    stages = [{"name": "train", "epochs": 3, "train": ["backbone", "head"]}]
    model = BlackBox(data.domain, backbone={"name": "convnet", "widths": [4]}, recipe={"stages": stages})
    record = Record(folder)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[record],
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return model, record


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # two workers on one core
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_sees_the_same_batches_and_ends_with_the_same_weights(workers: int, tmp_path: Path) -> None:
    """Regression: with workers, the first epoch after a resume had the order and the augmentation of epoch 0."""
    settings = {"workers": workers, "augment": "crop", "batch_size": 12}
    whole, through = train(Noise(**settings), tmp_path)
    resumed, after = train(Noise(**settings), tmp_path / "resumed", tmp_path / "0.ckpt")
    assert sorted(through.batches) == [0, 1, 2] and sorted(after.batches) == [1, 2]
    for epoch, batches in after.batches.items():
        assert all(torch.equal(a, b) for a, b in zip(batches, through.batches[epoch], strict=True)), f"epoch {epoch}"
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def samplers(count: int, world: int, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> list[EpochSampler]:
    """One for every rank of a distributed run."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda *_: world)
    made = []
    for rank in range(world):
        monkeypatch.setattr(dist, "get_rank", lambda *_, rank=rank: rank)
        made.append(EpochSampler(range(count), torch.Generator(), seed))
    return made


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_are_disjoint_and_complete(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = samplers(12, world, monkeypatch)
    for epoch in range(2):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        shards = [list(sampler) for sampler in ranks]
        assert [len(shard) for shard in shards] == [12 // world] * world
        assert sorted(chain(*shards)) == list(range(12))
    draws = {int(sampler.generator.initial_seed()) for sampler in ranks}
    assert len(draws) == world  # workers of different ranks augment differently


def test_uneven_shards_repeat_as_few_items_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [list(sampler) for sampler in samplers(10, 3, monkeypatch)]
    assert [len(shard) for shard in shards] == [4, 4, 4]
    assert set(chain(*shards)) == set(range(10))


def test_order_follows_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(range(30), torch.Generator(), seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) >= 3
    assert order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0) != list(range(30))


@pytest.mark.parametrize(("batch_size", "sizes"), [(7, [7] * 4 + [2]), (29, [29]), (30, [30]), (1, [1] * 30)])
def test_a_last_batch_of_one_is_dropped(batch_size: int, sizes: list[int]) -> None:
    data = Noise(batch_size=batch_size, val_fraction=0.25)
    assert [len(batch["input"]) for batch in data.train_dataloader()] == sizes


# Digits and paths


def test_batches_are_what_a_model_takes() -> None:
    batch = next(iter(Digits(batch_size=5).train_dataloader()))
    assert batch["input"].shape == (5, 1, 8, 8) and batch["input"].dtype == torch.float32
    assert batch["target"].shape == (5,) and batch["target"].dtype == torch.int64


def test_paths_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS", "/birds")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert expand("$BIRDS/cub") == Path("/birds/cub") and expand("~/x") == Path.home() / "x"
    with pytest.raises(ValueError, match=r"\$NOWHERE/x names an environment variable that is not set; set it, or give"):
        expand("$NOWHERE/x")
