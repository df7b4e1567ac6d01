"""The circuit that comes with sparse-idioms: its page computes what Python does, and the tutorial quotes its report."""

import json
from pathlib import Path

import pytest
import torch

import zoo
from tests.views.browser import run_in_browser
from zoo.checkpoints.shipped import find_shipped
from zoo.circuits import Circuit, SparseTransformer
from zoo.circuits.analysis.contexts import Contexts, contexts_path
from zoo.circuits.analysis.controls import controls
from zoo.circuits.analysis.description import describe
from zoo.circuits.analysis.token_pair_task import evaluate_task
from zoo.cli.circuit import held_out_of
from zoo.cli.circuit_files import circuits_of
from zoo.domain import CodeDomain
from zoo.views.circuits.page import circuit_page

PROMPTS = (
    "print('hello world",
    'print("size = 3',
    "print('path')\n" * 6 + 'print("title',
    "def f(a=None, b=None):\n    return {'na\u00efve': [a, b]",
)
TUTORIAL = Path(__file__).parents[2] / "docs" / "pages" / "tutorials" / "circuit.md"


@pytest.fixture(scope="module")
def model() -> SparseTransformer:
    return zoo.load("sparse-idioms")


@pytest.fixture(scope="module")
def file() -> Path:
    folder = find_shipped("sparse-idioms")
    assert folder is not None
    (found,) = circuits_of(folder)
    return found


def test_its_page_computes_what_python_computes(model: SparseTransformer, file: Path, tmp_path: Path) -> None:
    circuit, network, domain = Circuit.load(file), model.network, model.domain
    assert isinstance(domain, CodeDomain)
    contexts, held_out = Contexts.load(contexts_path(file)), held_out_of(circuit, model)
    page = circuit_page(describe(model, circuit, held_out, contexts), domain)
    script = f"""
    window.found = {{ scores: circuit.measure(), runs: {json.dumps(PROMPTS)}.map(function (prompt) {{
      circuit.read(prompt);
      const whole = circuit.complete(circuit.tokens);
      return [circuit.tokens, Array.from(circuit.current.logits), Array.from(whole.logits)];
    }}) }};
    """
    answer = json.loads(run_in_browser(page, script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    assert answer["found"]["scores"] == pytest.approx(circuit.report["circuit"], abs=1e-5)
    for prompt, (tokens, within, whole) in zip(PROMPTS, answer["found"]["runs"], strict=True):
        assert tokens == domain.encode(prompt)
        for found, ablation in ((within, circuit.ablation(network)), (whole, None)):
            with torch.no_grad():
                expected = network.last_logits(torch.tensor([tokens]), network.trace(ablation))[0]
            torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-5, atol=2e-5)


def test_its_report_and_the_tutorial_agree_with_the_model(model: SparseTransformer, file: Path) -> None:
    circuit = Circuit.load(file)
    report, held_out = circuit.report, held_out_of(circuit, model)
    assert held_out is not None
    assert evaluate_task(model.network, held_out, circuit.ablation(model.network)) == pytest.approx(
        report["circuit"], abs=1e-5
    )
    again = controls(model, circuit, held_out, held_out)  # those that need no search
    for name, control in again.items():
        assert control["verdict"] == report["controls"][name]["verdict"]
        assert control["worst_accuracy"] == pytest.approx(report["controls"][name]["worst_accuracy"], abs=1e-5)
    text, right = " ".join(TUTORIAL.read_text(encoding="utf-8").split()), 100 * report["circuit"]["accuracy"]
    assert f"an accuracy of {100 * again['frozen_norms']['worst_accuracy']:.0f} % for the worse answer" in text
    assert f"The {report['nodes']} nodes suffice for {right:.0f} % of the held-out prompts" in text
