"""Images in shards: the same data as in their folder, each seen once, and nothing that runs code."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.data import ImageFolder, ImageShards
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.streams import ShardSampler
from zoo.training.projection_set import ProjectionSet

pytest.importorskip("litdata", reason="needs the extra 'stream': pip install self-interpretable-zoo[stream]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Forty pictures of two classes, JPEG and PNG, one of them on its side."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(40):
        path = root / ("cat", "dog")[i % 2] / f"{i:02}.{('png', 'jpg')[i // 2 % 2]}"
        path.parent.mkdir(exist_ok=True)
        pixels = torch.randint(0, 256, (24, 18, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 3 else 1
        Image.fromarray(pixels.numpy()).save(path, exif=exif)
    return ImageFolder(str(root), size=(16, 16), batch_size=4)


@pytest.fixture(scope="module")
def root(folder: ImageFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ImageShards.write(folder, tmp_path_factory.mktemp("shards") / "images", "8KB")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_batches_as_from_the_folder(folder: ImageFolder, root: Path, workers: int) -> None:
    """So a training is the same too."""
    shards = ImageShards(str(root), batch_size=4, workers=workers)
    assert len(list((root / "train").glob("*.bin"))) > 3 and shards.domain == folder.domain
    for mine, theirs in (
        (shards.train_dataloader(), folder.train_dataloader()),
        (shards.val_dataloader(), folder.val_dataloader()),
        (shards.test_dataloader(), folder.test_dataloader()),
    ):
        for a, b in zip(mine, theirs, strict=True):
            assert a["target"].equal(b["target"]) and a["input"].equal(b["input"])
    names, dataset = shards.projection_dataset(), folder.projection_dataset()
    assert [names.name(i) for i in range(len(names))] == [dataset.name(i) for i in range(len(dataset))]
    assert fingerprint(shards) == fingerprint(ImageShards(str(root)))


def test_projection_sees_each_image_once(folder: ImageFolder, root: Path) -> None:
    dataset, seen = ImageShards(str(root), batch_size=4).projection_dataset(), []
    whole = torch.stack([item["input"] for item in (folder.projection_dataset()[i] for i in range(len(dataset)))])
    for rank in range(3):
        for batch in ProjectionSet(dataset, batch_size=4, rank=rank, world=3, workers=2 * (rank == 1)):
            seen += batch["index"].tolist()
            assert batch["input"].equal(whole[batch["index"]])
    assert sorted(seen) == list(range(len(dataset)))


def test_remote_shards_are_kept_in_the_cache(root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for split in ("train", "test"):
        (home / split).mkdir(parents=True)
        for name in ("index.json", "labels.safetensors"):
            (home / split / name).write_bytes((root / split / name).read_bytes())
    (home / "shards.json").write_bytes((root / "shards.json").read_bytes())
    data = ImageShards(str(home), remote=f"local:{root}", cache=str(tmp_path / "cache"), batch_size=4)
    here = ImageShards(str(root), batch_size=4)
    assert all(data.test_dataset()[i]["input"].equal(here.test_dataset()[i]["input"]) for i in range(8))
    assert list((tmp_path / "cache").rglob("*.bin"))
    other = json.loads((home / "test" / "index.json").read_text()) | {"note": "another version"}
    (home / "test" / "index.json").write_text(json.dumps(other))
    data = ImageShards(str(home), remote=f"local:{root}", cache=str(tmp_path / "again"), batch_size=4)
    with pytest.raises(ValueError, match=r"the shards at local:.* are not those of"):
        data.test_dataset()[0]


def test_an_order_by_shards(root: Path) -> None:
    data = ImageShards(str(root), order="shards", window=2, batch_size=4)
    dataset = data.train_dataset()
    sampler = data.make_sampler(dataset, torch.Generator())
    assert isinstance(sampler, ShardSampler)
    first, again = list(sampler), list(sampler)
    assert first == again and sorted(first) == list(range(len(dataset)))
    sampler.set_epoch(1)
    assert list(sampler) != first
    shards = sampler.shards[first]
    assert len(set(shards[:4].tolist())) <= 2 < int((shards[1:] != shards[:-1]).sum())  # two shards at a time, mixed
    parts = []
    for rank in range(2):
        sampler.rank, sampler.num_replicas = rank, 2
        sampler.num_samples, sampler.total_size = -(-len(dataset) // 2), 2 * -(-len(dataset) // 2)
        parts.append(list(sampler))
    assert {*parts[0], *parts[1]} == set(range(len(dataset))) and len(parts[0]) == len(parts[1])


def test_what_is_refused(folder: ImageFolder, root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shards at"):
        ImageShards(str(tmp_path)).domain  # noqa: B018
    with pytest.raises(FileExistsError, match="holds shards already"):
        ImageShards.write(folder, root)
    with pytest.raises(ValueError, match="expected order 'items' or 'shards' and window >= 1; got 'all' and 8"):
        ImageShards(str(root), order="all")
    index = json.loads((root / "train" / "index.json").read_text())
    (tmp_path / "train").mkdir()
    (tmp_path / "shards.json").write_bytes((root / "shards.json").read_bytes())
    index["config"]["data_format"][0] = "pickle"
    (tmp_path / "train" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"holds pickle, and only bytes, int, str are read"):
        ImageShards(str(tmp_path)).train_dataset()
    (tmp_path / "train" / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the index of shards"):
        ImageShards(str(tmp_path)).train_dataset()
