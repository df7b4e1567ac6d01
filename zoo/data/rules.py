"""Tables whose labels follow from a rule: MONK's problems, and random formulas in disjunctive normal form."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import combinations, product

import torch
from torch import Tensor

from zoo.data.worlds import Sample, World
from zoo.domain import TableDomain
from zoo.hints import hint

SIZES = (3, 3, 2, 3, 4, 2)  # values of the attributes of MONK's problems
MONKS = {
    "monk1": ("a1 = a2, or a5 = 1", 124),
    "monk2": ("exactly two attributes are 1", 169),
    "monk3": ("a5 = 3 and a4 = 1, or a5 is not 4 and a2 is not 3", 122),
}
NOISE = 0.05  # share of the training labels of monk3 that are wrong
Literal = tuple[int, bool]  # a bit and the value that makes it true
Term = frozenset[Literal]


class RuleTable(World):
    """Labels that follow from a rule, with the literals that make them so.

        monk1, monk2, monk3   six attributes of 3, 3, 2, 3, 4 and 2 values, one-hot; 124, 169 and 122 of the 432
                              possible rows to train on, all 432 to test; 5 % of monk3's training labels are wrong
                              (Thrun et al.: "The MONK's Problems", CMU-CS-91-197, 1991)
        dnf                   random bits; true where any of `terms` conjunctions of `width` literals is

    What matters in a row, the factor "rule": in dnf, the literals of the satisfied terms, or, where none is, the fewest
    literals that falsify every term, ties to the lowest bits. In MONK's problems, the values of the attributes that the
    rule needs for the row: those of one satisfied part, else all that it names. Without it they are drawn again. The
    test labels are certain: the ceiling is 1. `rule` says it in words.

    Args:
        name: "monk1", "monk2", "monk3" or "dnf".
        terms, width, bits: of the formula.
        count, test_count: rows of "dnf" to train on and to test; MONK's problems have their own.
        val_count: rows to validate on, of MONK's problems from all that are not to train on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the formula, the rows and the shuffles.
    """

    factors = ("rule",)
    ceiling = 1.0  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(
        self,
        name: str = "monk1",
        terms: int = 3,
        width: int = 3,
        bits: int = 12,
        count: int = 2000,
        val_count: int = 100,
        test_count: int = 1000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        if name not in (*MONKS, "dnf"):
            raise ValueError(f"no table of rules named '{name}'; {hint(name, (*MONKS, 'dnf'))}")
        if not 1 <= width <= bits <= 30 or not 1 <= terms <= 20:
            raise ValueError(
                f"expected 1 <= width <= bits <= 30 and 1 <= terms <= 20; got {width}, {bits} and {terms}."
            )
        if name in MONKS:
            count, test_count = MONKS[name][1], 432
            if val_count > 432 - count:
                raise ValueError(f"val_count must be at most {432 - count}, what is not to train on; got {val_count}.")
        super().__init__((count, val_count, test_count), batch_size, workers, seed)
        self.name, self.terms, self.width, self.bits = name, terms, width, bits

    def make_domain(self) -> TableDomain:
        if self.name == "dnf":
            return TableDomain(classes=("false", "true"), features=tuple(f"b{i + 1}" for i in range(self.bits)))
        names = tuple(f"a{a + 1} is {v + 1}" for a, size in enumerate(SIZES) for v in range(size))
        return TableDomain(classes=("false", "true"), features=names)

    @cached_property
    def formula(self) -> tuple[Term, ...]:
        """The terms of the formula "dnf"."""
        draw = torch.Generator().manual_seed(self.seed)
        found: dict[Term, None] = {}
        while len(found) < self.terms:
            chosen = torch.randperm(self.bits, generator=draw)[: self.width].tolist()
            values = torch.randint(0, 2, (self.width,), generator=draw).bool().tolist()
            found[frozenset(zip(sorted(chosen), values, strict=True))] = None
        return tuple(found)

    @property
    def rule(self) -> str:
        """The rule in words."""
        if self.name in MONKS:
            return MONKS[self.name][0]
        says = (" and ".join(f"{'' if v else 'not '}b{b + 1}" for b, v in sorted(term)) for term in self.formula)
        return ", or ".join(says)

    def draw(self, count: int, generator: torch.Generator) -> Sample:
        return self._formula(count, generator) if self.name == "dnf" else self._monk(count, generator)

    def _formula(self, count: int, generator: torch.Generator) -> Sample:
        """Half of the rows satisfy a random term, the others are as they come, so neither label is rare."""
        x = torch.randint(0, 2, (count, self.bits), generator=generator)
        forced = torch.rand(count, generator=generator) < 0.5
        which = torch.randint(0, self.terms, (count,), generator=generator)
        for t, term in enumerate(self.formula):
            for bit, value in term:
                x[forced & (which == t), bit] = int(value)
        holds = torch.stack([satisfied(x, term) for term in self.formula], 1)
        targets, regions = holds.any(1).long(), torch.zeros(count, 1, self.bits)
        for t, term in enumerate(self.formula):
            regions[:, 0, [bit for bit, _ in term]] += holds[:, t, None].float()
        for i in (~holds.any(1)).nonzero()[:, 0].tolist():
            regions[i, 0, list(falsifiers(x[i].tolist(), self.formula))] = 1
        spare = torch.randint(0, 2, (count, self.bits), generator=generator)
        return Sample(x.float(), targets, regions.clamp_max(1), spare.float())

    def _monk(self, count: int, generator: torch.Generator) -> Sample:
        every = torch.tensor(list(product(*(range(size) for size in SIZES))))
        if count < len(every):  # rows to train on, then those to validate on, from one shuffle of all
            order = torch.randperm(len(every), generator=torch.Generator().manual_seed(self.seed))
            train = self.counts["train"]
            rows = every[order[:train] if count == train else order[train : train + count]]
        else:
            rows = every
        targets, needed = monk(self.name, rows)
        if self.name == "monk3" and count == self.counts["train"]:
            wrong = torch.randperm(count, generator=generator)[: round(NOISE * count)]
            targets[wrong] = 1 - targets[wrong]
        other = torch.stack([torch.randint(0, s, (len(rows),), generator=generator) for s in SIZES], 1)
        columns = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
        return Sample(one_hot(rows), targets, needed[:, columns][:, None].float(), one_hot(other))


def monk(name: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) labels of one of MONK's problems, and (N, 6) bool the attributes that each needs; values count from 0."""
    is_value = lambda a, v: rows[:, a - 1] == v - 1  # noqa: E731 (attributes and values as the rules count them)
    needed = torch.zeros_like(rows, dtype=torch.bool)
    if name == "monk1":
        same, five = rows[:, 0] == rows[:, 1], is_value(5, 1)
        needed[:, :2], needed[:, 4] = (same | ~five)[:, None], five | ~same
        return (same | five).long(), needed
    if name == "monk2":
        return ((rows == 0).sum(1) == 2).long(), ~needed
    first, second = is_value(5, 3) & is_value(4, 1), ~is_value(5, 4) & ~is_value(2, 3)
    neither = ~(first | second)
    needed[:, 4] = True
    needed[:, 3] = first | (neither & is_value(5, 3))  # what falsifies the first part, where its a5 is there
    needed[:, 1] = second | (neither & ~is_value(5, 4))
    return (first | second).long(), needed


def one_hot(rows: Tensor) -> Tensor:
    """(N, 17) of the values (N, 6) of MONK's attributes."""
    return torch.cat([torch.nn.functional.one_hot(rows[:, a], size) for a, size in enumerate(SIZES)], 1).float()


def satisfied(x: Tensor, term: Term) -> Tensor:
    """(N,) bool: in which rows (N, bits) every literal of a term holds."""
    return torch.stack([x[:, bit].bool() == value for bit, value in term], 1).all(1)


def falsifiers(row: Sequence[int], formula: Iterable[Term]) -> tuple[int, ...]:
    """The fewest bits of a row that make every term false; of as many, the first in order."""
    false = [{bit for bit, value in term if bool(row[bit]) != value} for term in formula]
    bits = sorted(set().union(*false))
    sets = (chosen for size in range(1, len(false) + 1) for chosen in combinations(bits, size))
    return next(chosen for chosen in sets if all(set(chosen) & one for one in false))


def truth_table_agreement(first: Iterable[Term], second: Iterable[Term], bits: int) -> float:
    """The share of all rows on which two formulas agree: 1 for the same rule, however it is written.

    Raises:
        ValueError: more than 20 bits.
    """
    if bits > 20:
        raise ValueError(f"a truth table of {bits} bits is too long; it is for at most 20.")
    rows = torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1
    none = torch.zeros(len(rows), 1, dtype=torch.bool)
    values = [torch.cat([none, *(satisfied(rows, t)[:, None] for t in terms)], 1).any(1) for terms in (first, second)]
    return (values[0] == values[1]).double().mean().item()


def term_f1(found: Iterable[Term], true: Iterable[Term]) -> float:
    """2 · shared terms / all terms of both formulas: 1 if they are written alike."""
    found, true = set(found), set(true)
    return 2 * len(found & true) / max(len(found) + len(true), 1)
