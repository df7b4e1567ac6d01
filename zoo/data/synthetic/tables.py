"""Tables whose label is known to depend on few of their features, and on which of them from row to row.

Syn1 to Syn6: Yoon et al.: "INVASE", ICLR 2019. XOR, orange skin, additive and switch: Chen et al.: "Learning to
Explain", ICML 2018, arXiv 1802.07814, section 4.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.synthetic.benchmark import ArrayWorld, Evident, named
from zoo.domain import TableDomain


@dataclass(frozen=True)
class Branch:
    """A score F of some features: P(y = 1) = 1 / (1 + exp F).

    Attributes:
        score: of the features (N, n) it reads, (N,).
        first, last: numbers of those features, x1 being the first of a row.
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
    """What the label of a table depends on: one branch, or two of which a feature chooses.

    Attributes:
        features: how many a row has.
        branches: the first is active where the switch is below 0, or is drawn around -centre.
        switch: number of the feature that chooses, or None.
        centre: the switch is drawn around either of ± centre, one for each branch; 0: around 0, and its sign chooses.
    """

    features: int
    branches: tuple[Branch, ...]
    switch: int | None = None
    centre: float = 0.0

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows (count, F), and which branch (count,) is active in each."""
        x = torch.randn(count, self.features, generator=generator)
        if self.switch is None:
            return x, torch.zeros(count, dtype=torch.long)
        chooser = x[:, self.switch - 1]  # a view: what is added to it is added to the row
        if not self.centre:
            return x, (chooser >= 0).long()
        active = torch.randint(2, (count,), generator=generator)
        chooser += self.centre * (2 * active - 1)
        return x, active


def product(x: Tensor) -> Tensor:
    """x1 x2: its sign is an XOR."""
    return x[:, 0] * x[:, 1]


def sphere(x: Tensor) -> Tensor:
    """x1² + x2² + x3² + x4² - 4: an orange skin around 0."""
    return x.square().sum(1) - 4


def wave(x: Tensor, height: float) -> Tensor:
    """-height sin(0.2 x1) + |x2| + x3 + exp(-x4) - 2.4: a sum of what each feature says."""
    a, b, c, d = x.unbind(1)
    return -height * (0.2 * a).sin() + b.abs() + c + (-d).exp() - 2.4


def low_wave(x: Tensor) -> Tensor:
    """The wave of Syn3."""
    return wave(x, 10)


def high_wave(x: Tensor) -> Tensor:
    """The wave of the additive table, of which x1 alone says almost everything."""
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


class SyntheticTable(ArrayWorld):
    """Rows of independent normal features, of which two to five tell the label: Syn1 to Syn6, and four of L2X.

        name          P(y = 1) = 1 / (1 + exp F), where F is                ceiling   features
        syn1          A = x1 x2                                               0.632         11
        syn2          B = x3² + x4² + x5² + x6² - 4                           0.824         11
        syn3          C = -10 sin(0.2 x7) + |x8| + x9 + exp(-x10) - 2.4       0.822         11
        syn4          A where x11 < 0, else B                                 0.728         11
        syn5          A where x11 < 0, else C                                 0.727         11
        syn6          B where x11 < 0, else C                                 0.823         11
        xor           x1 x2                                                   0.632         10
        orange_skin   x1² + x2² + x3² + x4² - 4                               0.824         10
        additive      -100 sin(0.2 x1) + |x2| + x3 + exp(-x4) - 2.4           0.973         10
        switch        orange_skin of x1 to x4 where x10 was drawn from        0.898         10
                      N(3, 1), additive of x5 to x8 where from N(-3, 1)

    All other features are N(0, 1). Regions are the features of the branch that is active in the row ("branch"), and the
    feature that chooses it ("switch"), where there are two. The ceiling is the Bayes accuracy E max(P, 1 - P), by
    numerical integration of each branch; that of two branches is their mean, exactly so where the switch's sign
    chooses, and to 0.0005 in "switch", whose x10 leaves one row in 700 in doubt.

    An intervention draws the features of a factor again from their own distribution, independent of the row; all
    others stay. "branch" is the branch that was active before. Labels are not drawn again.

    The additive scores are those of the published code, whose formulas differ from the papers'. In that code's switch a
    swap of overlapping views makes x5 to x8 copies of x1 to x4 in half of the rows; here all features are independent.

    Args:
        name: see above.
        count: rows to train on, with those held out to validate.
        test_count: rows to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the rows and the shuffles.
        val_fraction: share of `count` held out.
    """

    def __init__(
        self,
        name: str = "syn4",
        count: int = 10_000,
        test_count: int = 10_000,
        batch_size: int = 256,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        self.name, self.task = name, TASKS[named("synthetic table", name, TASKS)]
        if count < 10 or test_count < 1:
            raise ValueError(f"expected count >= 10 and test_count >= 1; got {count} and {test_count}.")
        held = min(max(round(count * val_fraction), 1), count - 1)
        self.counts = {"train": count - held, "val": held, "test": test_count}
        self.factors = ("branch",) if self.task.switch is None else ("branch", "switch")

    @property
    def ceiling(self) -> float:
        branches = self.task.branches
        return sum(branch.ceiling for branch in branches) / len(branches)

    def make_domain(self) -> TableDomain:
        features = tuple(f"x{i + 1}" for i in range(self.task.features))
        return TableDomain(classes=("y = 0", "y = 1"), features=features)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        x, active = self.task.draw(count, generator)
        rows, scores = torch.arange(count), torch.stack([branch(x) for branch in self.task.branches], 1)
        targets = torch.rand(count, generator=generator) < torch.sigmoid(-scores[rows, active])
        read = torch.zeros(len(self.task.branches), self.task.features)
        for mask, branch in zip(read, self.task.branches, strict=True):
            mask[branch.first - 1 : branch.last] = 1
        regions = torch.zeros(count, len(self.factors), self.task.features)
        regions[:, 0] = read[active]
        if self.task.switch is not None:
            regions[:, 1, self.task.switch - 1] = 1
        spare, _ = self.task.draw(count, generator)
        return Evident(x, targets.long(), [f"{self.name} {split} {i}" for i in range(count)], regions, spare)
