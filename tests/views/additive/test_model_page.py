"""The page of all curves: ranked, searchable, and edits that do in the browser what they do to the curves."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.additive.lookup import PEOPLE, PRICES, SHIRTS, Lookup
from tests.views.browser import run_in_browser
from tests.views.pages import Read
from zoo.additive.layers.edits import edited, shown_values
from zoo.core.curves import Curve
from zoo.domain import TableDomain
from zoo.utils.printable import printable
from zoo.utils.yaml_files import ConfigLoader, parse_yaml
from zoo.views.additive.model_page import curves_page
from zoo.views.additive.scale import scale_of

HELP = """
function item(name) {
  return Array.prototype.find.call(document.querySelectorAll('.curves > li'), function (one) {
    return one.querySelector('h4').textContent === name;
  });
}
function press(name, action, fields) {
  Object.keys(fields || {}).forEach(function (key) { item(name).querySelector('.edit .' + key).value = fields[key]; });
  item(name).querySelector('[data-do="' + action + '"]').click();
}
function pick(name, level) {
  var select = item(name).querySelector('.level-name');
  Array.prototype.forEach.call(select.options, function (one) { one.selected = one.textContent === level; });
}
"""
EDIT = """
press('age', 'set', { from: '17', to: '25', value: '0.1' });
press('age', 'flatten', { from: '60', to: '' });
press('gain', 'decreasing');
pick('gain', 'missing');
press('gain', 'level', { 'level-value': '-0.25' });
pick('job', 'craft & repair');
press('job', 'level', { 'level-value': '2' });
pick('school', 'high');
press('school', 'level', { 'level-value': '1e-3' });
press('job × age', 'remove');
press('hours', 'increasing');
press('hours', 'remove');
"""


@pytest.mark.parametrize("domain", [PEOPLE, PRICES, SHIRTS], ids=["two", "value", "three"])
def test_the_editor_does_what_edits_do(domain: TableDomain, tmp_path: Path) -> None:
    curves, column = Lookup(domain).eval().curves(), 1 if len(domain.classes) > 1 else 0
    choose = (
        "document.querySelector('#class').value='1';document.querySelector('#class').dispatchEvent(new Event('input'));"
    )
    script = (
        f"{HELP}{choose if domain is SHIRTS else ''}{EDIT}"
        "document.querySelector('#undo').click();"
        "window.found = { yaml: curveEditor.yaml(), text: document.querySelector('#edits').textContent,"
        " count: document.querySelector('#count').textContent, removed: document.querySelectorAll('.removed').length,"
        f" values: [0, 1, 2, 3, 4].map(function (k) {{ return curveEditor.current(k, {column}); }}) }};"
    )
    answer = json.loads(run_in_browser(curves_page("people", curves, domain), script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    told = answer["found"]
    assert told["count"] == "8 edits" and told["text"] == told["yaml"] and told["removed"] == 1
    edits = parse_yaml(told["yaml"], ConfigLoader)
    assert edits[-1].get("monotone") == "increasing" and ("class" in edits[0]) == (domain is SHIRTS)
    after = edited(curves, edits, domain.classes)
    for k, values in enumerate(told["values"]):
        expected = shown_values(after[k].values, column)
        torch.testing.assert_close(torch.tensor(values), expected, atol=1e-5, rtol=1e-4)
        assert not expected.equal(shown_values(curves[k].values, column))


def test_dragging_chooses_the_bins_under_the_pointer(tmp_path: Path) -> None:
    curves = Lookup(PEOPLE, pairs=()).eval().curves()
    axis = curves[0].axes[0]
    script = f"""{HELP}
    var one = item('age'), svg = one.querySelector('svg'), frame = svg.getBoundingClientRect();
    svg.setPointerCapture = function () {{}};
    function point(kind, x) {{
      var at = frame.left + x / 340 * frame.width;
      svg.dispatchEvent(new PointerEvent(kind, {{ clientX: at, clientY: frame.top + 40, pointerId: 1 }}));
    }}
    point('pointerdown', 120); point('pointermove', 180); point('pointerup', 180);
    window.found = ['from', 'to', 'value'].map(function (name) {{ return one.querySelector('.edit .' + name).value; }});
    window.found.push(one.querySelector('.edit').open);
    """
    answer = json.loads(run_in_browser(curves_page("people", curves, PEOPLE), script, tmp_path))
    low, high, value, opened = answer["found"]
    assert answer["wrong"] == [] and opened and float(low) < float(high)
    edits = [{"unit": "age", "set": {"from": float(low), "to": float(high), "value": 9}}]
    chosen = (edited(curves, edits, PEOPLE.classes)[0].values[:, 1] == 4.5).nonzero().flatten()
    first, last = int(chosen[0]), int(chosen[-1])
    assert axis.places[first - 1] <= float(low) and float(high) < axis.places[last]
    density, values = curves[0].density[chosen], shown_values(curves[0].values, 1)[chosen]
    assert float(value) == pytest.approx(float((density * values).sum() / density.sum()), rel=6e-3)


def test_units_are_ranked_searched_and_text(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=window.bad=1>'\" \u2028😀"
    columns = (replace(PEOPLE.columns[0], name=evil, source=evil), *PEOPLE.columns[1:])
    curves = Lookup(replace(PEOPLE, columns=columns, features=(), mean=(), std=())).eval().curves()
    domain = replace(PEOPLE, columns=columns, features=(), mean=(), std=())
    html = curves_page(evil, curves, domain, {"accuracy": 0.5})
    order = sorted(curves, key=lambda curve: -float(curve.importance[1]))
    read = Read(html)
    assert "img" not in read.tags
    script = f"""{HELP}
    function names() {{
      return Array.prototype.map.call(document.querySelectorAll('.curves > li:not([hidden]) h4'), function (one) {{
        return one.textContent;
      }});
    }}
    function search(word) {{
      var field = document.querySelector('#find');
      field.value = word;
      field.dispatchEvent(new Event('input'));
      return [names(), document.querySelector('#none').hidden];
    }}
    document.querySelector('[data-curve="0"] [data-do="remove"]').click();
    window.found = [search(''), search('repair'), search('doctor'), search('nothing'), window.bad || null,
                   curveEditor.yaml()];
    """
    answer = json.loads(run_in_browser(html, script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    everything, repair, doctor, nothing, bad, text = answer["found"]
    assert everything == [[printable(curve.unit) for curve in order], True] and nothing == [[], False] and bad is None
    assert sorted(repair[0]) == sorted(["job", f"job × {printable(evil)}"]) and sorted(doctor[0]) == [
        "school",
        "school × gain",
    ]
    assert parse_yaml(text, ConfigLoader) == [{"unit": evil, "remove": True}]


def test_curves_without_data_are_drawn() -> None:
    """A column with one value, a skewed one, one through points, and one whose entries have no rows."""
    axis = Lookup(PEOPLE, pairs=()).eval().curves()[0].axes[0]
    skewed = replace(axis, places=tuple(float(2**i) for i in range(40)))
    drawn = [
        Curve("one", (replace(axis, places=()),), torch.zeros(1, 2), torch.zeros(1)),
        Curve("skewed", (skewed,), torch.randn(41, 2), torch.rand(41) / 20),
        Curve("points", (replace(axis, kind="points", places=(1.0, 2.0, 5.0)),), torch.randn(3, 2), torch.rand(3)),
        Curve("a point", (replace(axis, kind="points", places=(1.0,)),), torch.randn(1, 2), torch.ones(1)),
    ]
    html = curves_page("odd", drawn, PEOPLE)
    assert html.count("<svg class='chart'") == 4 and not re.search(r"\b(nan|inf)\b", html)


def test_wide_and_narrow(tmp_path: Path) -> None:
    """At 375 pixels nothing is wider than the screen."""
    html = curves_page("people", Lookup(SHIRTS).eval().curves(), SHIRTS).replace(
        "<body", "<body style='width:375px'", 1
    )
    script = "window.found = [document.body.scrollWidth, document.querySelectorAll('.curves > li').length];"
    answer = json.loads(run_in_browser(html, script, tmp_path))
    assert answer["found"][0] <= 375 and answer["found"][1] == 8


def test_without_editor(tmp_path: Path) -> None:
    html = curves_page("people", Lookup(PEOPLE, pairs=()).eval().curves(), PEOPLE, editable=False)
    script = """
    var field = document.querySelector('#find');
    field.value = 'hours';
    field.dispatchEvent(new Event('input'));
    window.found = document.querySelectorAll('.curves > li:not([hidden])').length;
    """
    answer = json.loads(run_in_browser(html, script, tmp_path))
    assert answer["wrong"] == [] and answer["found"] == 1 and "<button" not in html


def test_scales() -> None:
    axis = Lookup(PEOPLE, pairs=()).eval().curves()[0].axes[0]
    even = scale_of(replace(axis, places=(10.0, 20.0, 30.0)))
    assert [round(share, 6) for span in even.spans() for share in span] == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]
    assert even.at(15) == pytest.approx(0.375) and even.at(-99) == 0 and even.at(99) == 1
    skewed = scale_of(replace(axis, places=tuple(float(2**i) for i in range(40)), labels=("missing",)))
    widths = [right - left for left, right in skewed.spans()]
    assert max(widths[:41]) == pytest.approx(min(widths[:41])) and skewed.spans()[-1][1] == pytest.approx(1)
    points = scale_of(replace(axis, kind="points", places=(0.0, 1.0, 2.0)))
    assert [round(right - left, 6) for left, right in points.spans()] == [0.333333] * 3
    assert [text for _, text in points.ticks()] == ["0", "1", "2"]
