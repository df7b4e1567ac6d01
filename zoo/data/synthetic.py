"""Tables of random features of which a few decide the label, other ones from row to row."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.worlds import Sample, World
from zoo.domain import TableDomain
from zoo.hints import hint

Logit = Callable[[Tensor], Tensor]
ORACLE = 2_000_000  # rows that a ceiling is estimated on: its standard error is below 0.0004


def product(x: Tensor) -> Tensor:
    """x1 x2."""
    return x[:, 0] * x[:, 1]


def squares(x: Tensor) -> Tensor:
    """x3² + x4² + x5² + x6² - 4."""
    return x[:, 2:6].square().sum(1) - 4


def waves(x: Tensor) -> Tensor:
    """-10 sin(0.2 x7) + |x8| + x9 + exp(-x10) - 2.4."""
    return -10 * (0.2 * x[:, 6]).sin() + x[:, 7].abs() + x[:, 8] + (-x[:, 9]).exp() - 2.4


def orange_skin(x: Tensor) -> Tensor:
    """x1² + x2² + x3² + x4² - 4."""
    return x[:, :4].square().sum(1) - 4


def additive(x: Tensor) -> Tensor:
    """-100 sin(0.2 x1) + |x2| + x3 + exp(-x4) - 2.4."""
    return -100 * (0.2 * x[:, 0]).sin() + x[:, 1].abs() + x[:, 2] + (-x[:, 3]).exp() - 2.4


def shifted(x: Tensor) -> Tensor:
    """The additive score of x5 to x8."""
    return additive(x[:, 4:8])


# name: (features, the score where the switch is low, the score elsewhere, their features, the feature that switches)
TABLES: dict[str, tuple[int, Logit, Logit, range, range, int | None]] = {
    "syn1": (11, product, product, range(2), range(2), None),
    "syn2": (11, squares, squares, range(2, 6), range(2, 6), None),
    "syn3": (11, waves, waves, range(6, 10), range(6, 10), None),
    "syn4": (11, product, squares, range(2), range(2, 6), 10),
    "syn5": (11, product, waves, range(2), range(6, 10), 10),
    "syn6": (11, squares, waves, range(2, 6), range(6, 10), 10),
    "xor": (10, product, product, range(2), range(2), None),
    "orange_skin": (10, orange_skin, orange_skin, range(4), range(4), None),
    "additive": (10, additive, additive, range(4), range(4), None),
    "switch": (10, shifted, orange_skin, range(4, 8), range(4), 9),
}


class SyntheticTable(World):
    """Standard normal features and P(y = 1) = 1 / (1 + exp(F)), where F reads a few of them.

        syn1         F = A = x1 x2
        syn2         F = B = x3² + x4² + x5² + x6² - 4
        syn3         F = C = -10 sin(0.2 x7) + |x8| + x9 + exp(-x10) - 2.4
        syn4, 5, 6   where x11 < 0, F is A, A, B; elsewhere B, C, C
        xor, orange_skin, additive   A, B and C of other features and sizes, of ten features
        switch       x10 is around 3 or around -3: orange skin of x1 to x4, or additive of x5 to x8

    Yoon, Jordon, van der Schaar: "INVASE", ICLR 2019, section 4.1 (syn), and Chen, Song, Wainwright, Jordan: "Learning
    to Explain" (L2X), ICML 2018, arXiv 1802.07814, section 4.1 (the others). In the official code of the latter the two
    blocks of "switch" overlap in memory when they are swapped, so that half of the rows hold copies; not so here.

    What matters in a row: "branch", the features that F reads there, and "switch", the feature that chooses between the
    two. Without a factor its features are drawn again, apart from all others. Bayes accuracies of syn1 to syn6 are
    0.632, 0.824, 0.822, 0.728, 0.727 and 0.823; see `ceiling`. In "additive" the sign of x1 alone is right in 97 %.

    Args:
        name: of the table.
        count, val_count, test_count: rows of each split.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the rows and the shuffles.
    """

    def __init__(
        self,
        name: str = "syn4",
        count: int = 10_000,
        val_count: int = 1000,
        test_count: int = 10_000,
        batch_size: int = 256,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__((count, val_count, test_count), batch_size, workers, seed)
        if name not in TABLES:
            raise ValueError(f"no synthetic table named '{name}'; {hint(name, TABLES)}")
        self.name, self.switch = name, TABLES[name][5]
        self.factors = ("branch",) if self.switch is None else ("branch", "switch")

    def make_domain(self) -> TableDomain:
        return TableDomain(classes=("0", "1"), features=tuple(f"x{i + 1}" for i in range(TABLES[self.name][0])))

    @cached_property
    def ceiling(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Accuracy of the true probabilities, over two million rows."""
        x = self._features(ORACLE, torch.Generator().manual_seed(0))
        p = torch.sigmoid(-self.score(x))
        return torch.maximum(p, 1 - p).mean().item()

    def score(self, x: Tensor) -> Tensor:
        """(N,) F of rows (N, F)."""
        _, low, high, *_ = TABLES[self.name]
        if self.switch is None:
            return low(x)
        return torch.where(x[:, self.switch] < 0, low(x), high(x))

    def draw(self, count: int, generator: torch.Generator) -> Sample:
        x = self._features(count, generator)
        targets = (torch.rand(count, generator=generator) < torch.sigmoid(-self.score(x))).long()
        regions = torch.zeros(count, len(self.factors), x.shape[1])
        for low, features in ((True, TABLES[self.name][3]), (False, TABLES[self.name][4])):
            rows = torch.ones(count, dtype=torch.bool) if self.switch is None else (x[:, self.switch] < 0) == low
            regions[:, 0, list(features)] += rows[:, None].float()
        if self.switch is not None:
            regions[:, 1, self.switch] = 1
        return Sample(x, targets, regions.clamp_max(1), self._features(count, generator))

    def _features(self, count: int, generator: torch.Generator) -> Tensor:
        x = torch.randn(count, TABLES[self.name][0], generator=generator)
        if self.name == "switch":
            x[:, 9] += 3 * (torch.randint(0, 2, (count,), generator=generator) * 2 - 1)
        return x
