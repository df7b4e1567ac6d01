"""A network as plain arrays, from which another program can run it, complete or restricted to a circuit.

An ablated node has its mean, so that what it adds to a matrix is a constant. The arrays of a restricted network hold
these constants and the columns of the other nodes only: a few numbers for each node of a circuit.
"""

from typing import Any

import torch
from torch import Tensor

from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import WeightMatrix, weight_matrices
from zoo.circuits.network.trace import epsilon
from zoo.circuits.network.transformer import SparseNetwork, normalised

COMPLETE = 200_000  # non-zero weights of the blocks up to which a network is given complete by default
BIGRAMS = 2**20  # entries up to which the bigram table is given complete


def is_small(network: SparseNetwork) -> bool:
    """Whether a network has at most `COMPLETE` non-zero weights in its blocks."""
    return sum(int(m.linear.weight.count_nonzero()) for m in weight_matrices(network)) <= COMPLETE


@torch.no_grad()
def plain_network(network: SparseNetwork, circuit: Circuit, answers: Tensor, complete: bool) -> dict[str, Any]:
    """Sizes, and tensors on the CPU, of everything that a forward pass needs.

    Args:
        network: of the circuit.
        circuit: its nodes, and the sources of its removed edges, can vary; so can all others if `complete`.
        answers: (A,), tokens whose logits are needed; all logits are given if the bigram table is small.
        complete: give the columns of all nodes.

    Returns:
        "blocks", each with its norms and the matrices "qkv", "out", "up" and "down": the `base` (rows,), which includes
        the constants, and the `columns` (C,) with the `start` (C + 1,) of each in `rows` and `weights`. Column d + h of
        "out" is what the constant channels of head h add, times the sum of the attention weights. "embedding" and
        "unembedding" have a row for each token. "shown" are the tokens whose logits are given, the columns of "bigram".
    """
    circuit.ablation(network)  # raises if the circuit belongs to another network
    layout, vocabulary = network.layout, len(network.embedding.weight)
    varies = torch.ones_like(circuit.mask) if complete else circuit.mask.clone()
    varies.view(-1)[circuit.removed.source] = True
    shown = torch.arange(vocabulary)
    if network.bigram is not None and network.bigram.numel() > BIGRAMS:
        shown = answers.unique().cpu()
    blocks: list[dict[str, Any]] = [
        {
            "attn_norm": block.attn_norm.weight,
            "mlp_norm": block.mlp_norm.weight,
            "attn_positions": normalised(block.attn_position_norm, network.position_channels(network_length(network))),
            "mlp_positions": normalised(block.mlp_position_norm, network.position_channels(network_length(network))),
            "sink": block.sink,
        }
        for block in network.blocks
    ]
    for matrix in weight_matrices(network):
        blocks[matrix.layer][matrix.name] = _matrix(network, matrix, circuit, varies)
    added = network.positions is not None and not network.channels
    return {
        "layers": layout.layers,
        "width": layout.width,
        "neurons": layout.neurons,
        "heads": network.blocks[0].heads,
        "kept": dict(network.kept),
        "epsilon": epsilon(network.norm),
        "length": network_length(network),
        "vocabulary": vocabulary,
        "complete": complete,
        "embedding": _sparse(network.embedding.weight),
        "positions": network.positions.cpu() if added and network.positions is not None else None,
        "norm": network.norm.weight.cpu(),
        "unembedding": _sparse(network.unembedding.weight),
        "shown": shown,
        "bigram": None if network.bigram is None else network.bigram.cpu()[:, shown].contiguous(),
        "means": circuit.means,
        "gathered": circuit.gathered,
        "blocks": [{name: _on_cpu(value) for name, value in block.items()} for block in blocks],
    }


def network_length(network: SparseNetwork) -> int:
    """Number of positions of the tables of positions; 0 without one."""
    table = network.positions if network.positions is not None else network.waves
    return 0 if table is None else len(table)


def _matrix(network: SparseNetwork, matrix: WeightMatrix, circuit: Circuit, varies: Tensor) -> dict[str, Tensor]:
    """A matrix by its varying columns, with the constants of the others in its base."""
    weight, width = matrix.linear.weight.detach().cpu(), network.layout.width
    free = varies[matrix.layer, matrix.reads]
    constant, mean = weight[:, : len(free)].double(), circuit.means[matrix.layer, matrix.reads].double()
    base, weight = matrix.linear.bias.detach().cpu().double(), weight.clone()
    constant = constant * (mean * ~free)  # (rows, columns)
    weight[:, : len(free)] *= free
    if matrix.name == "out":
        by_head = constant.unflatten(1, (network.blocks[0].heads, -1)).sum(2)
        weight = torch.cat([weight, by_head.float()], 1)
        assert len(free) == width
    else:
        base = base + constant.sum(1)
    transposed = _sparse(weight.T)
    filled = (transposed["start"].diff() > 0).nonzero().flatten()
    start = torch.cat([transposed["start"][filled], transposed["start"][-1:]])
    return {
        "base": base.float(),
        "columns": filled.to(torch.int32),
        "start": start,
        "rows": transposed["index"],
        "weights": transposed["value"],
    }


def _sparse(matrix: Tensor) -> dict[str, Tensor]:
    """The non-zeros of a matrix by rows: the `start` (rows + 1,) of each in `index` and `value`."""
    matrix = matrix.detach().float().cpu()
    row, column = matrix.nonzero(as_tuple=True)
    start = torch.zeros(len(matrix) + 1, dtype=torch.int32)
    start[1:] = row.bincount(minlength=len(matrix)).cumsum(0)
    return {"start": start, "index": column.to(torch.int32), "value": matrix[row, column]}


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
