"""The page of a circuit in a browser: it runs the circuit, measures it without some nodes, and shows each node."""

import json
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.circuits.tokens import pairs, windows
from tests.views.browser import run_in_browser
from tests.views.pages import Read
from zoo.circuits import Circuit, SparseTransformer, TokenPairTask
from zoo.circuits.analysis.contexts import Contexts, measure_contexts
from zoo.circuits.analysis.description import describe
from zoo.circuits.analysis.token_pair_task import evaluate_task
from zoo.circuits.network.edges import mean_ablation
from zoo.domain import CodeDomain
from zoo.views.circuits.page import circuit_page

EVIL = "</script><script>window.bad=1</script><img src=x onerror=window.bad=1>'\"&\u2028"
CONTROLS = {
    "random_nodes": {"verdict": "pass", "reason": "the best of 16 has 50 %"},
    "a new one": {"verdict": "warn", "reason": EVIL},
}
STORY = (
    {
        "says": "The first token decides.",
        "interventions": [{"kind": "add", "targets": {"NODE": 2.0}}, {"kind": "mean", "targets": {"a -> b": 1.0}}],
        "within": "circuit",
        "expect": {"worst_accuracy": 0.0},
        "measured": {"worst_accuracy": 0.0},
        "passed": True,
    },
    {
        "says": EVIL,
        "interventions": [{"kind": "swap", "targets": {"layer 9 head 3": 1.0}}],
        "within": "network",
        "expect": {"moved": 0.9},
        "measured": {"moved": 0.123},
        "passed": False,
    },
)
USE = """
function text(selector) { return document.querySelector(selector).textContent; }
function move(name, value) {
  const slider = document.querySelector('[name=' + name + ']');
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}
function key(name) {
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
}
const dots = document.querySelectorAll('[data-node]'), found = { bad: window.bad };
circuit.read('x = 1');
found.typed = circuit.tokens.slice();
found.logits = Array.from(circuit.current.logits);
found.whole = Array.from(circuit.complete(circuit.tokens).logits);
circuit.read('a b c d e f g h i j k l m n o p q r s t');
found.problem = text('.problem');
circuit.read('x = 1');
found.sums = circuit.data.nodes.map(function (_, i) {
  circuit.choose(i);
  const line = Array.from(document.querySelectorAll('#node .listed')).find(function (one) {
    return one.textContent.includes('add up to');
  });
  return line ? line.textContent.replace(/\u2212/g, '-').match(/-?\\d+\\.\\d+/g).map(Number) : null;
});
found.added = circuit.data.nodes.map(function (_, i) {
  circuit.choose(i);
  return Array.from(document.querySelectorAll('#node .sides section:first-child tr:not(:first-child)'), function (row) {
    return Number(row.lastChild.textContent.replace('\u2212', '-'));
  }).reduce(function (a, b) { return a + b; }, 0);
});
found.values = circuit.data.nodes.map(function (_, i) {
  return circuit.value(circuit.current, i, circuit.tokens.length - 1);
});
found.gathers = text('.gathers .chips').length;
found.all = circuit.measure();
move('edges', circuit.data.edges.length - 3);
move('least', 2);
found.fewer = circuit.measure();
found.left = text('.left');
found.off = [document.querySelectorAll('[data-node].off').length, document.querySelectorAll('[data-edge].off').length];
document.querySelector('#size button').click();
found.again = circuit.measure();
dots[1].dispatchEvent(new MouseEvent('click', { bubbles: true }));
found.clicked = [circuit.node, text('#node h3'), text('#node .note')];
found.weights = Array.from(document.querySelectorAll('#node .sides tr:not(:first-child)'), function (row) {
  return [row.querySelector('th').textContent, row.querySelector('td').textContent.replace('\\u2212', '-')];
});
found.groups = document.querySelectorAll('#node .group').length;
document.querySelector('#node [name=ablate]').click();
found.ablated = circuit.measure();
document.querySelector('#node [name=ablate]').click();
dots[1].focus();
key('ArrowRight');
found.right = [circuit.node, document.activeElement === dots[circuit.node]];
key('Enter');
found.entered = document.activeElement.id;
document.querySelector('#node [name=whole]').click();
found.outside = text('#node');
document.querySelector('#node [name=whole]').click();
found.within = text('#node');
found.story = text('#story');
circuit.choose(0);
document.querySelector('#story .node-link').click();
found.told = [circuit.node, document.querySelectorAll('#story .node-link').length];
found.heads = document.querySelectorAll('#attention option').length;
document.querySelectorAll('.key')[1].click();
found.attention = Array.from(document.querySelectorAll('.key'), function (one) { return one.textContent; });
found.pressed = document.querySelectorAll('.key[aria-pressed=true]').length;
found.verdicts = Array.from(document.querySelectorAll('.verdict'), function (one) { return one.textContent; });
found.named = Array.from(document.querySelectorAll('input, select, textarea'), function (one) {
  return Boolean(one.closest('label'));
});
window.found = found;
"""


@pytest.fixture
def contexts(model: SparseTransformer, circuit: Circuit) -> Contexts:
    return measure_contexts(model, circuit, windows(), each=2, before=4, after=1)


def page_of(model: SparseTransformer, circuit: Circuit, *more: Any) -> str:
    report = {**circuit.report, "controls": CONTROLS, "description": EVIL}
    told = describe(model, replace(circuit, task=f"quotes {EVIL}", report=report), *more)
    assert isinstance(model.domain, CodeDomain)
    story = json.loads(json.dumps(STORY).replace("NODE", told["nodes"][1]["node"]))
    return circuit_page(told, model.domain, story)


def without(model: SparseTransformer, circuit: Circuit, nodes: int, edges: int) -> dict[str, float]:
    """Scores on the held-out prompts without the nodes and edges of smallest effect."""
    mask, order = circuit.mask.clone(), circuit.edge_effect.argsort(descending=True, stable=True)
    mask.view(-1)[circuit.nodes[circuit.node_effect.argsort(stable=True)[:nodes]]] = False
    removed = circuit.removed.concat(circuit.edges.select(order[len(order) - edges :]))
    ablation = mean_ablation(model.network, circuit.means, circuit.gathered, mask, removed)
    return evaluate_task(model.network, pairs(16, seed=5), ablation)


def test_the_page_does_what_python_does(
    model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask, contexts: Contexts, tmp_path: Path
) -> None:
    answer = json.loads(run_in_browser(page_of(model, circuit, held_out, contexts), USE, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    found, plain, domain = answer["found"], circuit.to_dict(), model.domain
    assert isinstance(domain, CodeDomain)
    assert "bad" not in found and found["typed"] == domain.encode("x = 1")
    tokens = domain.preprocess("x = 1")[None]
    with torch.no_grad():
        for name, ablation in (("logits", circuit.ablation(model.network)), ("whole", None)):
            expected = model.network.last_logits(tokens, model.network.trace(ablation))[0]
            torch.testing.assert_close(torch.tensor(found[name]), expected, rtol=1e-5, atol=1e-5)
    assert found["problem"] == f"The prompt has {len(domain.encode(' '.join('abcdefghijklmnopqrst')))} tokens; " + (
        "the model reads at most 12."
    )
    for i, sums in enumerate(found["sums"]):
        if sums is not None:  # the constant, the sum and the value are rounded to two digits
            assert sums[0] + found["added"][i] == pytest.approx(sums[1], abs=0.02)
            assert sums[2] == pytest.approx(found["values"][i], abs=0.006)
    assert sum(sums is not None for sums in found["sums"]) == len({edge["to"] for edge in plain["edges"]})
    assert found["gathers"] > 0 or not any(node["site"] == "attn_v" for node in plain["nodes"])
    assert found["within"] != found["outside"]
    for name in ("all", "again"):
        assert found[name] == pytest.approx(circuit.report["circuit"], abs=1e-4)
    assert found["fewer"] == pytest.approx(without(model, circuit, 2, 3), abs=1e-4)
    assert found["left"].startswith(f"{len(plain['nodes']) - 2} of {len(plain['nodes'])} nodes")
    assert found["off"][0] == 2 and found["off"][1] >= 3
    assert found["ablated"]["loss"] == pytest.approx(
        circuit.report["circuit"]["loss"] + plain["nodes"][1]["effect"], abs=1e-4
    )
    assert found["clicked"][0] == 1 and plain["nodes"][1]["node"] in found["clicked"][2]
    near = [edge for edge in plain["edges"] if 1 in (edge["from"], edge["to"])]
    others = {plain["nodes"][edge["from"] + edge["to"] - 1]["node"]: f"{edge['weight']:+.3f}" for edge in near}
    assert dict(found["weights"]) == others
    assert found["groups"] == 3 and found["right"][1] and found["right"][0] != 1 and found["entered"] == "node"
    assert found["heads"] > 0 and found["pressed"] == 1 and found["attention"][1].endswith("%")
    assert found["verdicts"] == ["\u2713 pass", "\u26a0\ufe0e warn", "\u2713 holds", "\u26a0\ufe0e fails"]
    assert "Story: 1 of 2 experiments as expected" in found["story"] and found["told"] == [1, 1]
    assert (
        f"increased: {plain['nodes'][1]['node']} by +2; held at the mean: a \u2192 b: worst accuracy" in found["story"]
    )
    assert "swapped between the prompts of a pair: layer 9 head 3: moved 0.12 (expected 0.9)" in found["story"]
    assert all(found["named"])


def test_wide_and_narrow(
    model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask, contexts: Contexts, tmp_path: Path
) -> None:
    """In frames of 1280 and 375 pixels nothing is wider than the frame, and the script has drawn."""
    page = page_of(model, circuit, held_out, contexts)
    Read(page)
    inner = escape(page, quote=True)
    frames = "".join(f"<iframe srcdoc=\"{inner}\" width='{width}' height='900'></iframe>" for width in (1280, 375))
    script = """
    window.found = Array.prototype.map.call(document.querySelectorAll('iframe'), function (frame) {
      var page = frame.contentDocument;
      return [page.documentElement.scrollWidth, page.querySelectorAll('#node .context').length,
              page.querySelectorAll('.key').length];
    });
    """
    script = (
        f"window.addEventListener('load', function () {{{script} pre.textContent = JSON.stringify(window.found);}});"
    )
    whole = f"<!doctype html><html><head></head><body>{frames}</body></html>"
    for (wide, contexts_, keys), width in zip(
        json.loads(run_in_browser(whole, script, tmp_path)), (1280, 375), strict=True
    ):
        assert wide <= width and contexts_ > 5 and keys == 12


def test_without_prompts_and_contexts_the_page_opens(
    model: SparseTransformer, circuit: Circuit, tmp_path: Path
) -> None:
    """As a page of a converted network: no losses, no corpus, tokens only."""
    script = """
    document.querySelector('[data-node]').dispatchEvent(new MouseEvent('click', { bubbles: true }));
    window.found = [circuit.current.logits.length, document.querySelector('#node').textContent,
                    document.querySelector('.loss')];
    """
    answer = json.loads(run_in_browser(page_of(model, circuit), script, tmp_path))
    assert answer["wrong"] == []
    count, told, loss = answer["found"]
    assert count == 300 and loss is None and "No contexts of a corpus are stored" in told


def test_contexts_of_another_circuit(model: SparseTransformer, circuit: Circuit, contexts: Contexts) -> None:
    other = replace(contexts, tokens=contexts.tokens[1:])
    with pytest.raises(ValueError, match=r"belong to a circuit of .* nodes; this one has"):
        describe(model, circuit, None, other)
