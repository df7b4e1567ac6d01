"""MNIST-Add: labels and concepts recomputed from the pictures, splits that share no picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.real.test_torchvision import mnist_files
from zoo.data import MNISTAdd
from zoo.data.base.images import Pictures
from zoo.domain import Domain
from zoo.views.pictures import to_picture

TOPS = [2, 2, 2, 2, 4, 4, 4, 4, 9, 9, 9, 9]


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Picture i is filled with grey level i and shows the digit i % 10."""
    return str(mnist_files(tmp_path, count=200))


def grey(data: MNISTAdd, part: Pictures) -> Tensor:
    """(N, 12) which picture each operand is, read from the pixels."""
    pixels = Domain.from_dict(data.domain).picture(torch.stack([part[i]["input"] for i in range(len(part))]))
    assert pixels.shape[1:] == (12, 28, 28) and (pixels == pixels[..., :1, :1]).all()
    return pixels[..., 0, 0].long()


def test_domain(root: str) -> None:
    domain = Domain.from_dict(MNISTAdd(root, count=20, test_count=10).domain)
    assert domain.shape == (12, 28, 28) and len(domain.concepts) == 72 and len(domain.exclusive) == 12
    assert [len(columns) for columns in domain.group_columns().values()] == [top + 1 for top in TOPS]
    assert domain.concepts[0] == "operand 1 is 0" and domain.concepts[-1] == "operand 12 is 9"
    assert domain.classes == ("sum below 30", "sum of 30 or more")


def test_labels_and_concepts_follow_from_the_pictures(root: str) -> None:
    data = MNISTAdd(root, count=60, test_count=40)
    columns = list(Domain.from_dict(data.domain).group_columns().values())
    for part, count in ((data.train_dataset(), 60), (data.val_dataset(), 12), (data.test_dataset(), 40)):
        assert len(part) == count
        digits = grey(data, part) % 10
        assert (digits <= torch.tensor(TOPS)).all()
        for i, row in enumerate(digits.tolist()):
            assert part[i]["target"] == int(sum(row) >= 30)
            for own, digit in zip(columns, row, strict=True):
                assert part[i]["concepts"][own].tolist() == [float(d == digit) for d in range(len(own))]
            assert part.name(i).endswith("+".join(map(str, row)))


def test_no_picture_is_trained_and_validated_on(root: str) -> None:
    data = MNISTAdd(root, count=300, test_count=10, val_fraction=0.3)
    train, val = grey(data, data.train_dataset()), grey(data, data.val_dataset())
    assert not set(train.flatten().tolist()) & set(val.flatten().tolist())
    assert len(val) == 90


def test_sums_follow_from_the_seed(root: str) -> None:
    def drawn(seed: int) -> list[Tensor]:
        data = MNISTAdd(root, count=20, test_count=20, seed=seed)
        return [grey(data, part) for part in (data.train_dataset(), data.val_dataset(), data.test_dataset())]

    for first, again, other in zip(drawn(0), drawn(0), drawn(1), strict=True):
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_batches_are_the_items(root: str) -> None:
    data = MNISTAdd(root, count=20, test_count=10, batch_size=4)
    batch, part = next(iter(data.test_dataloader())), data.test_dataset()
    assert torch.equal(batch["input"], torch.stack([part[i]["input"] for i in range(4)]))
    assert batch["concepts"].shape == (4, 72) and data.concept_labels().shape == (20, 72)


def test_counts_that_cannot_be_right(root: str) -> None:
    with pytest.raises(ValueError, match="count must be at least 10; got 5"):
        MNISTAdd(root, count=5)


def test_absent_mnist_tells_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MNIST is not in .*; give its folder as root, or set download: true"):
        _ = MNISTAdd(str(tmp_path)).domain


def test_real_sums(zoo_data: Path) -> None:
    """Both classes, all digits of an operand, and pictures that are those of MNIST."""
    if not (zoo_data / "mnist").is_dir():
        pytest.skip("ZOO_DATA has no mnist")
    data = MNISTAdd(str(zoo_data / "mnist"))
    part = data.train_dataset()
    assert [len(part), len(data.val_dataset()), len(data.test_dataset())] == [10_000, 2_000, 10_000]
    assert 0.4 < float(part.targets.float().mean()) < 0.6
    shares = part.concepts.mean(0).split([top + 1 for top in TOPS])
    assert all(abs(share - 1 / len(own)) < 0.05 for own in shares for share in own.tolist())
    raw = np.frombuffer((zoo_data / "mnist/MNIST/raw/t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    known = {picture.tobytes() for picture in raw.reshape(-1, 28, 28)}
    domain = Domain.from_dict(data.domain)
    x = data.test_dataset()[5]["input"]
    assert all(channel.numpy().tobytes() in known for channel in domain.picture(x))
    page = to_picture(x[None], domain)
    assert page.shape == (1, 3 * 28, 4 * 28) and torch.equal(page[0, 28:56, 84:], domain.picture(x)[7])
