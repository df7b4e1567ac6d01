"""Pages of every model of the zoo that has curves."""

from dataclasses import replace

import pytest

from tests.small_models import SMALL
from tests.views.pages import Read
from zoo.core import registry
from zoo.core.curves import HasCurves
from zoo.domain import TableDomain
from zoo.views.additive.chart import value_at
from zoo.views.additive.model_page import curves_page
from zoo.views.additive.shown import known
from zoo.views.additive.waterfall import shown_of
from zoo.views.cards import prepare
from zoo.views.html import page

ADDITIVE = [name for name in SMALL if registry.find(name).family == "additive"]


@pytest.mark.parametrize("name", ADDITIVE)
def test_pages_of_models(name: str) -> None:
    small = SMALL[name]()
    model = small.model.eval()
    if not isinstance(model, HasCurves):
        pytest.skip("no curves")
    assert isinstance(model.domain, TableDomain)
    told, curves = model.explain(small.inputs[:1], every_class=True), model.curves()
    assert [curve.unit for curve in curves] == [unit.name for unit in told.units]
    for html in (page(told, ["row"], curves=curves), curves_page(name, curves, model.domain)):
        assert "<svg" in html and "nan" not in html.lower().replace("finance", "")
        Read(html)
    row = replace(prepare(told, 0, 3), curves=known(curves, model.domain))
    for term in row.terms:
        shown = shown_of(row, curves[term.index], term.contribution)
        if len(shown.columns) == 1 and curves[term.index].axes[0].kind != "points":
            assert value_at(shown) == pytest.approx(term.contribution, abs=1e-4)
