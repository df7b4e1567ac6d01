"""The network in the browser has the logits of the network in Python, complete, ablated, and without edges."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.circuits.tokens import pairs, prompts, transformer
from tests.small_code import code_domain
from tests.views.browser import run_in_browser
from zoo.circuits import Circuit, SparseTransformer
from zoo.circuits.network.edges import edges_between
from zoo.circuits.network.plain import plain_network
from zoo.domain import CodeDomain
from zoo.domain.text import PAD
from zoo.utils.json_text import to_json
from zoo.views.circuits.engine_script import ENGINE
from zoo.views.circuits.packed import packed, plain_tokenizer
from zoo.views.circuits.tokenizer_script import TOKENIZER
from zoo.views.document import document

KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "sinusoids, no sink": {"sink": False, "bigram": False, "positions": {"kind": "sinusoid", "width": 6}},
    "learned positions": {"bigram": False, "positions": {"kind": "learned", "width": 5}},
    "added positions": {"bigram": False, "positions": {"kind": "added"}},
    "dense": {"bigram": False, "density": 1.0, "activation_density": 1.0},
}


def some_circuit(model: SparseTransformer) -> Circuit:
    """Random nodes; some edges, and some nodes after their edges, are removed."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():  # no need to measure them
        model.means.copy_(0.1 * torch.randn(model.means.shape, generator=draw))
        model.gathered.copy_(0.1 * torch.randn(model.gathered.shape, generator=draw))
    mask = torch.rand(model.means.shape, generator=draw) < 0.4
    edges = edges_between(model.network, mask)
    cut = torch.rand(len(edges.source), generator=draw) < 0.3
    mask &= torch.rand(mask.shape, generator=draw) < 0.9
    none = torch.zeros(0)
    kept, removed = edges.select(~cut), edges.select(cut)
    layout = model.network.layout
    return Circuit("t", layout, mask, kept, removed, model.means, model.gathered, none, none, none, none)


def plain_edges(circuit: Circuit) -> list[dict[str, float]]:
    return [{"from": a, "to": b, "weight": w} for a, b, w in zip(*(t.tolist() for t in circuit.removed), strict=True)]


def test_logits_and_values_are_those_of_python(tmp_path: Path) -> None:
    tokens = prompts(3, seed=9)[0]
    tokens[1, 7:] = PAD
    cases, expected = [], []
    for options in KINDS.values():
        model = transformer(**options)
        circuit, network = some_circuit(model), model.network
        trace = network.trace(circuit.ablation(network), record=True)
        with torch.no_grad():
            within, whole = network.last_logits(tokens, trace), network.last_logits(tokens, network.trace())
        sites = (*network.layout.sizes, "gathered")
        values = torch.cat([trace.values[1, site] for site in sites], -1)[0, -1]
        for complete in (True, False):
            found = plain_network(network, circuit, torch.tensor([4, 5]), complete)
            on = circuit.mask.flatten().int().tolist()
            cases.append({"network": packed(found), "on": on, "removed": plain_edges(circuit)})
            expected.append((within, whole if complete else None, values))
    script = f"""
    const rows = {[[t for t in row if t != PAD] for row in tokens.tolist()]};
    window.found = {json.dumps(cases)}.map(function (one) {{
      const net = engine.unpack(one.network), runner = engine.create(net), on = Uint8Array.from(one.on);
      const last = runner.run(rows[0], on, one.removed, true).values[1], T = rows[0].length - 1;
      const sites = ['attn_in', 'attn_q', 'attn_k', 'attn_v', 'attn_out', 'mlp_in', 'mlp_neuron', 'mlp_out',
        'gathered'];
      return {{
        within: rows.map(function (row) {{ return Array.from(runner.run(row, on, one.removed).logits); }}),
        whole: net.complete && rows.map(function (row) {{ return Array.from(runner.run(row, null, []).logits); }}),
        values: [].concat.apply([], sites.map(function (site) {{
          return Array.from(last[site][T]).slice(0, site === 'mlp_neuron' ? net.neurons : net.width);
        }}))
      }};
    }});
    """
    answer = json.loads(run_in_browser(document("engine", "", scripts=[ENGINE]), script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    for told, (within, whole, values) in zip(answer["found"], expected, strict=True):
        torch.testing.assert_close(torch.tensor(told["within"]), within, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.tensor(told["values"]), values, rtol=1e-5, atol=1e-5)
        if whole is not None:
            torch.testing.assert_close(torch.tensor(told["whole"]), whole, rtol=1e-5, atol=1e-5)


def test_a_restricted_network_is_small() -> None:
    """Its size follows from the nodes that can vary; large bigram tables are given for the answers alone."""
    model = transformer(width=64)
    circuit = some_circuit(model)
    circuit.mask.zero_()[0, 5] = True
    circuit = Circuit(**{**vars(circuit), "removed": circuit.removed.select(slice(0))})
    small, whole = (plain_network(model.network, circuit, pairs(2).right, complete) for complete in (False, True))
    count = [sum(len(block["qkv"]["weights"]) for block in found["blocks"]) for found in (small, whole)]
    assert count[0] == int(model.network.blocks[0].qkv.weight[:, 5].count_nonzero()) < count[1] / 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.circuits.network.plain.BIGRAMS", 1000)
        found = plain_network(model.network, circuit, torch.tensor([5, 4, 5]), False)
    assert found["shown"].tolist() == [4, 5] and found["bigram"].shape == (300, 2)


TEXTS = (
    "print('hello world')\n\n\nx  =   1234567.5",
    '  \tif x:\n        return "a"   \n',
    "na\u00efve \u4f60\u597d \U0001f600 e\u0301 \u00a0\u00ad <|end|> <|pad|> \x00\x1f",
    "\r\n\r\n   ",
    "a",
)


def test_tokens_are_those_of_python(tmp_path: Path) -> None:
    from zoo.circuits.conversion.openai_tokenizer import numbers_tokenizer

    numbers = CodeDomain(tokenizer=numbers_tokenizer([29, *range(29)]), length=12)
    domains = [(code_domain(), TEXTS), (numbers, ("3 0 17  5\n2", "unknown 7"))]
    given = [{"about": plain_tokenizer(domain), "texts": list(texts)} for domain, texts in domains]
    script = f"""
    window.found = {to_json(given)}.map(function (one) {{ return one.texts.map(createTokenizer(one.about)); }});
    """
    answer = json.loads(run_in_browser(document("tokens", "", scripts=[TOKENIZER]), script, tmp_path))
    assert answer["wrong"] == []
    assert answer["found"] == [[domain.encode(text) for text in texts] for domain, texts in domains]


def test_tokenizers_that_the_page_does_not_have() -> None:
    domain = code_domain()
    made = json.loads(domain.tokenizer)
    for change in ({"normalizer": {"type": "NFC"}}, {"pre_tokenizer": {"type": "Whitespace"}}):
        other = CodeDomain(tokenizer=json.dumps({**made, **change}), length=12)
        assert plain_tokenizer(other) is None
