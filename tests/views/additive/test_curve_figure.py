"""Curves below the bars of a figure for print."""

from pathlib import Path

import pytest
import torch

from tests.additive.lookup import PEOPLE, Lookup

pytest.importorskip("matplotlib")


def test_the_curves_of_the_strongest_units_are_drawn(tmp_path: Path) -> None:
    model = Lookup(PEOPLE).eval()
    told, curves = model.explain(model.rows[[3, 7]]), model.curves()
    drawn = told.figure(top=6, curves=curves)
    drawn.savefig(tmp_path / "why.png", dpi=110)
    titles = [axes.get_title() for axes in drawn.axes if axes.get_title()]
    assert len(titles) == 8
    assert titles[:4] == [term.unit.name for term in told.top(4)[0]]
    age = next(axes for axes in drawn.axes if axes.get_title() == "age")
    values = age.patches[0].get_data().values
    assert torch.equal(torch.as_tensor(values, dtype=torch.float32), curves[0].values[:, int(told.target[0])])
    assert len(told.figure(top=6).axes) == 2
