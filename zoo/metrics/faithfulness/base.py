"""The base class of all faithfulness metrics: one row of values per sample, and bootstrap intervals over samples."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.metrics.faithfulness.streams import integers
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.utils.functional import ranks

REQUIREMENTS: dict[str, tuple[str, Callable[[Subject], bool]]] = {
    "additive": ("an additive model", lambda s: s.additive),
    "classes": ("at least two classes", lambda s: s.domain.task == "classification" and len(s.domain.classes) > 1),
    "units": ("the same units in every input, which regions are not", lambda s: s.same_units),
    "concepts": ("units that are annotated concepts", lambda s: hasattr(s.model, "annotated")),
    "graphs": ("a model of graphs", lambda s: s.domain.modality == "graph"),
    "whole graphs": ("questions about graphs", lambda s: getattr(s.domain, "radius", None) is None),
    "continuous": (
        "continuous inputs; tokens, nodes and edges are discrete",
        lambda s: s.domain.modality not in ("text", "code", "graph"),
    ),
}


class Column(NamedTuple):
    """One number of a metric.

    Attributes:
        name: unique within the metric.
        direction: 1 if higher is better, -1 if lower is better, 0 if neither.
        chance: the value of an uninformative explanation; None if that depends on the data.
        ideal: the value of a perfect explanation; None if unknown.
    """

    name: str
    direction: int = 0
    chance: float | None = None
    ideal: float | None = None


class Value(NamedTuple):
    """A number with its 95 % interval over samples, its chance level and its ideal value (None if unknown)."""

    value: float
    low: float
    high: float
    chance: float | None
    ideal: float | None


class FaithfulnessMetric(Metric):
    """Base class: a subclass defines `per_sample`, which returns one row of numbers for each sample of a `Case`.

    Rows are stored with the ids of their samples, so results do not depend on batch size, order or the number of
    processes. NaN marks a value that is not defined for a sample.

    Attributes:
        key: short name, "M1" to "M17".
        title: name for people.
        columns: one for each number.
        needs: requirements on the subject and the data: keys of `REQUIREMENTS`, or "support", "regions", "labels".
    """

    is_differentiable, higher_is_better, full_state_update = False, None, False
    key: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    columns: tuple[Column, ...]
    values: list[Tensor]
    ids: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("values", [], dist_reduce_fx="cat")
        self.add_state("ids", [], dist_reduce_fx="cat")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    def lacking(self) -> str | None:
        """What the metric was not given at construction, such as an evaluator; None if it is complete."""
        return None

    def per_sample(self, case: Case) -> Tensor:
        """(B, columns) float64."""
        raise NotImplementedError(f"{type(self).__name__} does not define per_sample().")

    def summarise(self, rows: Tensor) -> Tensor:
        """Reduces samples (..., N, columns) to (..., columns); by default the mean of the defined values."""
        return rows.nanmean(-2)

    @classmethod
    def missing(cls, subject: Subject, support: bool, regions: bool, labels: bool = True) -> str | None:
        """The first requirement that a subject or its data does not meet; None if the metric applies.

        Args:
            subject: the subject to evaluate.
            support: whether its units have a location in the input.
            regions: whether the data has ground-truth regions.
            labels: whether the data has concept labels.
        """
        of_data = {
            "support": ("units with a location in the input (supports)", support),
            "regions": ("data with ground-truth regions", regions),
            "labels": ("data with concept labels", labels),
        }
        for need in cls.needs:
            text, met = of_data[need] if need in of_data else (REQUIREMENTS[need][0], REQUIREMENTS[need][1](subject))
            if not met:
                return f"needs {text}"
        return None

    def update(self, case: Case) -> None:
        """Adds a batch.

        Raises:
            ValueError: the subject or the data does not meet a requirement of the metric.
        """
        if missing := self.missing(case.subject, *case.known):
            raise ValueError(f"{self.title} does not apply to {case.subject.name}: it {missing}.")
        self.values.append(self.per_sample(case).double())
        self.ids.append(case.ids)

    def samples(self) -> Tensor:
        """(N, columns) the values of all samples, sorted by id."""
        if isinstance(self.values, list) and not self.values:
            return torch.zeros(0, len(self.columns), dtype=torch.float64)
        return dim_zero_cat(self.values)[dim_zero_cat(self.ids).argsort(stable=True)]

    def undefined(self) -> dict[str, int]:
        """The number of samples without a value, by column."""
        return dict(zip(self.names, self.samples().isnan().sum(0).tolist(), strict=True))

    def compute(self) -> dict[str, Tensor]:
        """The summary of each column, by name."""
        return dict(zip(self.names, self.summarise(self.samples()), strict=True))

    def intervals(self, draws: int = 1000, seed: int = 0) -> dict[str, Value]:
        """The summary of each column with its 95 % interval, by the percentile bootstrap over samples."""
        with self.sync_context():
            rows = self.samples()
        values = self.summarise(rows)
        if len(rows) == 0:
            low = high = values
        else:
            drawn = integers(torch.arange(draws), len(rows), len(rows), seed, "bootstrap").to(rows.device)
            each = torch.cat([self.summarise(rows[part]) for part in drawn.split(max(2**22 // rows.numel(), 1))])
            low, high = each.nanquantile(torch.tensor([0.025, 0.975], dtype=each.dtype, device=each.device), dim=0)
        rows_of = zip(self.columns, values.tolist(), low.tolist(), high.tolist(), strict=True)
        return {c.name: Value(value, start, end, c.chance, c.ideal) for c, value, start, end in rows_of}


def spearman(a: Tensor, b: Tensor, present: Tensor | None = None) -> Tensor:
    """(...) Spearman's rank correlation over the last axis; 0 if either argument is constant.

    Args:
        a: (..., n); ties share their mean rank.
        b: (..., n).
        present: (..., n) bool, the entries to include; all by default.
    """
    present = torch.ones_like(a, dtype=torch.bool) if present is None else present
    count = present.sum(-1, keepdim=True).clamp_min(1)
    # Absent entries are set to infinity, so they do not change the ranks of the others.
    both = (ranks(v.double().masked_fill(~present, torch.inf)).masked_fill(~present, 0) for v in (a, b))
    x, y = ((r - r.sum(-1, keepdim=True) / count) * present for r in both)
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (x * y).sum(-1) / scale.clamp_min(1e-300), 0)
