"""Measurements of a circuit against measurements one by one."""

from dataclasses import replace

import torch

from zoo.circuits import Circuit, SparseTransformer, TokenPairTask
from zoo.circuits.analysis.token_pair_task import logit_differences, task_loss


def loss(model: SparseTransformer, task: TokenPairTask, circuit: Circuit) -> torch.Tensor:
    net = model.network
    with torch.no_grad():
        return task_loss(logit_differences(net, task, net.trace(circuit.ablation(net))))


def test_effects_are_increases_of_the_loss(model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask) -> None:
    base = loss(model, held_out, circuit)
    k, e = int(circuit.node_effect.argmax()), int(circuit.edge_effect.argmax())
    mask = circuit.mask.clone()
    mask.view(-1)[circuit.nodes[k]] = False
    without_node = loss(model, held_out, replace(circuit, mask=mask))
    torch.testing.assert_close(circuit.node_effect[k], without_node - base, rtol=1e-3, atol=1e-4)
    removed = circuit.removed.concat(circuit.edges.select(slice(e, e + 1)))
    without_edge = loss(model, held_out, replace(circuit, removed=removed))
    torch.testing.assert_close(circuit.edge_effect[e], without_edge - base, rtol=1e-3, atol=1e-4)


def test_activations_are_those_of_the_nodes(model: SparseTransformer, circuit: Circuit) -> None:
    assert circuit.activations.shape == (*circuit.samples.shape, len(circuit.nodes))
    row = circuit.to_dict()["nodes"][0]
    trace = model.network.trace(circuit.ablation(model.network), record=True)
    with torch.no_grad():
        model.network.last_logits(circuit.samples, trace)
    torch.testing.assert_close(circuit.activations[..., 0], trace.values[row["layer"], row["site"]][..., row["index"]])
