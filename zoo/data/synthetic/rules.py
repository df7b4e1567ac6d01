"""Tables whose labels follow from a known rule: the three MONK's problems, and random rules over bits."""

import math
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.base.sampling import stratified_split
from zoo.data.synthetic.arrays import EvidenceRows
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.formulas import Formula, monotone_formula
from zoo.domain import TableDomain
from zoo.utils.checks import check_at_least, check_choice

VALUES = (3, 3, 2, 3, 4, 2)  # number of values of each attribute of the MONK's problems
COLUMNS = tuple(f"a{a} is {v}" for a, count in enumerate(VALUES, 1) for v in range(1, count + 1))
MONK_ROWS = {"monk1": 124, "monk2": 169, "monk3": 122}  # for training
EVERY_MONK = math.prod(VALUES)
MOST_BITS = 20  # the table of all rows is held in memory
NOISE = 0.05  # share of wrong training labels of monk3


def monk(name: str) -> tuple[Formula, str]:
    """The rule of a MONK's problem in disjunctive normal form over `COLUMNS`, and as published."""
    if name == "monk1":
        terms = [{(f"a1 is {v}", True), (f"a2 is {v}", True)} for v in (1, 2, 3)] + [{("a5 is 1", True)}]
        text = "a1 = a2 or a5 = 1"
    elif name == "monk2":
        terms = [{(f"a{a} is 1", a in pair) for a in range(1, 7)} for pair in combinations(range(1, 7), 2)]
        text = "exactly two of a1, ..., a6 are 1"
    else:
        terms = [{("a5 is 3", True), ("a4 is 1", True)}, {("a5 is 4", False), ("a2 is 3", False)}]
        text = "(a5 = 3 and a4 = 1) or (a5 ≠ 4 and a2 ≠ 3)"
    return Formula(tuple(map(frozenset, terms)), COLUMNS), text


class RuleTable(SyntheticBenchmark):
    """Rows of 0 and 1 whose label is the truth of a rule: "monk1", "monk2", "monk3", or "dnf", a random rule.

    The MONK's problems (Thrun et al.: "The MONK's Problems", CMU-CS-91-197, 1991) have six attributes of 3, 3, 2, 3, 4
    and 2 values; each value is a column, such as "a1 is 2". The test set is all 432 rows; 124, 169 or 122 of them,
    drawn by the seed, are the training and validation rows. In monk3 the labels of 5 % of those, 6 rows, are wrong.

    The rule of "dnf" is drawn by the seed: different terms of one width over the relevant bits, each of which has the
    same sign in all terms. So its terms are unique, and `term_f1` is a fair metric. Bits are 0 or 1 with probability
    1/2; `prevalence` is the share of rows with a true label. Training and test rows have the same distribution, and
    some rows are in both.

    The region of the factor "rule" is the columns whose values show the rule to be true or false, see
    `Formula.evidence`: the literals of all satisfied terms, or, if there is none, the smallest set of falsified
    literals with one of every term. In rows with a wrong label they show the correct label. An intervention draws the
    attributes, or bits, of those columns again, all values equally likely; all others are unchanged. The ceiling is 1:
    test labels have no noise.

    Args:
        name: of the rule, see above.
        count: number of training rows of "dnf", including those held out for validation.
        test_count: number of test rows of "dnf".
        terms: number of terms of "dnf".
        width: number of literals of each of its terms.
        bits: number of bits of its rows, at most 20.
        irrelevant: number of bits, at positions drawn by the seed, that no term uses.
        batch_size: items per batch.
        **loading: the other options of `DataModule`.
    """

    factors = ("rule",)
    ceiling = 1.0

    def __init__(
        self,
        name: str = "monk1",
        count: int = 2000,
        test_count: int = 2000,
        terms: int = 3,
        width: int = 3,
        bits: int = 12,
        irrelevant: int = 4,
        batch_size: int = 32,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice((*MONK_ROWS, "dnf"), name=name)
        self.name = name
        self.one_hot = name in MONK_ROWS  # each value of an attribute is a column; a bit is a column itself
        if self.one_hot:
            self.formula, self.truth = monk(name)
            self.values, self.count, self.test_count = VALUES, MONK_ROWS[name], EVERY_MONK
        else:
            check_at_least(10, count=count)
            check_at_least(1, test_count=test_count)
            self.formula = random_rule(terms, width, bits, irrelevant, self._generator(0))
            self.truth, self.values = str(self.formula), (2,) * bits
            self.count, self.test_count = count, test_count

    @cached_property
    def prevalence(self) -> float:
        """Share of all possible rows in which the rule is true."""
        return float(self.formula(self.every_input).double().mean())

    @cached_property
    def every_input(self) -> Tensor:
        """(M, F) all possible rows: 432, or 2 to the power of the bits."""
        return self._inputs(torch.arange(math.prod(self.values)))

    @cached_property
    def counts(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self._parts.items()} | {"test": self.test_count}

    def make_domain(self) -> TableDomain:
        return TableDomain(classes=("false", "true"), features=self.formula.features)

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceRows:
        total = math.prod(self.values)
        if split != "test":
            numbers, labels = (drawn[self._parts[split]] for drawn in self._pool)
        else:
            numbers = torch.arange(total) if self.one_hot else torch.randint(total, (count,), generator=generator)
            labels = self.formula(self._inputs(numbers)).long()
        x, replacement = self._inputs(numbers), self._inputs(torch.randint(total, (count,), generator=generator))
        evidence = self.formula.evidence(x)
        # The columns of an attribute change together.
        widths = torch.tensor(self.values if self.one_hot else (1,) * len(self.values))
        attribute = torch.arange(len(widths)).repeat_interleave(widths)  # of each column
        changed = (evidence @ (attribute[:, None] == attribute).float() > 0).float()
        names = [f"{self.name} {split} {i}" for i in range(count)]
        return EvidenceRows(x, labels, names, evidence[:, None], self.factors, replacement, changed[:, None])

    @cached_property
    def _pool(self) -> tuple[Tensor, Tensor]:
        """Numbers (n,) of the training and validation rows, and their labels (n,)."""
        generator, total = self._generator(1), math.prod(self.values)
        if self.one_hot:
            numbers = torch.randperm(total, generator=generator)[: self.count]
        else:
            numbers = torch.randint(total, (self.count,), generator=generator)
        labels = self.formula(self._inputs(numbers)).long()
        if self.name == "monk3":
            labels[torch.randperm(self.count, generator=generator)[: round(NOISE * self.count)]] ^= 1
        return numbers, labels

    @cached_property
    def _parts(self) -> dict[str, list[int]]:
        kept, held = stratified_split(self._pool[1], self.val_fraction, self.seed)
        return {"train": kept, "val": held}

    def _inputs(self, numbers: Tensor) -> Tensor:
        """Rows (n, F) with given numbers (n,), which enumerate all possible rows, the last attribute fastest."""
        digits = []
        for count in reversed(self.values):
            digits.insert(0, numbers % count)
            numbers = numbers // count
        if not self.one_hot:
            return torch.stack(digits, 1).float()
        return torch.cat([F.one_hot(digit, count) for digit, count in zip(digits, self.values, strict=True)], 1).float()

    def _generator(self, stream: int) -> torch.Generator:
        """The random stream of the rule (0) or the training rows (1), distinct from those of the splits."""
        return torch.Generator().manual_seed(2**31 + 2 * self.seed + stream)


def random_rule(terms: int, width: int, bits: int, irrelevant: int, generator: torch.Generator) -> Formula:
    """A random monotone formula over some of the bits x1, x2, ...

    Raises:
        ValueError: too many bits, too few of them relevant, or too few for the terms.
    """
    if not 1 <= bits <= MOST_BITS or not 0 <= irrelevant < bits:
        raise ValueError(f"expected 1 <= bits <= {MOST_BITS} and 0 <= irrelevant < bits; got {bits} and {irrelevant}.")
    names = tuple(f"x{i + 1}" for i in range(bits))
    relevant = torch.randperm(bits, generator=generator)[irrelevant:].sort().values.tolist()
    formula = monotone_formula(terms, width, [names[i] for i in relevant], generator)
    return Formula(formula.terms, names)
