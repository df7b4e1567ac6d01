"""Pages of one model of each family: no error, nothing asked for, keyboard, and narrow screens."""

import json
from html import escape
from pathlib import Path

import pytest
import torch

from tests.small_models import SMALL
from tests.views.browser import run_in_browser
from zoo.views.html import page

FAMILIES = ("protopnet", "cem", "sop", "sparse_transformer", "prototree", "senn")


def page_of(name: str, count: int = 2) -> str:
    torch.manual_seed(0)
    small = SMALL[name]()
    model = small.model.eval()
    every = model.additive and len(model.domain.classes) <= 400
    return page(model.explain(small.inputs[:count], every_class=every), [f"input {i}" for i in range(count)])


@pytest.mark.parametrize("name", FAMILIES)
def test_wide_and_narrow(name: str, tmp_path: Path) -> None:
    """In frames of 1280 and 375 pixels nothing is wider than the frame, and there is something to see."""
    inner = escape(page_of(name), quote=True)
    frames = "".join(f"<iframe srcdoc=\"{inner}\" width='{width}' height='900'></iframe>" for width in (1280, 375))
    script = """
    window.found = Array.prototype.map.call(document.querySelectorAll('iframe'), function (frame) {
      var page = frame.contentDocument;
      return [page.documentElement.scrollWidth, page.querySelectorAll('article').length,
              page.querySelector('h2').getBoundingClientRect().height, page.body.innerText.length];
    });
    """
    script = (
        f"window.addEventListener('load', function () {{{script} pre.textContent = JSON.stringify("
        "{found: window.found, wrong: window.wrong, asked: []});});"
    )
    whole = f"<!doctype html><html><head></head><body>{frames}</body></html>"
    answer = json.loads(run_in_browser(whole, script, tmp_path))
    assert answer["wrong"] == []
    for (wide, articles, height, words), width in zip(answer["found"], (1280, 375), strict=True):
        assert wide <= width and articles == 2 and height > 20 and words > 100, (name, width, wide)


def test_everything_that_can_be_used_is_reached_by_the_keyboard(tmp_path: Path) -> None:
    script = """
    var all = document.querySelectorAll('input, select, button, a');
    var box = document.querySelector('.count input');
    box.focus();
    window.found = {
      all: all.length,
      reached: Array.prototype.filter.call(all, function (e) { return e.tabIndex === 0 && !e.disabled; }).length,
      named: Array.prototype.filter.call(document.querySelectorAll('input'), function (e) {
        return e.getAttribute('aria-label') || e.closest('label');
      }).length,
      inputs: document.querySelectorAll('input').length,
      focused: document.activeElement === box
    };
    """
    answer = json.loads(run_in_browser(page_of("cem"), script, tmp_path))
    told = answer["found"]
    assert answer["wrong"] == [] and answer["asked"] == []
    assert told["all"] == told["reached"] > 10 and told["inputs"] == told["named"] and told["focused"]


def test_ten_inputs_stay_small() -> None:
    small = SMALL["protopnet"]()
    told = small.model.eval().explain(small.inputs[:1].repeat(10, 1, 1, 1), every_class=True)
    assert len(page(told, [str(i) for i in range(10)], top=10)) < 2_000_000
