"""Explanations: the named terms of a readout, and arithmetic on them; no model is needed.

For additive models `bias + contributions.sum(1) == relative_score`, which `check()` verifies: the score of the target,
or its difference to the mean score of all classes or to the score of the runner-up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.core.comparison import check_sum, difference, relative_to, terms_for
from zoo.core.curves import Curve
from zoo.core.evidence import Unit, find_unit
from zoo.core.explanation_dict import explanation_dicts
from zoo.core.explanation_io import LISTED, read_explanation, write_explanation
from zoo.core.reference import REFERENCES, in_words, relative, runner_up
from zoo.core.regions import in_regions
from zoo.core.renderer import get_renderer
from zoo.core.strongest import Term, strongest
from zoo.domain import Domain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHED = ("scores", "target", "contributions", "bias", "activation", "support", "inputs", "effects", "slopes")


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of the target scores of B inputs. `explanation[i]` is the explanation of row i.

    Attributes:
        scores: (B, C) fp32, as `forward` returned them.
        target: (B,) the class (or regression target) that is explained.
        contributions: (B, K), or None if the model is not additive; with the bias they add up to `relative_score`.
        bias: (B,) or None, the constant term of the relative score.
        activation: (B, K).
        support: (B, K, *S) in [0, 1] or None, where in the input each unit fires.
        units: the K units, in the order of the columns.
        domain: class names, and the conversion of input tensors to pictures.
        inputs: the batch that was explained.
        space: the scale of the scores: "logit", "probability", "value", or "margin" (see `versus`).
        edges: for explanations that are graphs, (source (E,), destination (E,), weight (B, E)); nodes are columns of
            `activation`, and K + c stands for the score of class c.
        details: further numbers of each unit by name, (B, K) or (B, K, n). Concepts have their "probability", and
            the target's score if they were "absent" or "present".
        effects: (B, K, C) the contributions to every class, or None; see `SelfInterpretable.explain`.
            bias[c] = scores[:, c] - effects[:, :, c].sum(1).
        slopes: (B, K, C) the change of each score per unit of each activation where that is constant, or None.
        reference: what the target's score is relative to: "zero" (the score itself), "mean" or "runner-up".
        alternatives: contributions and, last, bias (B, K + 1) relative to the other references that are known, by name.
        statements: one sentence or rule for each row, or an empty tuple.
        texts: of texts and prompts, each row as it was written, or an empty tuple.
        warnings: what makes the answer for each row doubtful, see `Domain.warnings`, or an empty tuple.
        counterfactuals: what would change each answer, if it was searched with the model, see
            `zoo.core.counterfactual_search`, or an empty tuple: then the terms say it, see `zoo.core.counterfactual`.
    """

    scores: Tensor
    target: Tensor
    contributions: Tensor | None
    bias: Tensor | None
    activation: Tensor
    support: Tensor | None
    units: tuple[Unit, ...]
    domain: Domain
    inputs: Tensor | None = None
    space: str = "logit"
    edges: tuple[Tensor, Tensor, Tensor] | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    effects: Tensor | None = None
    slopes: Tensor | None = None
    reference: str = "zero"
    alternatives: Mapping[str, Tensor] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    warnings: tuple[tuple[str, ...], ...] = ()
    counterfactuals: tuple[Mapping[str, Any] | None, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int | slice) -> "Explanation":
        if isinstance(row, int):
            if not -len(self) <= row < len(self):
                raise IndexError(f"row {row} is out of range; the explanation has {len(self)} rows.")
            row = slice(row % len(self), row % len(self) + 1)
        rows = {name: None if (v := getattr(self, name)) is None else v[row] for name in BATCHED}
        edges = None if self.edges is None else (self.edges[0], self.edges[1], self.edges[2][row])
        named = {f: {name: value[row] for name, value in getattr(self, f).items()} for f in ("details", "alternatives")}
        listed = {name: getattr(self, name)[row] for name in LISTED}
        return replace(self, **rows, **listed, **named, edges=edges)

    def __iter__(self) -> Iterator["Explanation"]:
        return (self[i] for i in range(len(self)))

    @property
    def score(self) -> Tensor:
        """(B,) the score of the target."""
        return self.scores.gather(1, self.target[:, None])[:, 0]

    @cached_property
    def runner_up(self) -> Tensor | None:
        """(B,) the class of highest score besides the target, or None if there is none."""
        known = self.domain.task == "classification" and self.scores.shape[1] > 1
        return runner_up(self.scores, self.target) if known else None

    @property
    def relative_score(self) -> Tensor:
        """(B,) float64: the target's score minus that of the reference, what bias and contributions add up to."""
        return relative(self.scores.double(), self.target, self.reference, self.runner_up)

    @property
    def references(self) -> tuple[str, ...]:
        """The references that `relative_to` knows, the present one first."""
        return (self.reference, *(name for name in REFERENCES if name in self.alternatives))

    @property
    def explained(self) -> list[str]:
        """What bias and contributions of each row add up to, in words."""
        rivals = ["" for _ in self.target] if self.runner_up is None else self._names(self.runner_up)
        return [in_words(self.reference, self.space, pair) for pair in zip(self.target_names, rivals, strict=True)]

    def relative_to(self, reference: str) -> "Explanation":
        """The same explanation with contributions relative to another reference; exact.

        Args:
            reference: "zero", "mean" (of the scores of all classes) or "runner-up".

        Raises:
            ValueError: the contributions relative to this reference are unknown.
        """
        return relative_to(self, reference)

    @property
    def probability(self) -> Tensor | None:
        """(B,) the target's probability, or None if scores are neither logits nor probabilities of classes or tags."""
        found = self.probabilities
        return None if found is None else found.gather(1, self.target[:, None])[:, 0]

    @property
    def probabilities(self) -> Tensor | None:
        """(B, C) the probability of each class, or of each tag, or None as for `probability`."""
        return self.domain.probabilities(self.scores, self.space)

    @property
    def target_names(self) -> list[str]:
        """The name of each row's target."""
        return self._names(self.target)

    def _names(self, classes: Tensor) -> list[str]:
        return [self.domain.classes[c] for c in classes.tolist()]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {unit.name: k for k, unit in enumerate(self.units)}

    def unit_index(self, unit: str | int) -> int:
        """The column of a unit given by name or number.

        Raises:
            ValueError: there is no such unit; the message names the closest one.
        """
        return find_unit(unit, self._index)

    @property
    def importance(self) -> Tensor:
        """(B, K) the value that units are ranked by: |contribution|.

        For models that are not additive, the difference of the score between the unit's presence and absence if known,
        else the activation.
        """
        if self.contributions is not None:
            return self.contributions.abs()
        if {"absent", "present"} <= self.details.keys():
            return (self.details["present"] - self.details["absent"]).abs()
        return self.activation

    def top(self, n: int = 10) -> list[list[Term]]:
        """The n units of largest `importance` of each row, largest first."""
        return strongest(self, n)

    def without(self, units: Iterable[str | int]) -> Tensor:
        """(B,) the relative score without these units; exact, because it is a sum.

        Raises:
            ValueError: an unknown unit, or a model that is not additive.
        """
        columns = sorted({self.unit_index(unit) for unit in units})
        return self.relative_score.to(self.scores.dtype) - terms_for("without()", self)[0][:, columns].sum(1)

    def versus(self, other: "Explanation") -> "Explanation":
        """The exact decomposition of the difference of two scores: why this target rather than the other's.

        Args:
            other: the explanation of the same inputs for another target, `model.explain(x, target=...)`.

        Raises:
            ValueError: `other` is of other inputs or another model, or a model that is not additive.
        """
        return difference(self, other)

    def attribution(self) -> Tensor:
        """(B, *S) a map of the contributions: each one is spread over the input in proportion to its unit's support.

        The map sums to the contributions of all units with a non-zero support.

        Raises:
            ValueError: the units have no supports, or the model is not additive.
        """
        if self.support is None:
            raise ValueError("attribution() needs units with a location in the input; here support is None.")
        flat = self.support.flatten(2)
        share = flat / flat.sum(2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        spread = torch.einsum("bk,bks->bs", terms_for("attribution()", self)[0], share)
        return spread.unflatten(1, self.support.shape[2:])

    def in_regions(self, count: int = 8) -> "Explanation":
        """The same explanation with units that lie together joined into `count` regions; exact, see `zoo.core.regions`.

        Raises:
            ValueError: units without a place among neighbours, count below 3, or a model that is not additive.
        """
        return in_regions(self, count)

    def gap(self) -> Tensor:
        """(B,) |relative score - bias - sum of contributions|, summed in float64."""
        contributions, bias = terms_for("gap()", self)
        return (self.relative_score - bias.double() - contributions.double().sum(1)).abs()

    def check(self) -> "Explanation":
        """Verifies completeness: gap <= 1e-6 + 1e-5 (|bias| + sum of |contributions|) in every row; returns self.

        The difference of two scores is as exact as the scores, so its bound is that of the reference "zero" if larger.

        Raises:
            ArithmeticError: a row exceeds the tolerance; the message names the worst one.
            ValueError: the model is not additive.
        """
        return check_sum(self)

    def to_dict(self, top: int | None = None) -> list[dict[str, Any]]:
        """One JSON-ready dict per row: prediction, input, bias and evidence (all terms, or the `top` largest).

        Each term says where in the input it is: see `zoo.core.places.places_of`.
        """
        return explanation_dicts(self, top)

    def save(self, path: str | Path) -> None:
        """Writes all fields to one safetensors file; `load` reads it back without the model."""
        write_explanation(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: str | Path) -> "Explanation":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file does not contain an explanation.
        """
        return Explanation(**read_explanation(path))

    def sentence(self, locale: str = "en", top: int = 3) -> str:
        """Each row in words, one line each: the strongest reasons for and against, and what would change the answer.

        Args:
            locale: a language such as "en" or "de", or the path of a file like those in `zoo/views/locales`.
            top: number of reasons on each side.

        Raises:
            ValueError: there is no such language, or the file lacks a text.
        """
        return get_renderer().sentence(self, locale, top)

    def figure(self, top: int = 8, curves: Sequence[Curve] = ()) -> "Figure":
        """A matplotlib figure of at most ten rows, for print; `.savefig("why.pdf")` saves it.

        Args:
            top: number of units to show for each row.
            curves: of a model whose units are functions of columns, `model.curves()`, to be drawn below the bars.

        Raises:
            ImportError: matplotlib is not installed (the extra `plot`).
            ValueError: more than ten rows.
        """
        return get_renderer().figure(self, top, curves)

    def __str__(self) -> str:
        return get_renderer().text(self)

    def _repr_html_(self) -> str:
        return get_renderer().html(self)
