"""Tables whose labels follow from a rule: the three MONK's problems, and random rules of bits."""

import math
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.base.module import stratified_split
from zoo.data.synthetic.benchmark import ArrayWorld, Evident, named
from zoo.data.synthetic.formulas import Formula, monotone_formula, term_f1, truth_table_agreement
from zoo.domain import TableDomain

__all__ = ["Formula", "RuleTable", "term_f1", "truth_table_agreement"]

VALUES = (3, 3, 2, 3, 4, 2)  # that each attribute of the MONK's problems has
COLUMNS = tuple(f"a{a} is {v}" for a, count in enumerate(VALUES, 1) for v in range(1, count + 1))
MONK_ROWS = {"monk1": 124, "monk2": 169, "monk3": 122}  # to train on
EVERY_MONK = math.prod(VALUES)
MOST_BITS = 20  # the table of all rows is held in memory
NOISE = 0.05  # share of wrong labels to train on, in monk3


def monk(name: str) -> tuple[Formula, str]:
    """The rule of a MONK's problem in disjunctive normal form over `COLUMNS`, and as it was published."""
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


class RuleTable(ArrayWorld):
    """Rows of 0 and 1 whose label is the truth of a rule: "monk1", "monk2", "monk3", or "dnf", a random rule.

    The MONK's problems (Thrun et al.: "The MONK's Problems", CMU-CS-91-197, 1991) have six attributes of 3, 3, 2, 3, 4
    and 2 values, each value a column, as "a1 is 2". All 432 rows are there to test on; 124, 169 or 122 of them, drawn
    by the seed, to train on and to validate. In monk3 the labels of 5 % of those, 6 rows, are wrong.

    The rule of "dnf" is drawn by the seed: different terms of one width, over the relevant bits, each of which has the
    same sign in all terms. So its terms are the only ones, and `term_f1` is fair. Bits are 0 or 1 with probability 1/2,
    and the label is true in a share `prevalence` of the rows. Training and test rows are drawn alike, and some rows are
    in both.

    The region, "rule", are the columns whose values show the rule to be true or false, see `Formula.evidence`: the
    literals of all satisfied terms; or where none is, the smallest set of falsified literals with one of every term.
    In rows with a wrong label they show what the label should be. An intervention draws the attributes, or bits, of
    those columns again, each value equally likely; all others stay. The ceiling is 1: test labels have no noise.

    Args:
        name: see above.
        count: rows of "dnf" to train on, with those held out to validate.
        test_count: rows of "dnf" to test on.
        terms: of "dnf".
        width: literals of each of its terms.
        bits: of its rows, at most 20.
        irrelevant: bits, at places drawn by the seed, that no term may use.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the rule of "dnf", the rows and the shuffles.
        val_fraction: share of the training rows held out, of either label.
    """

    factors = ("rule",)

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
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        self.name = named("rule", name, (*MONK_ROWS, "dnf"))
        self.one_hot = name in MONK_ROWS  # each value of an attribute is a column; a bit is a column itself
        if self.one_hot:
            self.formula, self.truth = monk(name)
            self.values, self.count, self.test_count = VALUES, MONK_ROWS[name], EVERY_MONK
        else:
            if count < 10 or test_count < 1:
                raise ValueError(f"expected count >= 10 and test_count >= 1; got {count} and {test_count}.")
            self.formula = random_rule(terms, width, bits, irrelevant, self._generator(0))
            self.truth, self.values = str(self.formula), (2,) * bits
            self.count, self.test_count = count, test_count

    @property
    def ceiling(self) -> float:
        return 1.0

    @cached_property
    def prevalence(self) -> float:
        """Share of every row that there is in which the rule is true."""
        return float(self.formula(self.every_input).double().mean())

    @cached_property
    def every_input(self) -> Tensor:
        """(M, F) every row that there is: 432, or 2 to the power of the bits."""
        return self._inputs(torch.arange(math.prod(self.values)))

    @cached_property
    def counts(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self._parts.items()} | {"test": self.test_count}

    def make_domain(self) -> TableDomain:
        return TableDomain(classes=("false", "true"), features=self.formula.features)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        total = math.prod(self.values)
        if split != "test":
            numbers, labels = (drawn[self._parts[split]] for drawn in self._pool)
        else:
            numbers = torch.arange(total) if self.one_hot else torch.randint(total, (count,), generator=generator)
            labels = self.formula(self._inputs(numbers)).long()
        x, spare = self._inputs(numbers), self._inputs(torch.randint(total, (count,), generator=generator))
        evidence = self.formula.evidence(x)
        # The columns of an attribute change together.
        widths = torch.tensor(self.values if self.one_hot else (1,) * len(self.values))
        attribute = torch.arange(len(widths)).repeat_interleave(widths)  # of each column
        changed = (evidence @ (attribute[:, None] == attribute).float() > 0).float()
        names = [f"{self.name} {split} {i}" for i in range(count)]
        return Evident(x, labels, names, evidence[:, None], spare, changed[:, None])

    @cached_property
    def _pool(self) -> tuple[Tensor, Tensor]:
        """Numbers (n,) of the rows to train on and to validate, and their labels (n,)."""
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
        """Rows (n, F) of some of the numbers 0, 1, ... that count all rows, the last attribute fastest."""
        digits = []
        for count in reversed(self.values):
            digits.insert(0, numbers % count)
            numbers = numbers // count
        if not self.one_hot:
            return torch.stack(digits, 1).float()
        return torch.cat([F.one_hot(digit, count) for digit, count in zip(digits, self.values, strict=True)], 1).float()

    def _generator(self, stream: int) -> torch.Generator:
        """Of the rule and the training rows, apart from the streams of the splits, whose seeds are small."""
        return torch.Generator().manual_seed(2**31 + 2 * self.seed + stream)


def random_rule(terms: int, width: int, bits: int, irrelevant: int, generator: torch.Generator) -> Formula:
    """A monotone formula of some of the bits x1, x2, ...

    Raises:
        ValueError: too many bits, too few of them relevant, or too few for the terms.
    """
    if not 1 <= bits <= MOST_BITS or not 0 <= irrelevant < bits:
        raise ValueError(f"expected 1 <= bits <= {MOST_BITS} and 0 <= irrelevant < bits; got {bits} and {irrelevant}.")
    names = tuple(f"x{i + 1}" for i in range(bits))
    relevant = torch.randperm(bits, generator=generator)[irrelevant:].sort().values.tolist()
    formula = monotone_formula(terms, width, [names[i] for i in relevant], generator)
    return Formula(formula.terms, names)
