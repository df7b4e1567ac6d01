"""Edges of networks that were made by hand."""

import torch

from tests.circuits.tokens import transformer, windows
from zoo.circuits.network.edges import Edges, edges_between, mean_ablation


def test_edges_of_a_network_by_hand() -> None:
    """One neuron reads one channel and writes one: 3 nodes, 2 edges."""
    net = transformer().network
    with torch.no_grad():
        for block in net.blocks:
            for linear in (block.qkv, block.out, block.up, block.down):
                linear.weight.zero_()
        net.blocks[1].up.weight[9, 4] = 2.0
        net.blocks[1].down.weight[7, 9] = -3.0
    edges = edges_between(net, torch.ones(2, net.layout.nodes))
    start = net.layout.nodes
    nodes = [start + net.layout.part(site).start + i for site, i in (("mlp_in", 4), ("mlp_neuron", 9), ("mlp_out", 7))]
    assert edges.source.tolist() == nodes[:2] and edges.destination.tolist() == nodes[1:]
    assert edges.weight.tolist() == [2.0, -3.0]
    mask = torch.ones(2, net.layout.nodes)
    mask[1, net.layout.part("mlp_neuron").start + 9] = 0
    assert len(edges_between(net, mask).source) == 0


def test_an_ablated_edge_carries_its_mean() -> None:
    model = transformer()
    model.average(windows())
    net = model.network
    source, destination = net.layout.part("mlp_in").start + 3, net.layout.part("mlp_neuron").start + 5
    edge = Edges(torch.tensor([source]), torch.tensor([destination]), net.blocks[0].up.weight[5, 3].detach()[None])
    ablation = mean_ablation(net, model.means, model.gathered, torch.ones_like(model.means), edge)
    weight, bias = ablation.rewired[0, "up"]
    expected = net.blocks[0].up.bias[5] + edge.weight[0] * model.means[0, net.layout.part("mlp_in")][3]
    assert weight[5, 3] == 0 and torch.isclose(bias[5], expected)
    same = weight.clone()
    same[5, 3] = net.blocks[0].up.weight[5, 3]
    assert torch.equal(same, net.blocks[0].up.weight.detach())
