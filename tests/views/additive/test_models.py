"""Pages of every model of the zoo that has curves."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.small_models import SMALL
from tests.views.additive.test_row_page import SET
from tests.views.browser import run_in_browser
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
    assert isinstance(model, HasCurves) and isinstance(model.domain, TableDomain)
    told, curves = model.explain(small.inputs[:1], every_class=True), model.curves()
    assert [curve.unit for curve in curves] == [unit.name for unit in told.units]
    for html in (page(told, ["row"], curves=curves), curves_page(name, curves, model.domain)):
        assert "<svg" in html and not re.search(r"\bnan\b", html.lower())
        Read(html)
    row = replace(prepare(told, 0, 3), curves=known(curves, model.domain))
    for term in row.terms:
        shown = shown_of(row, curves[term.index], term.contribution)
        if len(shown.columns) == 1 and curves[term.index].axes[0].kind != "points":
            assert value_at(shown) == pytest.approx(term.contribution, abs=1e-4)


def test_changed_values_of_a_model_of_steps(tmp_path: Path) -> None:
    small = SMALL["ga2m"]()
    model, domain = small.model.eval(), small.model.domain
    assert isinstance(model, HasCurves) and isinstance(domain, TableDomain)
    told = model.explain(small.inputs[:1], every_class=True)
    changes = [{"width": "0.4", "hue": "-1.3"}, {"height": "1.1"}, {"width": "-3", "height": "0", "hue": "9"}]
    script = f"{SET} var changes = {json.dumps(changes)}, article = document.querySelector('.view');"
    script += """
    window.found = changes.map(function (one) {
      article.querySelector('.what-if button').click();
      Object.keys(one).forEach(function (name) { change(article, name, one[name]); });
      return article.whatIf.scores();
    });
    """
    answer = json.loads(run_in_browser(page(told, ["row"], top=2, curves=model.curves()), script, tmp_path))
    row = domain.row(small.inputs[0])
    rows = torch.stack([domain.preprocess(row | one) for one in changes])
    assert answer["wrong"] == []
    torch.testing.assert_close(torch.tensor(answer["found"]), model(rows), atol=1e-4, rtol=1e-4)
