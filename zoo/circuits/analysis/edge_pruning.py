"""Removal of the edges and nodes of a circuit that a task does not need.

In the manner of ACDC (Conmy et al., arXiv 2304.14997, 2023). Differs from it: candidates are removed in groups that are
halved until the needed ones are known, and the criterion is a target loss instead of a threshold per edge.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences, task_loss
from zoo.circuits.network.edges import Edges, edges_between, mean_ablation, weight_matrices
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.utils.progress import track


@torch.no_grad()
def remove_unneeded(
    model: SparseTransformer,
    task: TokenPairTask,
    mask: Tensor,
    target: float,
    quiet: bool,
    passes: int | None = None,
) -> tuple[Tensor, Edges, Edges, bool]:
    """Removes edges, then nodes, as long as the task loss stays at or below the target, least important first.

    Args:
        model: with measured means.
        task: prompts.
        mask: (L, N) bool, nodes that reach the target.
        target: task loss.
        quiet: show no progress bar.
        passes: most passes for the edges, and as many for the nodes; by default as many as it takes.

    Returns:
        Mask of the remaining nodes, remaining edges, removed edges, and whether every remaining edge and node was
        tested: not if the passes were too few.
    """
    network, mask = model.network, mask.clone()
    edges = edges_between(network, mask)
    alive = torch.ones(len(edges.source), dtype=torch.bool, device=mask.device)

    def loss() -> float:
        ablation = mean_ablation(network, model.means, model.gathered, mask, edges.select(~alive))
        return task_loss(logit_differences(network, task, network.trace(ablation))).item()

    def switch_edges(which: Tensor, on: bool) -> None:
        alive[which] = on

    def switch_nodes(which: Tensor, on: bool) -> None:
        mask.view(-1)[which] = on

    importance = edge_importance(model, task, mask, edges)
    edges_tested = _switch_off(importance.argsort(stable=True), switch_edges, loss, target, "edges", quiet, passes)
    nodes, used = mask.flatten().nonzero().flatten(), torch.zeros(mask.numel(), device=mask.device)
    for ends in (edges.source, edges.destination):
        used.index_add_(0, ends[alive], importance[alive])
    order = nodes[used[nodes].argsort(stable=True)]
    nodes_tested = _switch_off(order, switch_nodes, loss, target, "nodes", quiet, passes)
    between = mask.view(-1)[edges.source] & mask.view(-1)[edges.destination]
    return mask, edges.select(alive & between), edges.select(~alive), edges_tested and nodes_tested


def edge_importance(model: SparseTransformer, task: TokenPairTask, mask: Tensor, edges: Edges) -> Tensor:
    """First-order estimate (E,) of the change of the task loss when an edge is ablated: |gradient of its gate|."""
    network, matrices, rewired = model.network, weight_matrices(model.network), {}
    for matrix in matrices:
        rewired[matrix.layer, matrix.name] = tuple(
            t.detach().clone().requires_grad_() for t in (matrix.linear.weight, matrix.linear.bias)
        )
    with torch.enable_grad():
        trace = network.trace(Ablation(mask.float(), model.means, network.layout, rewired))
        loss = task_loss(logit_differences(network, task, trace))
        gradients = torch.autograd.grad(loss, [t for pair in rewired.values() for t in pair])
    found = torch.zeros_like(edges.weight)
    for matrix, by_weight, by_bias in zip(matrices, gradients[::2], gradients[1::2], strict=True):
        row, column, which = matrix.find(edges)
        # The gate g of an edge enters the weight as g w, and the bias as (1 - g) w mean.
        mean = matrix.input_means(model.means, model.gathered)[column]
        found[which] = (edges.weight[which] * (by_weight[row, column] - by_bias[row] * mean)).abs()
    return found


def _switch_off(
    order: Tensor,
    switch: Callable[[Tensor, bool], None],
    loss: Callable[[], float],
    target: float,
    what: str,
    quiet: bool,
    passes: int | None,
) -> bool:
    """Switches off, in this order, everything that the target does not need; in groups where possible.

    Returns whether everything was tested within this number of passes.
    """
    size = max(1, len(order) // 8)
    waiting = list(order.split(size))[::-1]
    with track(None, f"removing {what}", len(order), shown=not quiet) as bar:
        while waiting and passes != 0:
            passes = None if passes is None else passes - 1
            some = waiting.pop()
            switch(some, False)
            if loss() <= target:
                bar.update(len(some))
                continue
            switch(some, True)
            if len(some) == 1:
                bar.update(1)
            else:
                waiting += list(some.split(-(-len(some) // 2)))[::-1]
    return not waiting
