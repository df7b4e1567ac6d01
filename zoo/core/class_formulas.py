"""Formulas of classes over concepts that are present or absent, in buffers that travel with the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.core.rule_table import Rule
from zoo.networks.formulas import extract_formula, formula_holds, formula_text


class ClassFormulas(nn.Module):
    """A formula in disjunctive normal form for each of C classes over k concepts, see `zoo.networks.formulas`.

    Buffers: `formula` (C, T, k) · `support` (C,) share of the training items for which a formula holds · `precision`
    (C,) of these, the share of its class.

    Args:
        classes: names of the classes.
        concepts: k.
        terms: T, maximum number of terms in a formula.
    """

    formula: Tensor
    support: Tensor
    precision: Tensor

    def __init__(self, classes: Sequence[str], concepts: int, terms: int) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.register_buffer("formula", torch.zeros(len(self.classes), terms, concepts, dtype=torch.int8))
        self.register_buffer("support", torch.zeros(len(self.classes)))
        self.register_buffer("precision", torch.zeros(len(self.classes)))

    def clear(self) -> None:
        """Removes all formulas."""
        for buffer in (self.formula, self.support, self.precision):
            buffer.zero_()

    def extract(self, present: Tensor, predicted: Tensor, target: Tensor, kept: Tensor) -> None:
        """Finds the formulas of training items.

        Args:
            present: (N, k) bool, the concepts of the items.
            predicted: (N,) predicted classes.
            target: (N,) classes.
            kept: (C, k) bool, concepts that the formula of a class may use.
        """
        self.clear()
        for c, usable in enumerate(kept):
            found = extract_formula(present, predicted == c, target == c, usable, self.formula.shape[1])
            self.formula[c, : len(found)] = found
        holds, wanted = self.holds(present), nn.functional.one_hot(target, len(self.classes)).bool()
        self.support.copy_(holds.float().mean(0))
        self.precision.copy_((holds & wanted).sum(0) / holds.sum(0).clamp_min(1))

    def holds(self, present: Tensor) -> Tensor:
        """Whether the formula of each class holds (B, C) for concepts (B, k) bool; an empty formula does not."""
        return formula_holds(self.formula, present)

    def texts(self, concepts: Sequence[str]) -> dict[str, str]:
        """The formula of each class over the names of the concepts; empty for a class without one."""
        rows = zip(self.classes, self.formula.tolist(), strict=True)
        return {name: formula_text(formula, concepts) for name, formula in rows}

    def rules(self, concepts: Sequence[str]) -> list[Rule]:
        """The formula of each class that has one, with its support and precision on the training set."""
        rows = zip(self.texts(concepts).items(), self.support.tolist(), self.precision.tolist(), strict=True)
        return [Rule(text, name, support, precision) for (name, text), support, precision in rows if text]

    def statements(self, present: Tensor, target: Tensor, concepts: Sequence[str]) -> tuple[str, ...]:
        """The formula of each row's target (B,), and whether it is true for its concepts (B, k) bool."""
        formulas = list(self.texts(concepts).values())
        holds = self.holds(present).gather(1, target[:, None])[:, 0].tolist()
        return tuple(
            f"{self.classes[c]} if {formulas[c]}: {'true' if true else 'not true'} here" if formulas[c] else ""
            for c, true in zip(target.tolist(), holds, strict=True)
        )
