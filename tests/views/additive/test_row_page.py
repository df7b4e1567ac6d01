"""The page of one row of an additive model: its curves, and changed values as the model scores them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.additive.lookup import PEOPLE, PRICES, SHIRTS, Lookup
from tests.views.browser import run_in_browser
from tests.views.pages import Read
from zoo.core.curves import Curve
from zoo.domain import TableDomain
from zoo.views.html import page

CHANGES = [
    {"age": "63"},
    {"job": "sales", "hours": "12.5"},
    {"gain": "-9", "school": "doctorate"},
    {"gain": "250", "age": "20", "job": "?", "school": "primary", "hours": "99"},
]
SET = """
function change(article, name, text) {
  var field = Array.prototype.find.call(article.querySelectorAll('.column'), function (one) {
    return one.querySelector('bdi').textContent === name;
  });
  var select = field.querySelector('select'), number = field.querySelector('[type=number]');
  var option = select && Array.prototype.find.call(select.options, function (one) { return one.textContent === text; });
  var input = option ? select : number;
  input.value = option ? option.value : text;
  input.dispatchEvent(new Event('input', { bubbles: true }));
}
"""


@pytest.mark.parametrize("domain", [PEOPLE, PRICES, SHIRTS], ids=["two", "value", "three"])
def test_changed_values_give_the_scores_of_the_model(domain: TableDomain, tmp_path: Path) -> None:
    model = Lookup(domain).eval()
    x = model.rows[[7]]
    told = model.explain(x, every_class=True)
    script = (
        f"{SET} var changes = {json.dumps(CHANGES)}, article = document.querySelector('.view');"
        """
        var amounts = function () {
          return Array.prototype.map.call(article.querySelectorAll('.amount'), function (one) {
            return Number(one.textContent.replace('\\u2212', '-'));
          });
        };
        window.found = { start: article.whatIf.scores(), printed: amounts(), tries: [], steps: [] };
        changes.forEach(function (one) {
          Object.keys(one).forEach(function (name) { change(article, name, one[name]); });
          window.found.tries.push(article.whatIf.scores());
          window.found.steps.push(amounts());
          window.found.titles = Array.prototype.map.call(article.querySelectorAll('.fall h4'), function (one) {
            return one.textContent;
          });
          article.querySelector('.what-if button').click();
        });
        window.found.end = article.whatIf.scores();
        window.found.last = amounts();
        window.found.changed = document.querySelectorAll('.changed').length;
        """
    )
    answer = json.loads(run_in_browser(page(told, ["row"], top=6, curves=model.curves()), script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    found, row = answer["found"], domain.row(x[0])
    expected = [model(domain.preprocess(row | change)[None])[0] for change in CHANGES]
    for got, want in zip([found["start"], found["end"], *found["tries"]], [told.scores[0]] * 2 + expected, strict=True):
        torch.testing.assert_close(torch.tensor(got), want, atol=1e-5, rtol=1e-5)
    assert found["printed"] == found["last"] and found["changed"] == 0
    target = int(told.target)
    for steps, scores in zip(found["steps"], expected, strict=True):  # the waterfall adds up as printed
        assert steps[-1] == pytest.approx(sum(steps[:-1]), abs=1e-9)
        assert steps[-1] == pytest.approx(scores[target].item(), abs=6e-4)
    changed = domain.cells(domain.preprocess(row | CHANGES[-1]))  # titles show the last change
    single = [title for title in found["titles"] if " = " in title and ", " not in title]
    assert set(single) <= {f"{name} = {value}" for name, value in changed.items()}
    assert f"age = {changed['age']}" in found["titles"]


def test_between_points_curves_are_interpolated(tmp_path: Path) -> None:
    model = Lookup(PEOPLE, pairs=()).eval()
    told = model.explain(model.rows[[7]], every_class=True)
    first, *others = model.curves()
    axis = replace(first.axes[0], kind="points", places=(20.0, 30.0, 50.0))
    age = Curve("age", (axis,), torch.tensor([[1.0, -1], [2, -2], [6, -6]]), torch.ones(3) / 3)
    script = f"{SET} var a = document.querySelector('.view'); window.found = [];"
    script += "['25', '30', '40', '10', '90'].forEach(function (text) {"
    script += "change(a, 'age', text); window.found.push(a.whatIf.scores()[0]); });"
    text = page(told, ["row"], top=8, curves=[age, *others])
    answer = json.loads(run_in_browser(text, script, tmp_path))
    assert answer["wrong"] == [] and "with curves interpolated between grid points" in text
    start = told.scores[0, 0].item()
    places = [p - answer["found"][1] for p in answer["found"]]
    assert places == pytest.approx([-0.5, 0, 2, -1, 4], abs=1e-5)
    assert answer["found"][1] - start == pytest.approx(2 - 6, abs=1e-5)  # from 68, which is drawn at 50


def test_what_is_drawn_is_what_the_curves_hold() -> None:
    model = Lookup(PEOPLE).eval()
    told = model.explain(model.rows[[3]], every_class=True)
    target, curves = int(told.target), model.curves()
    html = page(replace(told, alternatives={}), ["row"], top=8, curves=curves)
    read = Read(html)
    cells = PEOPLE.cells(model.rows[3])
    assert {f"age = {cells['age']}", f"age = {cells['age']}, job = {cells['job']}"} <= set(read.within("bdi"))
    job = curves[2]
    levels = dict(re.findall(r"data-name='([^']*)'.*?class='value'[^>]*>([^<]*)<", html))
    for i, name in enumerate(job.axes[0].labels):
        if name in levels:
            assert float(levels[name].replace("\u2212", "-")) == pytest.approx(job.values[i, target].item(), abs=6e-4)
    (age,) = [s for s in re.findall(r"<svg class='chart'.*?</svg>", html) if "curve of age'" in s]
    low, high = (float(re.findall(rf"data-{end}='([^']*)'", age)[0]) for end in ("low", "high"))
    heights = [float(v) for v in re.findall(r"[V ]([\d.]+)H", re.findall(r"class='curve' d='([^']*)'", age)[0])]
    drawn = torch.tensor([high - (y - 8) * (high - low) / 100 for y in heights])
    torch.testing.assert_close(drawn, curves[0].values[:, target], atol=2e-3, rtol=0)
    (dot,) = re.findall(r"<circle cx='[^']*' cy='([^']*)'", age)
    k = [unit.name for unit in told.units].index("age")
    assert told.contributions is not None
    assert high - (float(dot) - 8) * (high - low) / 100 == pytest.approx(told.contributions[0, k].item(), abs=2e-3)


def test_without_effects_there_are_curves_but_no_script_and_names_are_text() -> None:
    evil = "</script><img src=x onerror=alert(1)>'\" age"
    columns = (replace(PEOPLE.columns[0], name=evil, source=evil), *PEOPLE.columns[1:])
    model = Lookup(replace(PEOPLE, columns=columns, features=(), mean=(), std=())).eval()
    plain = page(replace(model.explain(model.rows[[3]]), alternatives={}), ["row"], curves=model.curves())
    assert "<script" not in plain and plain.count("<svg") == 8
    live = page(model.explain(model.rows[[3]], every_class=True), ["row"], curves=model.curves())
    assert "<img" not in live and live.count("<script") == live.count("</script>")
    assert "img" not in Read(live).tags
