"""The formulas behind `SyntheticTable`: scores of few features, and the switch between two of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branch:
    """A score F of some features: P(y = 1) = 1 / (1 + exp F).

    Attributes:
        score: maps those features (N, n) to scores (N,).
        first, last: numbers of those features, counted from 1 (x1).
        ceiling: E max(P, 1 - P), the Bayes accuracy, by numerical integration.
    """

    score: Callable[[Tensor], Tensor]
    first: int
    last: int
    ceiling: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.score(x[:, self.first - 1 : self.last])


@dataclass(frozen=True)
class Task:
    """What the label of a table depends on: one branch, or two, one of which a feature selects.

    Attributes:
        features: number of features of a row.
        branches: the first is active where the switch is below 0, or is drawn around -centre.
        switch: number of the feature that selects the branch, or None.
        centre: the switch is drawn around -centre or +centre, one for each branch; if 0, around 0, and its sign selects
            the branch.
    """

    features: int
    branches: tuple[Branch, ...]
    switch: int | None = None
    centre: float = 0.0

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows (count, F), and the active branch (count,) of each."""
        x = torch.randn(count, self.features, generator=generator)
        if self.switch is None:
            return x, torch.zeros(count, dtype=torch.long)
        switch = x[:, self.switch - 1]  # a view: adding to it changes the row
        if not self.centre:
            return x, (switch >= 0).long()
        active = torch.randint(2, (count,), generator=generator)
        switch += self.centre * (2 * active - 1)
        return x, active


def product(x: Tensor) -> Tensor:
    """x1 x2: its sign is an XOR."""
    return x[:, 0] * x[:, 1]


def sphere(x: Tensor) -> Tensor:
    """x1² + x2² + x3² + x4² - 4: an orange skin around the origin."""
    return x.square().sum(1) - 4


def wave(x: Tensor, height: float) -> Tensor:
    """-height sin(0.2 x1) + |x2| + x3 + exp(-x4) - 2.4: additive in the features."""
    a, b, c, d = x.unbind(1)
    return -height * (0.2 * a).sin() + b.abs() + c + (-d).exp() - 2.4


def low_wave(x: Tensor) -> Tensor:
    """The wave of Syn3."""
    return wave(x, 10)


def high_wave(x: Tensor) -> Tensor:
    """The wave of the additive table, dominated by x1."""
    return wave(x, 100)


A = Branch(product, 1, 2, 0.6321)
B = Branch(sphere, 3, 6, 0.8236)
C = Branch(low_wave, 7, 10, 0.8219)
SKIN = Branch(sphere, 1, 4, B.ceiling)
SUM = Branch(high_wave, 1, 4, 0.9726)
TASKS = {
    "syn1": Task(11, (A,)),
    "syn2": Task(11, (B,)),
    "syn3": Task(11, (C,)),
    "syn4": Task(11, (A, B), switch=11),
    "syn5": Task(11, (A, C), switch=11),
    "syn6": Task(11, (B, C), switch=11),
    "xor": Task(10, (A,)),
    "orange_skin": Task(10, (SKIN,)),
    "additive": Task(10, (SUM,)),
    "switch": Task(10, (Branch(high_wave, 5, 8, SUM.ceiling), SKIN), switch=10, centre=3),
}
