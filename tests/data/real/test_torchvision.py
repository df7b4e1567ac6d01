"""Sets of torchvision: small ones made in their own formats, and the real MNIST where it is at hand."""

import bz2
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import VisionDataset

from zoo.data import TorchvisionData
from zoo.data.real import torchvision as sets
from zoo.domain import Domain


def mnist_files(root: Path, name: str = "MNIST", count: int = 40) -> Path:
    """Picture i is filled with grey level i; its label is i % 10; the test set has half as many."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for prefix, n in (("train", count), ("t10k", count // 2)):
        pixels = np.repeat(np.arange(n, dtype=np.uint8), 28 * 28).tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, n, 28, 28) + pixels)
        labels = (np.arange(n) % 10).astype(np.uint8).tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, n) + labels)
    return root


class Coloured(VisionDataset):
    """As CIFAR10 holds its pictures: (N, H, W, 3) in numpy, targets in a list."""

    classes = ("cat", "dog")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        super().__init__(root)
        self.data = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
        self.targets = [0, 1] * 6


class Undecoded(VisionDataset):
    """Without `data`: pictures come one by one."""

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        super().__init__(root)
        self.targets = [5, 3, 5, 3, 5, 3]

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        if i >= 6:
            raise IndexError(i)
        return Image.new("L", (4, 3), 40 * i), self.targets[i]


def names(part: Any) -> list[str]:
    return [part.name(i) for i in range(len(part))]


def test_parts_domain_and_names(tmp_path: Path) -> None:
    data = TorchvisionData("MNIST", root=str(mnist_files(tmp_path)), val_fraction=0.25)
    domain = Domain.from_dict(data.domain)
    assert domain.shape == (1, 28, 28) and domain.classes[3] == "3 - three"
    assert domain.mean == pytest.approx((19.5 / 255,), abs=1e-3)
    train, val, test = data.train_dataset(), data.val_dataset(), data.test_dataset()
    assert len(train) == 30 and len(val) == 10 and sorted(val[i]["target"] for i in range(10)) == list(range(10))
    assert sorted(names(train) + names(val)) == sorted(f"MNIST train image {i}" for i in range(40))
    assert names(test) == [f"MNIST test image {i}" for i in range(20)]
    for part in (train, val, test):
        for i in (0, 7):
            number = int(part.name(i).split()[-1])
            assert part[i]["target"] == number % 10
            assert domain.picture(part[i]["input"]).unique().tolist() == [number]


def test_limit_and_size(tmp_path: Path) -> None:
    data = TorchvisionData("MNIST", root=str(mnist_files(tmp_path)), size=(14, 7), limit=20)
    assert len(data.train_dataset()) + len(data.val_dataset()) == 20 and len(data.test_dataset()) == 20
    assert data.train_dataset()[0]["input"].shape == (1, 14, 7) and data.domain["size"] == [14, 7]


def test_sets_beside_one_another_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    mnist_files(tmp_path / "kmnist", "KMNIST")
    assert len(TorchvisionData("KMNIST").test_dataset()) == 20
    monkeypatch.delenv("ZOO_DATA")
    assert TorchvisionData("KMNIST").root == Path("data/kmnist")


def test_targets_in_a_list_and_no_class_names(tmp_path: Path) -> None:
    for name in ("usps.bz2", "usps.t.bz2"):
        rows = [f"{i % 10 + 1} " + " ".join(f"{p}:{i / 10 - 1:.4f}" for p in range(1, 257)) for i in range(20)]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(rows).encode()))
    data = TorchvisionData("USPS", root=str(tmp_path))
    assert data.domain["classes"] == [str(c) for c in range(10)] and data.domain["size"] == [16, 16]
    assert [data.test_dataset()[i]["target"] for i in range(3)] == [0, 1, 2]


def test_colour_pictures_in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sets.SETS, "Coloured", Coloured)
    data = TorchvisionData("Coloured", root=".", augment="flip")
    domain = Domain.from_dict(data.domain)
    assert domain.shape == (3, 4, 5) and domain.classes == ("cat", "dog")
    test, pixels = data.test_dataset(), torch.from_numpy(Coloured(".").data).permute(0, 3, 1, 2)
    assert torch.equal(domain.picture(torch.stack([test[i]["input"] for i in range(12)])), pixels)
    expected = pixels.float().div(255)
    assert domain.mean == pytest.approx(expected.mean((0, 2, 3)).tolist(), abs=1e-3)
    assert domain.std == pytest.approx(expected.std((0, 2, 3)).tolist(), abs=1e-3)


def test_pictures_that_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sets.SETS, "Undecoded", Undecoded)
    data = TorchvisionData("Undecoded", root=".")
    images, _, classes = data._load(train=True)
    assert images.shape == (6, 1, 3, 4) and images[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160, 200]
    assert classes == ("3", "5")


@pytest.mark.parametrize(("name", "meant"), [("MNITS", "MNIST"), ("mnist", "MNIST"), ("cifar10", "CIFAR10")])
def test_unknown_name_says_which_was_meant(name: str, meant: str) -> None:
    message = f"no data set named '{name}' with a train and a test split in torchvision; did you mean '{meant}'\\?"
    with pytest.raises(ValueError, match=message):
        TorchvisionData(name)


def test_unlike_name_lists_all() -> None:
    with pytest.raises(ValueError, match=r"there are: CIFAR10, CIFAR100, FashionMNIST, KMNIST, .*MNIST, USPS\."):
        TorchvisionData("birds of prey")


@pytest.mark.parametrize("name", sorted(sets.SETS))
def test_absent_set_tells_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name} is not in .*; give its folder as root, or set download: true"):
        _ = TorchvisionData(name, root=str(tmp_path)).domain


def test_download_happens_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []

    class Remote(Coloured):
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            asked.append((train, download))
            super().__init__(root, train, download)

    monkeypatch.setitem(sets.SETS, "Remote", Remote)
    _ = TorchvisionData("Remote", root=str(tmp_path)).domain
    assert asked == [(True, False)]
    asked.clear()
    TorchvisionData("Remote", root=str(tmp_path), download=True).prepare_data()
    assert asked == [(True, True), (False, True)]


def test_real_digits(zoo_data: Path) -> None:
    """The well-known mean and deviation; every other picture has other writers, and so another mean."""
    if not (zoo_data / "mnist").is_dir():
        pytest.skip("ZOO_DATA has no mnist")
    data = TorchvisionData("MNIST", root=str(zoo_data / "mnist"), val_fraction=0.1)
    train, val, test = data.train_dataset(), data.val_dataset(), data.test_dataset()
    assert len(train) + len(val) == 60000 and abs(len(val) - 6000) <= 5 and len(test) == 10000
    assert not set(train.indices) & set(val.indices)
    domain = Domain.from_dict(data.domain)
    assert domain.mean == pytest.approx((0.1307,), abs=3e-3) and domain.std == pytest.approx((0.3081,), abs=3e-3)
    batch = torch.stack([item["input"] for item in test.__getitems__(list(range(500)))])
    assert batch.shape == (500, 1, 28, 28) and abs(float(batch.mean())) < 0.1
