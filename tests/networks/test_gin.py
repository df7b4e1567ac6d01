"""Graph isomorphism networks against dense formulas, and what absent nodes and edges mean."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.small_models import GRAPHS
from zoo.networks.encoders import create_encoder
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch


def dense(network: GIN, x: Tensor, gates: Tensor | None = None) -> Tensor:
    """The states (B, n, D) of nodes, one graph and one edge at a time."""
    domain, states = network.domain, torch.zeros(len(x), network.domain.nodes, network.width)
    for b, one in enumerate(x):
        nodes = [i for i in range(domain.nodes) if one[i, 0]]
        edges = [(j, *map(int, one[domain.nodes + j, 1:3])) for j in range(domain.edges) if one[domain.nodes + j, 0]]
        h = {i: network.embed(one[i, : 1 + len(domain.features)]) for i in nodes}
        for layer in network.layers:
            sums = {i: h[i].clone() for i in nodes}
            for j, first, second in edges:
                if first not in h or second not in h:
                    continue
                for a, b_ in [(first, second), (second, first)][: 1 if domain.directed else 2]:
                    message = h[a]
                    if network.edges is not None:
                        message = (
                            message + network.edges(one[domain.nodes + j, 3 : 3 + len(domain.edge_features)])
                        ).relu()
                    sums[b_] = sums[b_] + message * (1 if gates is None else gates[b, j])
            h = dict(zip(nodes, layer(torch.stack(list(sums.values()))), strict=True))
        for i in nodes:
            states[b, i] = h[i]
    return states


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("attributes", [("length",), ()])
@torch.no_grad()
def test_states_are_those_of_a_loop_over_nodes_and_edges(directed: bool, attributes: tuple[str, ...]) -> None:
    domain = replace(GRAPHS, directed=directed, edge_features=attributes, edge_mean=(), edge_std=())
    torch.manual_seed(0)
    network = GIN(domain, width=3).eval()
    x = domain.example(4, torch.Generator().manual_seed(2))
    x[1, 0] = 0  # a removed node
    x[2, domain.nodes] = 0  # a removed edge
    x[3, domain.nodes :] = 0  # no edges
    batch = GraphBatch.of(x, domain)
    torch.testing.assert_close(batch.per_node(network.nodes(batch)), dense(network, x))
    gates = torch.rand(4, domain.edges)
    torch.testing.assert_close(
        batch.per_node(network.nodes(batch, gates.flatten()[batch.place])), dense(network, x, gates)
    )
    torch.testing.assert_close(network(x), dense(network, x).sum(1))


@torch.no_grad()
def test_the_order_of_nodes_does_not_matter() -> None:
    torch.manual_seed(0)
    network, x = GIN(GRAPHS, width=3).eval(), GRAPHS.example(3, torch.Generator().manual_seed(0))
    order = torch.randperm(GRAPHS.nodes)
    turned = x.clone()
    turned[:, order] = x[:, : GRAPHS.nodes]
    turned[:, GRAPHS.nodes :, 1:3] = order[x[:, GRAPHS.nodes :, 1:3].long()].float()
    torch.testing.assert_close(network(turned), network(x))


def test_a_removed_node_has_no_gradient() -> None:
    network, x = GIN(GRAPHS, width=3).eval(), GRAPHS.example(1, torch.Generator().manual_seed(0))
    x[0, 0] = 0
    x.requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None and not x.grad[0, 0].any() and x.grad[0, 1].any()


def test_options() -> None:
    network = create_encoder({"name": "gin", "width": 4, "hidden": [3]}, GRAPHS)
    assert network.channels == 3 and network(GRAPHS.example(2, torch.Generator())).shape == (2, 3)
    with pytest.raises(ValueError, match="the backbone of a graph is 'gin'; got 'mlp'"):
        create_encoder("mlp", GRAPHS)
    with pytest.raises(TypeError, match="has no option 'widt'; did you mean 'width'"):
        create_encoder({"name": "gin", "widt": 4}, GRAPHS)
    with pytest.raises(ValueError, match="layers must be at least 1; got 0"):
        GIN(GRAPHS, layers=0)
