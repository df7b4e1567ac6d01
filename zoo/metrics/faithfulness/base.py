"""What all metrics of truth share: a value for each sample, counted gaps, and intervals by the bootstrap."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.faithfulness.streams import whole
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.utils.functional import ranks

NEEDS = {
    "additive": ("scores that are sums of its units", lambda s: s.additive),
    "classes": ("two classes or more", lambda s: s.domain.task == "classification" and len(s.domain.classes) > 1),
    "images": ("images as inputs", lambda s: s.domain.modality == "image"),
    "concepts": ("units that are annotated concepts", lambda s: hasattr(s.model, "annotated")),
    "numbers": ("inputs that are numbers, not tokens", lambda s: s.domain.modality not in ("text", "code")),
}


class Value(NamedTuple):
    """A number with its 95 % interval over samples, beside chance and what is ideal, where these are known."""

    value: float
    low: float
    high: float
    chance: float | None
    ideal: float | None


class FaithfulnessMetric(Metric):
    """The base: `measure` gives one row of numbers for each sample of a `Case`, NaN where one is not defined.

    Samples are kept with their ids, so results are equal however they are batched or spread over processes.

    Attributes:
        key: its short name, M1 to M14 where it is one of these.
        title: for people.
        names: of the columns.
        directions: 1 where more is better, -1 where less is, 0 where neither, for each column.
        chances: what an explanation that knows nothing reaches, for each column; None where that depends.
        ideals: what the truth reaches, for each column, in the same way; by default not known.
        needs: what a subject must have, see NEEDS, or "support", "truth" and "labels" of concepts.
    """

    is_differentiable, higher_is_better, full_state_update = False, None, False
    key: ClassVar[str]
    title: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    directions: ClassVar[tuple[int, ...]]
    chances: ClassVar[tuple[float | None, ...]]
    ideals: ClassVar[tuple[float | None, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    values: list[Tensor]
    ids: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("values", [], dist_reduce_fx="cat")
        self.add_state("ids", [], dist_reduce_fx="cat")

    def lacking(self) -> str | None:
        """What the metric itself was not given, such as a world; None if nothing."""
        return None

    def measure(self, case: Case) -> Tensor:
        """(B, columns) float64."""
        raise NotImplementedError("a metric of truth defines measure()")

    def summarise(self, rows: Tensor) -> Tensor:
        """(..., columns) one number a column of samples (..., N, columns): by default the mean of what is defined."""
        return rows.nanmean(-2)

    @classmethod
    def missing(cls, subject: Subject, support: bool, truth: bool, labels: bool = True) -> str | None:
        """What this metric needs and a subject, or its data, lacks; None if nothing.

        Args:
            subject: what is to be measured.
            support: whether its units have a place in the input.
            truth: whether the data knows which elements matter.
            labels: whether it knows the true concepts.
        """
        for need in cls.needs:
            if need == "support":
                text, there = "units with a place in the input (supports)", support
            elif need == "labels":
                text, there = "data that knows its concepts", labels
            elif need == "truth":
                text, there = "data that knows its evidence (regions)", truth
            else:
                text, there = NEEDS[need][0], NEEDS[need][1](subject)
            if not there:
                return f"needs {text}"
        return None

    def update(self, case: Case) -> None:
        """Adds a batch.

        Raises:
            ValueError: the subject or the data lacks what the metric needs.
        """
        if lack := self.missing(case.subject, *case.known):
            raise ValueError(f"{self.title} does not apply to {case.subject.name}: it {lack}.")
        self.values.append(self.measure(case).double())
        self.ids.append(case.ids)

    def samples(self) -> Tensor:
        """(N, columns) the values of all samples, by id."""
        if isinstance(self.values, list) and not self.values:
            return torch.zeros(0, len(self.names), dtype=torch.float64)
        values = torch.cat(self.values) if isinstance(self.values, list) else self.values
        ids = torch.cat(self.ids) if isinstance(self.ids, list) else self.ids
        return values[ids.argsort(stable=True)]

    def undefined(self) -> dict[str, int]:
        """How many samples have no value, for each column."""
        return dict(zip(self.names, self.samples().isnan().sum(0).tolist(), strict=True))

    def compute(self) -> dict[str, Tensor]:
        """The summary of each column, by name."""
        return dict(zip(self.names, self.summarise(self.samples()), strict=True))

    def intervals(self, draws: int = 1000, seed: int = 0) -> dict[str, Value]:
        """The summary of each column with its 95 % interval: percentiles over samples drawn with replacement."""
        with self.sync_context():
            rows = self.samples()
        values = self.summarise(rows)
        if len(rows) == 0:
            low = high = values
        else:
            drawn = whole(torch.arange(draws), len(rows), len(rows), seed, "bootstrap").to(rows.device)
            each = torch.cat([self.summarise(rows[part]) for part in drawn.split(max(2**22 // rows.numel(), 1))])
            low, high = each.nanquantile(torch.tensor([0.025, 0.975], dtype=each.dtype, device=each.device), dim=0)
        known = (self.chances, self.ideals or (None,) * len(self.names))
        table = zip(self.names, values.tolist(), low.tolist(), high.tolist(), *known, strict=True)
        return {name: Value(*row) for name, *row in table}


def spearman(a: Tensor, b: Tensor, there: Tensor | None = None) -> Tensor:
    """(...) rank correlation over the last axis, equal values share a rank; 0 where either is constant.

    Where `there` (..., n) is given, of the entries that are there.
    """
    there = torch.ones_like(a, dtype=torch.bool) if there is None else there
    count = there.sum(-1, keepdim=True).clamp_min(1)
    both = (
        ranks(v.double().masked_fill(~there, torch.inf)).masked_fill(~there, 0) for v in (a, b)
    )  # others rank above
    x, y = ((r - r.sum(-1, keepdim=True) / count) * there for r in both)
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (x * y).sum(-1) / scale.clamp_min(1e-300), 0)


def covering(weight: Tensor, share: float = 0.9) -> Tensor:
    """(..., n) bool: the fewest entries that hold this share of the sum of all weights >= 0; ties to the lowest index.

    Entries of weight 0 are never among them.
    """
    ordered, order = weight.double().sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    total = ordered.sum(-1, keepdim=True)
    kept = (before < share * total * (1 - 1e-12)) & (ordered > 0)
    return torch.zeros_like(kept).scatter_(-1, order, kept)
