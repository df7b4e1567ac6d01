"""MNIST-Add: sums of handwritten digits, whose concepts are the digits.

Espinosa Zarlenga et al.: "Learning to Receive Help: Intervention-Aware Concept Embedding Models", NeurIPS 2023,
arXiv 2309.16928, section 4 and appendix.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.module import stratified_split
from zoo.data.real.torchvision import TorchvisionData
from zoo.domain import ImageDomain

TOPS = (2,) * 4 + (4,) * 4 + (9,) * 4  # the largest digit of each operand
THRESHOLD = sum(TOPS) // 2


class MNISTAdd(ImageData):
    """Twelve digits of MNIST as twelve channels: do they sum up to 30 or more? Concepts are the digits, one-hot.

    Operands 1 to 4 are 0 to 2, operands 5 to 8 are 0 to 4, operands 9 to 12 are 0 to 9: 72 concepts in 12 exclusive
    groups. Pictures are drawn with equal chances from all that the operand allows. Test sums are made of MNIST's test
    pictures; those that validation sums are made of are in no training sum.

    Args:
        root: folder that holds MNIST, see `zoo.data.TorchvisionData`.
        download: fetch it if it is not there.
        count: sums to train on.
        test_count: sums to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits, the sums and the shuffles.
        val_fraction: share of MNIST's training pictures held out for validation; as many times `count` are the sums
            made of them.
    """

    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        count: int = 10_000,
        test_count: int = 10_000,
        batch_size: int = 256,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        if count < 10 or test_count < 1:
            raise ValueError(f"expected count >= 10 and test_count >= 1; got {count} and {test_count}.")
        self.digits = TorchvisionData("MNIST", root, download, seed=seed)
        self.count, self.test_count = count, test_count

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def make_domain(self) -> ImageDomain:
        one = ImageDomain.from_dict(self.digits.domain)
        operands = {f"operand {i}": range(top + 1) for i, top in enumerate(TOPS, 1)}
        groups = {name: tuple(f"{name} is {digit}" for digit in digits) for name, digits in operands.items()}
        return ImageDomain(
            classes=(f"sum below {THRESHOLD}", f"sum of {THRESHOLD} or more"),
            concepts=tuple(name for members in groups.values() for name in members),
            concept_groups=groups,
            exclusive=tuple(groups),
            size=one.size,
            channels=len(TOPS),
            mean=one.mean * len(TOPS),
            std=one.std * len(TOPS),
        )

    def pictures(self, split: str, augment: str) -> Pictures:
        source, rows, digits = self._sums[split]
        one_hot = [digits[:, i, None] == torch.arange(top + 1) for i, top in enumerate(TOPS)]
        return Pictures(
            Stacks(source, rows),
            (digits.sum(1) >= THRESHOLD).long(),
            self.make_domain(),
            [f"{split} sum {i}: {'+'.join(map(str, row))}" for i, row in enumerate(digits.tolist())],
            augment=augment,
            concepts=torch.cat(one_hot, 1).float(),
        )

    @cached_property
    def _sums(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """By split: the pictures of MNIST's half, which of them make up each sum (N, 12), and their digits (N, 12)."""
        train, test = (self.digits.pictures(split, "none") for split in ("train", "test"))
        kept, held = stratified_split(train.targets, self.val_fraction, self.seed)
        val_count = max(round(self.count * self.val_fraction), 1)
        return {
            "train": self._draw(train, kept, self.count, 0),
            "val": self._draw(train, held, val_count, 1),
            "test": self._draw(test, range(len(test)), self.test_count, 2),
        }

    def _draw(self, source: Pictures, usable: Sequence[int], count: int, stream: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of some pictures of `source`; each split draws from a random stream of its own."""
        draw, rows = torch.Generator().manual_seed(3 * self.seed + stream), []
        own = torch.tensor(usable)
        for top in TOPS:
            allowed = own[source.targets[own] <= top]
            rows.append(allowed[torch.randint(len(allowed), (count,), generator=draw)])
        chosen = torch.stack(rows, 1)
        return source.sources, chosen, source.targets[chosen]


class Stacks:
    """Grey pictures (M, 1, H, W) stacked into channels when asked for: row i is `pictures[rows[i]]`, (C, H, W)."""

    def __init__(self, pictures: Tensor, rows: Tensor) -> None:
        self.pictures, self.rows = pictures, rows

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.pictures[self.rows[i]].squeeze(-3)
