"""MNIST-Add: sums of handwritten digits, whose concepts are the digits.

Espinosa Zarlenga et al.: "Learning to Receive Help: Intervention-Aware Concept Embedding Models", NeurIPS 2023,
arXiv 2309.16928, section 4 and appendix.
"""

from typing import Any

import torch
from torch import Tensor

from zoo.data.base.images import Pictures
from zoo.data.real.composed_digits import ComposedDigits
from zoo.domain import ImageDomain

LARGEST = (2,) * 4 + (4,) * 4 + (9,) * 4  # digit of each operand
THRESHOLD = sum(LARGEST) // 2


class MNISTAdd(ComposedDigits):
    """Twelve MNIST digits as twelve channels; the class is whether their sum is 30 or more.

    Operands 1 to 4 are 0 to 2, operands 5 to 8 are 0 to 4, operands 9 to 12 are 0 to 9. Concepts are the digits,
    one-hot: 72 concepts in 12 exclusive groups. Each digit is drawn uniformly from all that its operand allows.

    Args:
        root: folder that contains MNIST, see `TorchvisionData`.
        batch_size: items per batch.
        val_fraction: share of MNIST's training digits held out for validation, see `ComposedDigits`.
        **composed: the other options of `ComposedDigits`.
    """

    def __init__(
        self, root: str | None = None, batch_size: int = 256, val_fraction: float = 0.2, **composed: Any
    ) -> None:
        super().__init__(root, batch_size=batch_size, val_fraction=val_fraction, **composed)

    def make_domain(self) -> ImageDomain:
        digit = self.digit_domain
        operands = {f"operand {i}": range(largest + 1) for i, largest in enumerate(LARGEST, 1)}
        groups = {name: tuple(f"{name} is {digit}" for digit in digits) for name, digits in operands.items()}
        return ImageDomain(
            classes=(f"sum below {THRESHOLD}", f"sum of {THRESHOLD} or more"),
            concepts=tuple(name for members in groups.values() for name in members),
            concept_groups=groups,
            exclusive=tuple(groups),
            size=digit.size,
            channels=len(LARGEST),
            mean=digit.mean * len(LARGEST),
            std=digit.std * len(LARGEST),
        )

    def compose(self, split: str, source: Pictures, usable: Tensor, count: int, generator: torch.Generator) -> Pictures:
        columns = []
        for largest in LARGEST:
            allowed = usable[source.targets[usable] <= largest]
            columns.append(allowed[torch.randint(len(allowed), (count,), generator=generator)])
        rows = torch.stack(columns, 1)
        digits = source.targets[rows]
        one_hot = [digits[:, i, None] == torch.arange(largest + 1) for i, largest in enumerate(LARGEST)]
        return Pictures(
            Stacks(source.sources, rows),
            (digits.sum(1) >= THRESHOLD).long(),
            self.make_domain(),
            [f"{split} sum {i}: {'+'.join(map(str, row))}" for i, row in enumerate(digits.tolist())],
            concepts=torch.cat(one_hot, 1).float(),
        )


class Stacks:
    """Grey pictures stacked into channels on access: item i is `pictures[rows[i]]`, (C, H, W).

    Args:
        pictures: (M, 1, H, W).
        rows: (N, C) row numbers of `pictures`.
    """

    def __init__(self, pictures: Tensor, rows: Tensor) -> None:
        self.pictures, self.rows = pictures, rows

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.pictures[self.rows[i]].squeeze(-3)
