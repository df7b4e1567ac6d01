"""A table whose labels are computed by a small sparse network: its weights are the circuit to be found."""

from functools import cached_property

import torch
from torch import Tensor

from zoo.data.synthetic.benchmark import ArrayWorld, Evident
from zoo.domain import TableDomain

CENTRE = 20_000  # rows that the classes are balanced on


class PlantedCircuit(ArrayWorld):
    """Standard normal features; the class is the largest output of a sparse teacher, ReLU(x A) B - centre.

    Every hidden neuron of the teacher reads `fan_in` features and every class `fan_in` neurons, with weights of size
    0.5 to 1.5 and random sign; features that no path leads from do not matter. `first` and `second` are the teacher's
    weights, and so the circuit that a student of the same shape can be compared with, neurons in any order: see
    `zoo.metrics.faithfulness.edge_recovery`. Labels have no noise: the ceiling is 1.

    What matters in a row, the factor "circuit": the features from which a path leads to an output. Without it they are
    drawn again, apart from all others.

    Args:
        features, hidden, classes: sizes of the teacher.
        fan_in: how many features a neuron, and how many neurons a class reads.
        count, val_count, test_count: rows of each split.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the teacher, the rows and the shuffles.
    """

    factors = ("circuit",)
    ceiling = 1.0  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

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
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        if classes < 2 or not 1 <= fan_in <= min(features, hidden):
            raise ValueError(
                f"expected classes >= 2 and 1 <= fan_in <= features and hidden; got {classes}, {fan_in}, {features} "
                f"and {hidden}."
            )
        if min(count, val_count, test_count) < 1:
            raise ValueError(f"every split needs a row; got {count}, {val_count} and {test_count}.")
        self.features, self.hidden, self.classes, self.fan_in = features, hidden, classes, fan_in
        self.counts = {"train": count, "val": val_count, "test": test_count}

    def make_domain(self) -> TableDomain:
        names = tuple(f"x{i + 1}" for i in range(self.features))
        return TableDomain(classes=tuple(f"output {c + 1}" for c in range(self.classes)), features=names)

    @cached_property
    def teacher(self) -> tuple[Tensor, Tensor, Tensor]:
        """`first` (F, H), `second` (H, C) and the means of the outputs (C,), so that no class is rare."""
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
        """(F,) bool: from which features a path leads to an output."""
        return ((self.first != 0).float() @ (self.second != 0).float()).sum(1) > 0

    def score(self, x: Tensor) -> Tensor:
        """(N, C) outputs of the teacher for rows (N, F)."""
        first, second, centre = self.teacher
        return (x @ first).relu() @ second - centre

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        x, spare = (torch.randn(count, self.features, generator=generator) for _ in range(2))
        regions = self.matters.float().expand(count, 1, -1).contiguous()
        names = [f"{split} row {i}" for i in range(count)]
        return Evident(x, self.score(x).argmax(1), names, regions, spare)


def _sparse(rows: int, columns: int, kept: int, draw: torch.Generator) -> Tensor:
    """(rows, columns) weights of which each column keeps so many."""
    chosen = torch.rand(rows, columns, generator=draw).argsort(0).argsort(0) < kept
    size = 0.5 + torch.rand(rows, columns, generator=draw)
    sign = torch.randint(0, 2, (rows, columns), generator=draw) * 2 - 1
    return size * sign * chosen
