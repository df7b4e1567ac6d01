"""Importance of edges, and what remains of a circuit without the edges that it does not need."""

from dataclasses import replace

import torch

from tests.circuits.tokens import pairs
from zoo.circuits import Circuit, SparseTransformer
from zoo.circuits.analysis.edge_pruning import edge_importance, remove_unneeded
from zoo.circuits.analysis.token_pair_task import logit_differences, task_loss
from zoo.circuits.network.edges import edges_between, mean_ablation


def test_importance_of_an_edge_is_the_derivative_by_its_gate(model: SparseTransformer) -> None:
    task, mask, net = pairs(4), torch.ones_like(model.means), model.network
    edges = edges_between(net, mask)
    found = edge_importance(model, task, mask, edges)
    k, step = int(found.argmax()), 1e-2
    only = edges.select(slice(k, k + 1))

    def loss(share: float) -> torch.Tensor:
        part = only._replace(weight=only.weight * share)  # a share of the edge is replaced by its mean
        ablation = mean_ablation(net, model.means, model.gathered, mask, part)
        (key, (weight, bias)) = next(iter(ablation.rewired.items()))
        whole = getattr(net.blocks[key[0]], key[1]).weight.detach()
        rewired = {key: (whole + share * (weight - whole), bias)}
        with torch.no_grad():
            return task_loss(logit_differences(net, task, net.trace(replace(ablation, rewired=rewired))))

    slope = (loss(step) - loss(0.0)) / step
    torch.testing.assert_close(found[k], slope.abs(), rtol=0.15, atol=1e-4)


def test_a_removal_with_few_passes_keeps_what_it_did_not_test(model: SparseTransformer, circuit: Circuit) -> None:
    task, everything, net = pairs(8), torch.ones_like(model.means, dtype=torch.bool), model.network
    kept = []
    for mask, passes in ((everything, 1), (everything, 10), (circuit.mask, None)):
        nodes, edges, removed, tested = remove_unneeded(model, task, mask, 0.15, quiet=True, passes=passes)
        ablation = mean_ablation(net, model.means, model.gathered, nodes, removed)
        assert task_loss(logit_differences(net, task, net.trace(ablation))) <= 0.15
        assert tested == (passes is None)
        kept.append((int(nodes.sum()), len(edges.source)))
    assert kept[0] > kept[1] > kept[2]
