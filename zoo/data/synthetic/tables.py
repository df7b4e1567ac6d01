"""Tables whose label depends on few of their features, which ones differing from row to row.

Syn1 to Syn6: Yoon et al.: "INVASE", ICLR 2019. XOR, orange skin, additive and switch: Chen et al.: "Learning to
Explain", ICML 2018, arXiv 1802.07814, section 4.1.
"""

from typing import Any

import torch

from zoo.data.synthetic.arrays import EvidenceRows
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.table_tasks import TASKS
from zoo.domain import TableDomain
from zoo.utils.checks import check_at_least, check_choice


class SyntheticTable(SyntheticBenchmark):
    """Rows of independent normal features, two to five of which determine the label: Syn1 to Syn6, and four of L2X.

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

    All other features are N(0, 1). Regions are the features of the row's active branch ("branch"), and, with two
    branches, the feature that selects it ("switch"). The ceiling is the Bayes accuracy E max(P, 1 - P), by numerical
    integration of each branch; with two branches it is their mean: exactly where the sign of the switch selects, and to
    0.0005 in "switch", whose x10 leaves one row in 700 ambiguous.

    An intervention draws the features of a factor again from their distribution, independently of the row; all other
    features are unchanged. "branch" is the branch that was active before. Labels are not drawn again.

    Differs from the papers: the additive scores are those of the published code, whose formulas are others. Differs
    from the published code: in its switch, a swap of overlapping views makes x5 to x8 copies of x1 to x4 in half of the
    rows; here all features are independent.

    Args:
        name: of the table, see above.
        count: number of training rows, including those held out for validation.
        test_count: number of test rows.
        batch_size: items per batch.
        **loading: the other options of `DataModule`.
    """

    def __init__(
        self,
        name: str = "syn4",
        count: int = 10_000,
        test_count: int = 10_000,
        batch_size: int = 256,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice(TASKS, name=name)
        check_at_least(10, count=count)
        check_at_least(1, test_count=test_count)
        self.name, self.task = name, TASKS[name]
        held = min(max(round(count * self.val_fraction), 1), count - 1)
        self.counts = {"train": count - held, "val": held, "test": test_count}
        self.factors = ("branch",) if self.task.switch is None else ("branch", "switch")
        self.ceiling = sum(branch.ceiling for branch in self.task.branches) / len(self.task.branches)

    def make_domain(self) -> TableDomain:
        features = tuple(f"x{i + 1}" for i in range(self.task.features))
        return TableDomain(classes=("y = 0", "y = 1"), features=features)

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceRows:
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
        replacement, _ = self.task.draw(count, generator)
        names = [f"{self.name} {split} {i}" for i in range(count)]
        return EvidenceRows(x, targets.long(), names, regions, self.factors, replacement)
