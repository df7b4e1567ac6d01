"""An additive model that looks its values up in tables, and a domain of raw columns, for the tests of pages."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from zoo.additive.layers.bins import Bins
from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.curves import Axis, Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Column, TableDomain
from zoo.networks.feature_networks import column_support
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

PEOPLE = TableDomain(
    classes=("<=50K", ">50K"),
    columns=(
        Column(name="age", centre=38.0, scale=13.5),
        Column(name="gain", centre=1077.0, scale=7385.0, missing=("", "-9")),
        Column(
            name="job",
            kind="category",
            levels=("clerk", "craft & repair", "farming, fishing", "manager", "sales", "service", "tech", "(other)"),
            missing=("?",),
        ),
        Column(name="school", kind="ordered", levels=("primary", "middle", "high", "college", "doctorate"), centre=2.0),
        Column(name="hours", centre=40.0, scale=12.0),
    ),
)  # fmt: skip
PAIRS = ((0, 4), (2, 0), (3, 1))
PRICES = replace(PEOPLE, classes=("price",), task="regression")
SHIRTS = replace(PEOPLE, classes=("small", "medium", "large"))


class Lookup(UnitLogits):
    """score = bias + sum over columns of a table + sum over pairs of columns of a table."""

    default_recipe = Recipe((Stage("train", epochs=1, train=()),), lr=0.1, weight_decay=0.0, optimizer="adam")

    def __init__(self, domain: TableDomain, most: int = 24, pairs: tuple[tuple[int, int], ...] = PAIRS) -> None:
        super().__init__(domain, None)
        self.bins, self.pairs = Bins(domain, most), pairs
        self.rows = rows_of(domain, 3000)
        self.bins.fit(self.rows)
        self.terms_ = [(k,) for k in range(len(domain.layout))] + list(pairs)
        draw, outputs = torch.Generator().manual_seed(1), outputs_of(domain)
        self.bias = torch.randn(outputs, generator=draw)
        self.tables, self.errors = [], []
        for term in self.terms_:
            shape = [int(self.bins.sizes[k]) for k in term]
            wave = torch.stack(torch.meshgrid(*(torch.linspace(-2, 2, n) for n in shape), indexing="ij")).sum(0)
            noise = torch.randn(*shape, outputs, generator=draw)
            self.tables.append((wave.sin()[..., None] + 0.25 * noise) / len(term) ** 2 / (1 + 0.3 * sum(term)))
            self.errors.append(0.05 + 0.1 * torch.rand(*shape, outputs, generator=draw))
        self.space = "logit" if domain.task == "classification" else "value"
        self.place = column_support(domain.slices, self.terms_)

    def evidence(self, x: Tensor) -> Evidence:
        bins = self.bins(x)
        terms = torch.stack([t[tuple(bins[:, k] for k in s)] for t, s in zip(self.tables, self.terms_, strict=True)], 1)
        return additive_evidence(terms, self.bias, self.place.expand(x.shape[0], -1, -1), self.domain)

    def units(self) -> tuple[Unit, ...]:
        names = [column.name for column in self.bins.columns]
        return tuple(
            Unit(" × ".join(names[k] for k in s), "feature" if len(s) == 1 else "pair", source={"columns": list(s)})
            for s in self.terms_
        )

    def losses(self, scores: Tensor, evidence: Evidence, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def curves(self) -> tuple[Curve, ...]:
        """The tables."""
        axes, bins, found = self.bins.axes(), self.bins(self.rows), []
        for unit, term, table, error in zip(self.units(), self.terms_, self.tables, self.errors, strict=True):
            density = torch.zeros(table.shape[:-1])
            density.index_put_(tuple(bins[:, k] for k in term), torch.ones(len(bins)) / len(bins), accumulate=True)
            own: tuple[Axis, ...] = tuple(axes[k] for k in term)
            values = per_class(table, self.domain)
            found.append(Curve(unit.name, own, values, density, error.expand(values.shape) / 2))
        return tuple(found)


def rows_of(domain: TableDomain, count: int) -> Tensor:
    """Made-up rows."""
    draw = torch.Generator().manual_seed(0)
    number = partial(torch.rand, count, generator=draw)
    ages = (17 + 60 * number() ** 1.4).round().tolist()
    gains = torch.where(number() < 0.8, torch.zeros(count), (9 * number()).exp().round()).tolist()
    gains = ["" if u < 0.03 else "-9" if u < 0.05 else g for u, g in zip(number().tolist(), gains, strict=True)]
    jobs = [*domain.layout[2].levels, "?"]
    places = (number() ** 1.6 * len(jobs)).long().tolist()
    schools = [domain.layout[3].levels[i] for i in (number() * 5).long().tolist()]
    hours = (40 + 10 * torch.randn(count, generator=draw)).round().clamp(1, 99).tolist()
    columns = zip(ages, gains, (jobs[i] for i in places), schools, hours, strict=True)
    names = [column.name for column in domain.layout]
    return torch.stack([domain.preprocess(dict(zip(names, row, strict=True))) for row in columns])
