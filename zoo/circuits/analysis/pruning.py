"""Pruning: the circuit of a task, as the fewest nodes that solve it and the edges between them that it needs.

Gao et al., arXiv 2511.13653, 2025, section 2.2 and appendix A.5.
"""

from dataclasses import replace

from zoo.circuits.analysis.edge_pruning import remove_unneeded
from zoo.circuits.analysis.effects import measure_circuit
from zoo.circuits.analysis.mask_search import Pruning, fit_logits, smallest_mask
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.edges import edges_between
from zoo.circuits.sparse_transformer import SparseTransformer


def prune(
    model: SparseTransformer,
    name: str,
    train: TokenPairTask,
    held_out: TokenPairTask,
    options: Pruning | None = None,
    quiet: bool = True,
) -> Circuit:
    """Finds the circuit of a task: ranks the nodes by gradient, bisects their number, then removes unneeded edges.

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
    require_means(model)
    network, mode = model.network, model.training
    model.eval()
    train, held_out = train.to(model.device), held_out.to(model.device)
    loss = evaluate_task(network, train)["loss"]
    if loss > options.target:
        raise RuntimeError(
            f"the loss of the complete model on '{name}' is {loss:.3f} nats, above the target of {options.target}; a "
            "circuit would rarely reach it. Train longer, or increase the target."
        )
    learning = [p for p in model.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    try:
        logits = [fit_logits(model, train, options, penalty, quiet) for penalty in options.penalties]
        masks = [smallest_mask(model, train, of_penalty, options.target) for of_penalty in logits]
        mask = min(masks, key=lambda m: len(edges_between(network, m).source))
        first = {"nodes": int(mask.sum()), "edges": len(edges_between(network, mask).source)}
        mask, edges, removed = remove_unneeded(model, train, mask, options.target, quiet)
        circuit = measure_circuit(model, name, train, held_out, mask, edges, removed, options.target)
        return replace(circuit, report={**circuit.report, "before_refinement": first})
    finally:
        for p in learning:
            p.requires_grad_(True)
        model.train(mode)


def require_means(model: SparseTransformer) -> None:
    """Checks that the means of the nodes were measured.

    Raises:
        RuntimeError: they were not.
    """
    if not bool(model.averaged):
        raise RuntimeError(
            "this model has no measured node means, which a circuit needs; train with the action {name: average} in "
            "the recipe."
        )
