"""Pruning: the circuit of a task, as the fewest nodes that solve it and the edges between them that it needs.

Gao et al., arXiv 2511.13653, 2025, section 2.2 and appendix A.5.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from zoo.circuits.analysis.edge_pruning import remove_unneeded
from zoo.circuits.analysis.effects import measure_circuit
from zoo.circuits.analysis.mask_search import Pruning, smallest_mask
from zoo.circuits.analysis.ranking import rank
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import Edges, edges_between
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer


def prune(
    model: SparseTransformer,
    name: str,
    train: TokenPairTask,
    held_out: TokenPairTask,
    options: Pruning | None = None,
    quiet: bool = True,
) -> Circuit:
    """Finds the circuit of a task: ranks the nodes, bisects their number, then removes unneeded edges.

    Args:
        model: trained, with measured means.
        name: name of the task.
        train: prompts for the search; the two of a pair are adjacent.
        held_out: prompts for the measurements.
        options: of the search.
        quiet: show no progress bar.

    Raises:
        RuntimeError: the model has no measured means, or does not reach the target loss itself.
    """
    options = options or Pruning()
    model.require_means()
    train, held_out = train.to(model.device), held_out.to(model.device)
    with _frozen(model):
        loss = evaluate_task(model.network, train)["loss"]
    if loss > options.target:
        raise RuntimeError(
            f"the loss of the complete model on '{name}' is {loss:.3f} nats, above the target of {options.target}; a "
            "circuit would rarely reach it. Train longer, or increase the target."
        )
    found = search(model, train, options, options.penalties, quiet)
    with _frozen(model):
        circuit = measure_circuit(model, name, train, held_out, found.mask, found.edges, found.removed, options.target)
    return replace(circuit, report={**circuit.report, "before_refinement": found.before})


class Found(NamedTuple):
    """Nodes and edges that a search found.

    Attributes:
        mask: (L, N) bool, nodes.
        edges: between the nodes.
        removed: edges between the nodes that carry their mean.
        before: numbers of nodes and edges before unneeded edges were removed.
        reached: whether they reach the target on the prompts of the search.
        complete: whether the removal tested every edge and node that is left, see `Pruning.passes`.
    """

    mask: Tensor
    edges: Edges
    removed: Edges
    before: dict[str, int]
    reached: bool
    complete: bool


def search(
    model: SparseTransformer, train: TokenPairTask, options: Pruning, penalties: Sequence[float], quiet: bool = True
) -> Found:
    """The mask with the fewest edges that reaches the target loss, without unneeded edges.

    If no mask reaches it, the result is the one with the smallest loss, with all its edges.
    """
    with _frozen(model):
        return refine(
            model, train, rank(model, train, options, penalties, quiet), options.target, quiet, options.passes
        )


def refine(
    model: SparseTransformer,
    train: TokenPairTask,
    rankings: Sequence[Tensor],
    target: float,
    quiet: bool = True,
    passes: int | None = None,
) -> Found:
    """The fewest nodes of a ranking that reach the target, without unneeded edges.

    Of several rankings, it takes the one with the fewest edges before the removal.
    """
    network = model.network
    masks = [smallest_mask(model, train, ranking, target) for ranking in rankings]
    ablations = [Ablation(mask.float(), model.means, network.layout) for mask in masks]
    losses = [evaluate_task(network, train, ablation)["loss"] for ablation in ablations]
    reached = [mask for mask, loss in zip(masks, losses, strict=True) if loss <= target]
    mask = min(reached, key=lambda m: len(edges_between(network, m).source), default=None)
    if mask is None:
        mask = masks[losses.index(min(losses))]
    edges = edges_between(network, mask)
    before = {"nodes": int(mask.sum()), "edges": len(edges.source)}
    if not reached:
        return Found(mask, edges, edges.select(slice(0)), before, reached=False, complete=False)
    mask, edges, removed, complete = remove_unneeded(model, train, mask, target, quiet, passes)
    return Found(mask, edges, removed, before, reached=True, complete=complete)


@contextmanager
def _frozen(model: SparseTransformer) -> Iterator[None]:
    """Evaluation mode without gradients of the weights in this context."""
    mode, learning = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)
        model.train(mode)
