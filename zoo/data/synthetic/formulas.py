"""Rules in disjunctive normal form: their truth, the evidence for it in a row, and how well a rule is recovered."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean

Literal = tuple[str, bool]  # a feature, and whether it must be 1
Term = frozenset[Literal]
MOST_USED = 16  # features of a formula: their subsets are enumerated to find the evidence of a false label


@dataclass(frozen=True)
class Formula:
    """A rule over binary features in disjunctive normal form: true where all literals of any of its terms are true.

    Attributes:
        terms: each a set of literals: a feature, and whether it must be 1.
        features: names of all columns of the rows, in order.

    Raises:
        ValueError: no terms, an empty or contradictory term, an unknown feature, or more than 16 features in use.
    """

    terms: tuple[Term, ...]
    features: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.terms or not all(self.terms):
            raise ValueError("a formula needs at least one term, and each term at least one literal.")
        for term in self.terms:
            for name, positive in sorted(term):
                if name not in self.features:
                    raise ValueError(f"no feature named '{name}'; {did_you_mean(name, self.features)}")
                if positive and (name, False) in term:
                    raise ValueError(f"a term requires both '{name}' and its negation; it would never be true.")
        used = len({name for term in self.terms for name, _ in term})
        if used > MOST_USED:
            raise ValueError(f"the terms use {used} features; at most {MOST_USED} are supported.")

    def __str__(self) -> str:
        order = {name: i for i, name in enumerate(self.features)}
        terms = [sorted(term, key=lambda literal: order[literal[0]]) for term in self.terms]
        texts = [" and ".join(name if positive else f"not {name}" for name, positive in term) for term in terms]
        return " or ".join(f"({text})" if " and " in text else text for text in texts)

    @cached_property
    def wanted(self) -> Tensor:
        """(K, F) the value that term k requires of each feature: 1 for 1, -1 for 0, and 0 for either."""
        signs = torch.zeros(len(self.terms), len(self.features))
        for k, term in enumerate(self.terms):
            for name, positive in term:
                signs[k, self.features.index(name)] = 1 if positive else -1
        return signs

    def satisfied(self, x: Tensor) -> Tensor:
        """(N, K) bool: the terms that are true in each row (N, F) of 0 and 1."""
        falsified = (1 - x) @ self.wanted.clamp(min=0).mT + x @ self.wanted.clamp(max=0).neg().mT
        return falsified == 0

    def __call__(self, x: Tensor) -> Tensor:
        """(N,) bool: whether the rule is true in each row (N, F) of 0 and 1."""
        return self.satisfied(x).any(1)

    def evidence(self, x: Tensor) -> Tensor:
        """(N, F) in {0, 1}: the features whose values prove that the rule is true, or false, in each row (N, F).

        Where it is true: the features of all satisfied terms. Where it is false: the smallest set of features that
        falsifies every term, exact by enumeration; of several, the one whose first features have the lowest numbers.
        """
        shown = (self.satisfied(x).float() @ self.wanted.abs() > 0).float()
        used = self.wanted.any(0).nonzero().flatten()
        patterns, pattern = x[:, used].unique(dim=0, return_inverse=True)
        wanted = self.wanted[:, used]
        falsified = (wanted * (2 * patterns[:, None] - 1) < 0).long() @ 2 ** torch.arange(len(used))  # (P, K), as bits
        hitting = torch.zeros(patterns.shape)
        unsolved = (falsified > 0).all(1).nonzero().flatten()
        # Ordered by size, then by the numbers of the features: the first that falsifies all terms is kept.
        for chosen in (c for size in range(1, len(used) + 1) for c in combinations(range(len(used)), size)):
            if not len(unsolved):
                break
            hits = (falsified[unsolved] & sum(1 << i for i in chosen)).bool().all(1)
            hitting[unsolved[hits][:, None], torch.tensor(chosen)] = 1
            unsolved = unsolved[~hits]
        shown[:, used] += hitting[pattern]
        return shown


def monotone_formula(terms: int, width: int, features: Sequence[str], generator: torch.Generator) -> Formula:
    """A random formula of different terms of one width, in which each feature has the same sign in all terms.

    No other irredundant formula in disjunctive normal form is true in the same rows, so that terms can be recovered.

    Args:
        terms: number of terms.
        width: number of literals of each term.
        features: names to draw from.
        generator: of all randomness.

    Raises:
        ValueError: fewer features than the width, or too few for so many different terms.
    """
    subsets = torch.combinations(torch.arange(len(features)), width) if 0 < width <= len(features) else torch.empty(0)
    if not 0 < terms <= len(subsets):
        raise ValueError(
            f"{len(features)} features make {len(subsets)} different terms of width {width}; got terms {terms}. "
            "Use fewer or shorter terms (at least one), or more relevant bits."
        )
    chosen = subsets[torch.randperm(len(subsets), generator=generator)[:terms]].tolist()
    signs = torch.randint(2, (len(features),), generator=generator).bool().tolist()
    literals = list(zip(features, signs, strict=True))
    return Formula(tuple(frozenset(literals[i] for i in term) for term in chosen), tuple(features))


def truth_table_agreement(
    found: Callable[[Tensor], Tensor], planted: Callable[[Tensor], Tensor], inputs: Tensor
) -> float:
    """Share of inputs on which two rules agree.

    Over all possible inputs this is 1 exactly if the rules are equivalent.

    Args:
        found: a rule that maps inputs (M, F) to (M,) of 0 and 1, or bool.
        planted: likewise.
        inputs: (M, F).

    Raises:
        ValueError: no inputs, or a rule returns another shape.
    """
    if not len(inputs):
        raise ValueError("two rules are compared on at least one input; got none.")
    answers = [rule(inputs) for rule in (found, planted)]
    for answer in answers:
        if tuple(answer.shape) != (len(inputs),):
            raise ValueError(f"a rule must return one number per input, ({len(inputs)},); got {tuple(answer.shape)}.")
    return float((answers[0].bool() == answers[1].bool()).double().mean())


def term_f1(found: Collection[Term], planted: Collection[Term]) -> float:
    """F1 score of recovered terms: 2 |both| / (|found| + |planted|); terms are equal if all their literals are.

    1 if neither has a term. Equivalent terms with other literals do not count.
    """
    first, second = set(map(frozenset, found)), set(map(frozenset, planted))
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0
