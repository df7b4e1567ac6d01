"""Circuits in files and in explanations."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.circuits.tokens import pairs, prompts, transformer
from zoo.circuits import Circuit, SparseTransformer
from zoo.circuits.analysis.token_pair_task import logit_differences


def test_explaining_a_circuit_explains_its_scores(model: SparseTransformer, circuit: Circuit) -> None:
    tokens = pairs(8, seed=7).tokens
    explanation = model.explain(tokens, circuit=circuit)
    explanation.check()
    found = model.network.last_logits(tokens, model.network.trace(circuit.ablation(model.network)))
    torch.testing.assert_close(explanation.scores, found.detach(), rtol=1e-4, atol=1e-4)
    assert not torch.equal(explanation.scores, model.explain(tokens).scores)


def test_edges_of_an_explanation_are_those_of_the_circuit(model: SparseTransformer, circuit: Circuit) -> None:
    tokens = pairs(2, seed=7).tokens
    explanation = model.explain(tokens, circuit=circuit)
    source, destination, weight = explanation.edges
    names = [unit.name.replace("neuron", "mlp_neuron").replace("mlp_mlp", "mlp") for unit in explanation.units]
    plain = circuit.to_dict()
    for k, edge in enumerate(plain["edges"]):
        assert names[source[k]] == plain["nodes"][edge["from"]]["node"]
        assert names[destination[k]] == plain["nodes"][edge["to"]]["node"]
        assert weight[:, k].tolist() == [edge["weight"]] * len(tokens)
    inner = [k for k, unit in enumerate(explanation.units) if unit.kind == "node"]
    assert inner and bool((explanation.contributions[:, inner] == 0).all())
    trace = model.network.trace(circuit.ablation(model.network), record=True)
    model.network.last_logits(tokens, trace)
    for k in inner:
        _, layer, site, index = explanation.units[k].name.split()
        last = trace.values[int(layer), site][:, -1, int(index)]
        torch.testing.assert_close(explanation.activation[:, k], last.detach())
    assert model.explain(tokens).edges is None


def test_a_saved_circuit_is_the_same(model: SparseTransformer, circuit: Circuit, tmp_path: Path) -> None:
    circuit.save(tmp_path / "one")
    back = Circuit.load(tmp_path / "one.json")
    assert back.report == circuit.report and back.task == circuit.task
    task, net = pairs(8, seed=7), model.network
    ours, theirs = (logit_differences(net, task, net.trace(c.ablation(net))) for c in (circuit, back))
    assert torch.equal(ours, theirs)
    assert len(back.to_dict()["edges"]) == circuit.report["edges"]


def test_files_that_are_not_circuits(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_text("pickle")
    for name, message in (
        ("nowhere", r"no circuit at .*nowhere\.safetensors; run `train.py prune"),
        ("other", "does not contain a circuit"),
        ("broken", "is not a valid safetensors file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            Circuit.load(tmp_path / name)


def test_a_circuit_of_another_network(circuit: Circuit) -> None:
    with pytest.raises(ValueError, match="belongs to a network of Layout"):
        transformer(width=16).explain(prompts(1)[0], circuit=circuit)
