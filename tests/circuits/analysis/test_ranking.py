"""Rankings of nodes for a task, and networks whose needed edges are known."""

import pytest
import torch

from benchmarks.planted import Planted, plant
from tests.circuits.tokens import pairs
from tests.small_code import code_domain
from zoo.circuits import Pruning, SparseTransformer
from zoo.circuits.analysis.attribution import integrated_gates
from zoo.circuits.analysis.mask_search import METHODS
from zoo.circuits.analysis.pruning import search
from zoo.circuits.analysis.ranking import rank
from zoo.circuits.analysis.token_pair_task import evaluate_task
from zoo.circuits.network.edges import Edges, edges_between, mean_ablation
from zoo.circuits.network.trace import Ablation


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(code_domain(8), features=8, hidden=6, classes=4, fan_in=2, pairs=16)


def needed_nodes(planted: Planted) -> torch.Tensor:
    nodes = torch.zeros(planted.model.means.numel(), dtype=torch.bool)
    nodes[torch.cat([planted.source, planted.destination])] = True
    return nodes


def test_gates_add_up_to_the_loss(planted: Planted) -> None:
    model, task, network = planted.model, planted.train, planted.model.network
    off = Ablation(torch.zeros_like(model.means), model.means, network.layout)
    lost = evaluate_task(network, task, off)["loss"] - evaluate_task(network, task)["loss"]
    assert float(integrated_gates(model, task, steps=60).sum()) == pytest.approx(lost, rel=0.02)
    mask = torch.ones_like(model.means, dtype=torch.bool)
    mask[1] = False
    found = integrated_gates(model, task, mask, steps=2)
    assert found[0].any() and not found[1].any()


def test_planted_edges_are_sufficient_and_needed(planted: Planted) -> None:
    model, nodes = planted.model, needed_nodes(planted).view(planted.model.means.shape)
    between = edges_between(model.network, nodes)
    true = set(zip(planted.source.tolist(), planted.destination.tolist(), strict=True))
    ends = zip(between.source.tolist(), between.destination.tolist(), strict=True)
    needed = torch.tensor([edge in true for edge in ends])
    assert int(needed.sum()) == len(true)

    def accuracy(removed: Edges, mask: torch.Tensor) -> float:
        ablation = mean_ablation(model.network, model.means, model.gathered, mask, removed)
        return evaluate_task(model.network, planted.held_out, ablation)["accuracy"]

    assert evaluate_task(model.network, planted.held_out)["accuracy"] == 1
    assert accuracy(between.select(~needed), nodes) > 0.9
    assert accuracy(between.select(needed), torch.ones_like(nodes)) < 0.7


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_planted_circuit(planted: Planted, method: str) -> None:
    options = Pruning(method=method, steps=80, penalties=(1e-3,), lr=1e-2, pairs=16)
    (ranking,) = rank(planted.model.requires_grad_(False), planted.train, options, options.penalties)
    nodes, score = needed_nodes(planted), ranking.flatten()
    higher = (score[nodes][:, None] > score[~nodes]).float().mean()
    assert float(higher) > 0.9, float(higher)


def test_a_search_by_attributions(model: SparseTransformer) -> None:
    found = search(model, pairs(8), Pruning(method="eap-ig"), ())
    assert found.reached and 0 < int(found.mask.sum()) < 200
    with pytest.raises(ValueError, match="method must be one of mask, eap-ig, cd"):
        Pruning(method="acdc")


def test_a_planted_circuit_needs_tokens() -> None:
    with pytest.raises(ValueError, match="tokens must be at least"):
        plant(code_domain(8), classes=5000)
    with pytest.raises(ValueError, match="length must be at least 5"):
        plant(code_domain(4))
