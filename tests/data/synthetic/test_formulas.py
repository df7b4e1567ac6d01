"""Rules in disjunctive normal form against brute force over their truth tables."""

from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.data.synthetic.formulas import Formula, Term, monotone_formula, term_f1, truth_table_agreement

NAMES = ("p", "q", "r", "s", "t")
TABLE = torch.tensor(list(product((0.0, 1.0), repeat=5)))
TERM = st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1, max_size=3)
FORMULA = st.lists(TERM, min_size=1, max_size=4).map(lambda terms: Formula(tuple(map(term, terms)), NAMES))


def term(literals: dict[str, bool]) -> Term:
    return frozenset(literals.items())


def truth(formula: Formula, row: Tensor) -> bool:
    value = dict(zip(formula.features, row.tolist(), strict=True))
    return any(all(value[name] == positive for name, positive in one) for one in formula.terms)


@given(FORMULA)
def test_truth(formula: Formula) -> None:
    assert formula(TABLE).tolist() == [truth(formula, row) for row in TABLE]


@settings(max_examples=60, deadline=None)
@given(FORMULA)
def test_evidence(formula: Formula) -> None:
    """Where true, the literals of the terms that are; where false, the first smallest set that falsifies every term."""
    found = formula.evidence(TABLE)
    for row, evidence in zip(TABLE, found, strict=True):
        value = dict(zip(NAMES, row.tolist(), strict=True))
        shown = {name for name, one in zip(NAMES, evidence.tolist(), strict=True) if one}
        if truth(formula, row):
            holding = [one for one in formula.terms if all(value[name] == positive for name, positive in one)]
            assert shown == {name for one in holding for name, _ in one}
            continue
        false = [{name for name, positive in one if value[name] != positive} for one in formula.terms]
        sets = (set(chosen) for size in range(6) for chosen in combinations(NAMES, size))
        assert shown == next(chosen for chosen in sets if all(chosen & one for one in false))


@settings(max_examples=60, deadline=None)
@given(FORMULA)
def test_the_values_of_the_evidence_settle_the_label(formula: Formula) -> None:
    labels, evidence = formula(TABLE), formula.evidence(TABLE).bool()
    for i in range(len(TABLE)):
        alike = (TABLE[i] == TABLE)[:, evidence[i]].all(1)
        assert bool((labels[alike] == labels[i]).all())


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
def test_terms_of_a_monotone_formula_are_the_only_ones(terms: int, width: int, seed: int) -> None:
    """They are all its prime implicants: the conjunctions that imply it, and of which no literal can be left out."""
    formula = monotone_formula(terms, width, NAMES, torch.Generator().manual_seed(seed))
    labels, implicants = formula(TABLE), set()
    for size in range(1, 6):
        for columns in combinations(range(5), size):
            for values in product((0.0, 1.0), repeat=size):
                rows = (TABLE[:, columns] == torch.tensor(values)).all(1)
                literals = frozenset((NAMES[c], bool(v)) for c, v in zip(columns, values, strict=True))
                if bool(labels[rows].all()) and not any(prime < literals for prime in implicants):
                    implicants.add(literals)
    assert len(set(formula.terms)) == terms and implicants == set(formula.terms)


def test_text() -> None:
    formula = Formula((term({"r": False, "q": True}), term({"t": False})), NAMES)
    assert str(formula) == "(q and not r) or not t"


def test_agreement_is_over_the_inputs_given() -> None:
    first, second = Formula((term({"p": True}),), NAMES), Formula((term({"p": True, "q": True}),), NAMES)
    same = Formula((term({"p": True, "q": True}), term({"p": True, "q": False})), NAMES)
    assert truth_table_agreement(first, second, TABLE) == 0.75  # they differ where p is 1 and q is 0
    assert truth_table_agreement(first, same, TABLE) == 1
    assert truth_table_agreement(first, second, TABLE[TABLE[:, 1] == 1]) == 1
    assert truth_table_agreement(first, lambda x: x[:, 0], TABLE) == 1
    with pytest.raises(ValueError, match=r"one number per input, \(32,\); got \(32, 5\)"):
        truth_table_agreement(first, lambda x: x, TABLE)
    with pytest.raises(ValueError, match="compared on at least one input; got none"):
        truth_table_agreement(first, first, TABLE[:0])


def test_term_f1() -> None:
    planted = {term({"p": True}), term({"q": True, "r": False})}
    assert term_f1(planted, planted) == 1 and term_f1([], planted) == 0 and term_f1([], []) == 1
    assert term_f1([{("r", False), ("q", True)}], planted) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert term_f1([term({"q": True, "r": True}), term({"p": True}), term({"s": True})], planted) == pytest.approx(0.4)


def test_formulas_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="a formula needs at least one term, and each term at least one literal"):
        Formula((frozenset(),), NAMES)
    with pytest.raises(ValueError, match=r"no feature named 'pp'; did you mean 'p'\?"):
        Formula((term({"pp": True}),), NAMES)
    with pytest.raises(ValueError, match="requires both 'p' and its negation"):
        Formula((frozenset({("p", True), ("p", False)}),), NAMES)
    many = tuple(f"x{i}" for i in range(17))
    with pytest.raises(ValueError, match="the terms use 17 features; at most 16 are supported"):
        Formula((term(dict.fromkeys(many, True)),), many)
    draw = torch.Generator()
    with pytest.raises(ValueError, match="5 features make 10 different terms of width 2; got terms 11"):
        monotone_formula(11, 2, NAMES, draw)
    with pytest.raises(ValueError, match="5 features make 0 different terms of width 6; got terms 1"):
        monotone_formula(1, 6, NAMES, draw)
