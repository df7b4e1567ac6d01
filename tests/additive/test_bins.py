"""Columns as numbers of bins, against a loop over cells."""

import torch

from tests.domain.test_columns import CREDIT, ROW
from zoo.additive.layers.bins import Bins, edges_of
from zoo.domain import Column, TableDomain


def test_bins_of_numbers_missing_codes_and_levels() -> None:
    rows = [ROW | {"risk": str(risk)} for risk in (40, 50, 60, 60, 80)]
    rows += [ROW | {"risk": "-7"}, ROW | {"risk": ""}, ROW | {"job": "?"}, ROW | {"school": "low"}]
    x = torch.stack([CREDIT.preprocess(row) for row in rows])
    bins = Bins(CREDIT, 8)
    bins.fit(x)
    assert bins.counts.tolist() == [5, 1, 2, 1] and bins.sizes.tolist() == [7, 5, 2, 1]
    assert bins(x)[:, 0].tolist() == [0, 1, 2, 2, 3, 5, 6, 4, 4]
    assert bins(x)[:, 1].tolist() == [2] * 7 + [4, 2] and bins(x)[:, 2].tolist() == [1] * 8 + [0]
    risk, job, school, _ = bins.axes()
    assert [round(p, 4) for p in risk.places] == [45, 55, 70, 82.5] and risk.labels == ("-7", "missing")
    assert len(risk) == 7 and job.labels == ("(unknown)", "none", "clerk", "(other)", "?") and len(school) == 2
    unknown = x[:1].clone()
    unknown[:, 3:7] = 0
    assert bins(unknown)[0, 1] == 0


def test_few_values_get_a_bin_each_and_many_get_quantiles() -> None:
    assert edges_of(torch.tensor([3.0, 1.0, 1.0, 2.0]), 3).tolist() == [1.5, 2.5]
    edges = edges_of(torch.arange(1000.0), 4)
    assert len(edges) == 3 and torch.allclose(edges, torch.tensor([250.0, 500.0, 750.0]), atol=2)
    spiky = torch.cat([torch.zeros(900), torch.arange(1.0, 101.0)])  # zero has most of the mass
    edges = edges_of(spiky, 8)
    assert edges[0] == 0.5 and len(edges) == 6 and torch.bucketize(spiky, edges).unique(return_counts=True)[1].min() > 9
    two = torch.cat([torch.zeros(400), torch.full((400,), 50.5), torch.arange(1.0, 101.0)])
    bins = torch.bucketize(two, edges_of(two, 8), right=True)
    assert not set(bins[two == 50.5].tolist()) & set(bins[two != 50.5].tolist()) and int(bins.max()) < 8
    close = torch.tensor([1.0, 1.0 + 2**-23])
    assert torch.bucketize(close, edges_of(close, 2), right=True).tolist() == [0, 1]


def test_inputs_that_are_no_rows_have_bins_too() -> None:
    levels = tuple(f"level {i}" for i in range(90))
    domain = TableDomain(classes=("a", "b"), columns=(Column(name="job", kind="category", levels=levels),))
    bins = Bins(domain, 8)
    found = bins(domain.example(64, torch.Generator().manual_seed(0)) * 9)
    assert int(found.min()) >= 0 and bool((found < bins.sizes).all())
