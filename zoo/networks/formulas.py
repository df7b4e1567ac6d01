"""Formulas in disjunctive normal form: extraction for one class, evaluation and text (LEN).

A formula is an integer tensor (T, k) of T terms over k concepts with entries 1 (present), -1 (absent) and 0 (not in the
term); a term of zeros is unused.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def extract_formula(present: Tensor, predicted: Tensor, target: Tensor, kept: Tensor, terms: int) -> Tensor:
    """A short formula for one class.

    Candidate terms are the concepts of correctly predicted items, the most frequent first. Literals are removed from a
    term as long as its accuracy does not fall; the term is added if it improves the accuracy of the formula (Barbiero
    et al., AAAI 2022, section 3.2).

    Args:
        present: (N, k) bool, concepts of the items.
        predicted: (N,) bool, items for which the class is predicted.
        target: (N,) bool, items of the class.
        kept: (k,) bool, concepts that the formula may use.
        terms: T, maximum number of terms.

    Returns:
        (at most T, k) int8.
    """
    right, columns = predicted & target, kept.nonzero().flatten()
    if not right.any() or not len(columns):
        return present.new_zeros(0, present.shape[1], dtype=torch.int8)
    found, counts = present[right][:, columns].unique(dim=0, return_counts=True)
    chosen: list[Tensor] = []
    covered, best = torch.zeros_like(target), (~target).float().mean()
    for i in counts.argsort(descending=True, stable=True)[: 4 * terms].tolist():
        term = torch.zeros(present.shape[1], dtype=torch.int8, device=present.device)
        term[columns] = found[i].to(torch.int8) * 2 - 1
        term = _shortened(term, columns, present, target)
        joined = covered | term_holds(term, present)
        accuracy = (joined == target).float().mean()
        if accuracy > best and len(chosen) < terms:
            chosen, covered, best = [*chosen, term], joined, accuracy
    return torch.stack(chosen) if chosen else present.new_zeros(0, present.shape[1], dtype=torch.int8)


def _shortened(term: Tensor, columns: Tensor, present: Tensor, target: Tensor) -> Tensor:
    """The term without the literals whose removal does not lower its accuracy."""
    accuracy = (term_holds(term, present) == target).float().mean()
    for column in columns.tolist():
        shorter = term.clone()
        shorter[column] = 0
        if not shorter.any():
            continue
        candidate = (term_holds(shorter, present) == target).float().mean()
        if candidate >= accuracy:
            term, accuracy = shorter, candidate
    return term


def term_holds(terms: Tensor, present: Tensor) -> Tensor:
    """Whether terms (..., k) hold for items with concepts (N, k) bool, (N, ...) bool."""
    signs = (present.to(torch.int8) * 2 - 1).view(len(present), *[1] * (terms.ndim - 1), terms.shape[-1])
    return (signs * terms == terms.abs()).all(-1)


def formula_holds(formulas: Tensor, present: Tensor) -> Tensor:
    """Whether formulas (C, T, k) hold for items with concepts (N, k) bool, (N, C) bool; an empty formula does not."""
    return (term_holds(formulas, present) & formulas.any(2)).any(2)


def formula_text(formula: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A formula (T, k) as text, such as "a or (b and not c)"; empty without terms."""
    terms = [[("" if sign > 0 else "not ") + names[i] for i, sign in enumerate(term) if sign] for term in formula]
    texts = [" and ".join(term) for term in terms if term]
    return " or ".join(f"({text})" if " and " in text else text for text in texts)
