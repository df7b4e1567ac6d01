"""Interventions on a page, in a real browser: its scores are those of the model, for every additive model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.small_models import SMALL, VARIANTS
from tests.views.browser import run_in_browser
from tests.views.pages import Read
from zoo.core.explanation import Explanation
from zoo.views.cards import prepare
from zoo.views.html import page

TRY = """
window.found = Array.prototype.map.call(document.querySelectorAll('article'), function (all) {
  var article = all.querySelector('.view'), what = article.whatIf;
  if (!what) return null;
  var told = { whole: what.scores(), off: [], set: [] };
  what.counts.forEach(function (count, k) {
    count.click();
    told.off.push(what.scores());
    count.click();
    if (!what.sets[k]) { told.set.push(null); return; }
    what.sets[k].value = 0.25;
    what.sets[k].dispatchEvent(new Event('input', { bubbles: true }));
    told.set.push(what.scores());
    article.querySelector('.what-if button').click();
  });
  told.again = what.scores();
  told.shown = Array.prototype.map.call(article.querySelectorAll('.scores .chosen td'), function (cell) {
    return cell.textContent;
  });
  return told;
});
"""


@torch.no_grad()
def test_the_page_computes_what_the_model_computes(tmp_path: Path) -> None:
    articles, expected, names = [], [], []
    for name, make in {**SMALL, **VARIANTS}.items():
        torch.manual_seed(0)
        small = make()
        model = small.model.eval()
        if not model.additive or model.domain.task != "classification" or len(model.domain.classes) > 400:
            continue
        told = model.explain(small.inputs[:1], every_class=True)
        articles.append(page(replace(told, alternatives={}), [name]))  # one view; all views have the same scores
        columns = [term.index for term in prepare(told, 0, 8).terms]
        evidence = model.step(small.inputs[:1])[1]
        off = [model.readout(model.ablate(evidence, [k]))[0] for k in columns]
        set_ = [model.readout(model.edit(evidence, {k: 0.25}))[0] for k in columns]
        kinds = [told.units[k].kind for k in columns]
        expected.append((told.scores[0], off, set_, kinds, told.slopes is not None))
        names.append(name)
    assert len(names) > 15
    body = "".join(text.split("</h1>")[1].split("<script>\n(function")[0] for text in articles)
    script = articles[0].split("<script>\n(function")[1].split("</script>")[0]
    whole = (
        f"<!doctype html><html><head></head><body class='zoo'>{body}<script>\n(function{script}</script></body></html>"
    )
    answer = json.loads(run_in_browser(whole, TRY, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    assert len(answer["found"]) == len(names)
    sliders = 0
    for name, told, (scores, off, set_, kinds, linear) in zip(names, answer["found"], expected, strict=True):
        close = lambda got, want, n=name: torch.testing.assert_close(  # noqa: E731
            torch.tensor(got, dtype=torch.float32), want.cpu().float(), atol=1e-4, rtol=1e-4, msg=lambda m: f"{n}: {m}"
        )
        close(told["whole"], scores)
        close(told["again"], scores)
        for k, kind in enumerate(kinds):
            close(told["off"][k], off[k])
            assert (told["set"][k] is not None) == (kind == "concept" and linear), name
            if told["set"][k] is not None:
                close(told["set"][k], set_[k])
                sliders += 1
        assert told["shown"][0].replace("\u2212", "-") == f"{scores.max():.3f}".replace("-0.000", "0.000"), name
    assert sliders > 10


def told_of(name: str = "cem", **changes: object) -> Explanation:
    torch.manual_seed(0)
    small = SMALL[name]()
    return replace(small.model.eval().explain(small.inputs[:1], every_class=True), **changes)


def test_the_margin_adds_up_and_the_rival_can_be_chosen(tmp_path: Path) -> None:
    told = told_of()
    script = """
    var select = document.querySelector('.what-if select');
    function parts() {
      var view = document.querySelector('.view');
      return Array.prototype.map.call(view.querySelectorAll('.margin tr'), function (line) {
        var cell = line.lastElementChild.textContent;
        return Number(cell.replace('\\u2212', '-'));
      });
    }
    var first = parts();
    select.value = select.options[select.options.length - 1].value;
    select.dispatchEvent(new Event('input', { bubbles: true }));
    window.found = { first: first, last: parts(), rival: Number(select.value) };
    """
    answer = json.loads(run_in_browser(page(told, ["one"]), script, tmp_path))
    assert answer["wrong"] == []
    found, target = answer["found"], int(told.target)
    second = told.scores[0].topk(2).indices[1]
    for parts, rival in ((found["first"], int(second)), (found["last"], found["rival"])):
        difference = (told.scores[0, target] - told.scores[0, rival]).item()
        assert parts[-1] == pytest.approx(difference, abs=6e-4)
        assert sum(parts[:-1]) == pytest.approx(difference, abs=6e-4 * len(parts))


def test_every_reference_has_a_view_that_follows_interventions(tmp_path: Path) -> None:
    """Without a script too: the radio buttons choose the view by the style sheet alone."""
    told = told_of("protopnet")
    script = """
    window.found = Array.prototype.map.call(document.querySelectorAll('.relative input'), function (button) {
      button.click();
      var views = Array.prototype.filter.call(document.querySelectorAll('.view'), function (view) {
        return getComputedStyle(view).display !== 'none';
      });
      var what = views[0].whatIf, before = what.relative(what.scores());
      what.counts[0].click();
      return [views.length, views[0].dataset.reference, before, what.relative(what.scores()),
              views[0].querySelector('.sum .total').textContent, views[0].querySelector('.scores').textContent];
    });
    """
    html = page(told, ["one"])
    answer = json.loads(run_in_browser(html, script, tmp_path))
    assert answer["wrong"] == [] and [found[1] for found in answer["found"]] == ["runner-up", "zero", "mean"]
    for count, name, before, after, total, table in answer["found"]:
        view = told.relative_to(name)
        assert count == 1 and before == pytest.approx(view.relative_score.item(), abs=1e-5)
        first = view.top(1)[0][0]
        assert before - after == pytest.approx(first.contribution, abs=1e-5)
        assert view.explained[0] in total and (view.explained[0] in table) == (name != "zero")
    identities = [value for key, value in Read(html).attributes if key == "id"]
    assert len(identities) == len(set(identities))
    pictures = [unit for unit in told.units if unit.picture is not None]
    assert html.count("<image id='unit") == len(pictures)  # once, and shown in three views


def test_hostile_names_are_text(tmp_path: Path) -> None:
    told = told_of()
    evil = "</script><script>window.bad=1</script><img src=x onerror=window.bad=1>'\"&\u2028😀 \u05d0\u05d1"
    classes = (evil, *told.domain.classes[1:])
    units = tuple(replace(unit, name=f"{unit.name} {evil}") for unit in told.units)
    told = replace(told, domain=replace(told.domain, classes=classes), units=units)
    script = (
        "document.querySelectorAll('.count input').forEach(function (c) { c.click(); });"
        "window.found = [window.bad, document.querySelector('.margin').textContent, document.images.length];"
    )
    answer = json.loads(run_in_browser(page(told, [evil]), script, tmp_path))
    assert answer["wrong"] == [] and answer["found"][0] is None and answer["found"][2] == 0
    assert "</script><script>window.bad=1</script>" in answer["found"][1]


def test_without_effects_there_is_no_script() -> None:
    small = SMALL["cem"]()
    text = page(small.model.eval().explain(small.inputs[:1]), ["one"])
    assert "<script" not in text and "class='try'" not in text
    told = told_of()
    assert "<script" in page(told, ["one"]) and page(told, ["one"]).count("class='try'") > 2
    assert told[0].effects is not None and told.versus(told).effects is None


def test_effects_survive_saving(tmp_path: Path) -> None:
    told = told_of()
    told.save(tmp_path / "told.safetensors")
    again = Explanation.load(tmp_path / "told.safetensors")
    assert again.effects.equal(told.effects) and again.slopes.equal(told.slopes)
    torch.testing.assert_close(told.effects[0, :, int(told.target)], told.relative_to("zero").contributions[0])
    assert again.reference == told.reference == "mean" and set(again.references) == set(told.references)
    for name in told.references:
        assert again.relative_to(name).contributions.equal(told.relative_to(name).contributions)
