"""A table whose labels are computed by a small sparse network, whose weights are the circuit to be found."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.synthetic.arrays import EvidenceRows
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.domain import TableDomain
from zoo.utils.checks import check_at_least

CENTRE = 20_000  # rows on which the classes are balanced


class PlantedCircuit(SyntheticBenchmark):
    """Standard normal features; the class is the largest output of a sparse teacher, ReLU(x A) B - centre.

    Each hidden neuron of the teacher reads `fan_in` features and each class `fan_in` neurons, with weights of magnitude
    0.5 to 1.5 and random sign; features without a path to an output are irrelevant. `first` and `second` are the
    teacher's weights, and so the circuit to which a student of the same shape can be compared, neurons in any order:
    see `zoo.metrics.faithfulness.edge_recovery`. Labels have no noise: the ceiling is 1.

    The factor "circuit" is the features with a path to an output. An intervention draws them again, independently.

    Args:
        features, hidden, classes: sizes of the teacher.
        fan_in: number of features that each neuron reads, and of neurons that each class reads.
        count, val_count, test_count: number of rows of each split.
        batch_size: items per batch.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: an argument is out of range.
    """

    factors = ("circuit",)
    ceiling = 1.0

    def __init__(
        self,
        features: int = 16,
        hidden: int = 8,
        classes: int = 4,
        fan_in: int = 2,
        count: int = 10_000,
        val_count: int = 1000,
        test_count: int = 2000,
        batch_size: int = 256,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        if classes < 2 or not 1 <= fan_in <= min(features, hidden):
            raise ValueError(
                f"expected classes >= 2 and 1 <= fan_in <= features and hidden; got {classes}, {fan_in}, {features} "
                f"and {hidden}."
            )
        check_at_least(1, count=count, val_count=val_count, test_count=test_count)
        self.features, self.hidden, self.classes, self.fan_in = features, hidden, classes, fan_in
        self.counts = {"train": count, "val": val_count, "test": test_count}

    def make_domain(self) -> TableDomain:
        names = tuple(f"x{i + 1}" for i in range(self.features))
        return TableDomain(classes=tuple(f"output {c + 1}" for c in range(self.classes)), features=names)

    @cached_property
    def teacher(self) -> tuple[Tensor, Tensor, Tensor]:
        """`first` (F, H), `second` (H, C) and the means of the outputs (C,), which balance the classes."""
        draw = torch.Generator().manual_seed(self.seed)
        first, second = (
            _sparse(rows, columns, self.fan_in, draw)
            for rows, columns in ((self.features, self.hidden), (self.hidden, self.classes))
        )
        x = torch.randn(CENTRE, self.features, generator=draw)
        return first, second, ((x @ first).relu() @ second).mean(0)

    @property
    def first(self) -> Tensor:
        """(F, H) weights from features to neurons."""
        return self.teacher[0]

    @property
    def second(self) -> Tensor:
        """(H, C) weights from neurons to classes."""
        return self.teacher[1]

    @property
    def matters(self) -> Tensor:
        """(F,) bool: the features with a path to an output."""
        return ((self.first != 0).float() @ (self.second != 0).float()).sum(1) > 0

    def score(self, x: Tensor) -> Tensor:
        """(N, C) outputs of the teacher for rows (N, F)."""
        first, second, centre = self.teacher
        return (x @ first).relu() @ second - centre

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceRows:
        x, replacement = (torch.randn(count, self.features, generator=generator) for _ in range(2))
        regions = self.matters.float().expand(count, 1, -1).contiguous()
        names = [f"{split} row {i}" for i in range(count)]
        return EvidenceRows(x, self.score(x).argmax(1), names, regions, self.factors, replacement)


def _sparse(rows: int, columns: int, kept: int, draw: torch.Generator) -> Tensor:
    """(rows, columns) weights with `kept` nonzero entries in each column."""
    chosen = torch.rand(rows, columns, generator=draw).argsort(0).argsort(0) < kept
    size = 0.5 + torch.rand(rows, columns, generator=draw)
    sign = torch.randint(0, 2, (rows, columns), generator=draw) * 2 - 1
    return size * sign * chosen
