"""Pruning: the smallest set of nodes with which a network still solves a task, then the edges it can do without.

Gao et al., arXiv 2511.13653, section 2.2 and appendix A.5; edges in the manner of Conmy et al., arXiv 2304.14997.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.circuits.analysis.circuit import Circuit, Edges, edges_of, hold, places
from zoo.circuits.analysis.effects import describe
from zoo.circuits.analysis.token_pair_task import Choice, margins, score, task_loss
from zoo.circuits.network.transformer import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer


@dataclass(frozen=True)
class Pruning:
    """How a circuit is searched for; the defaults are the centres of the published search, at fewer steps.

    Attributes:
        target: task loss, nats a prompt, that the circuit must reach (chance: 0.693).
        penalties: prices of a node, tried one after the other; the circuit of the fewest edges is taken.
        steps: of the optimizer, for each price.
        pairs: of prompts in a step.
        lr, weight_decay, beta2, warmup: of AdamW; the learning rate is warmed up, and falls to 0 in a straight line.
        clip: largest norm of the gradient.
        start, noise: mean and standard deviation of the logits that masks start from.
        temperature: of the straight-through step.
        seed: of masks and batches.
    """

    target: float = 0.15
    penalties: Sequence[float] = (3e-4, 1e-3, 3e-3)
    steps: int = 400
    pairs: int = 32
    lr: float = 3e-3
    weight_decay: float = 1e-3
    beta2: float = 0.95
    warmup: float = 0.05
    clip: float = 1.0
    start: float = 0.1
    noise: float = 0.01
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.target < math.log(2):
            raise ValueError(f"target must be a loss between 0 and chance, ln 2 = 0.693; got {self.target}.")
        if not self.penalties or min(self.penalties) <= 0 or min(self.steps, self.pairs) < 1:
            raise ValueError(
                f"expected penalties above 0, steps and pairs >= 1; got {list(self.penalties)}, {self.steps}, "
                f"{self.pairs}."
            )


class Step(torch.autograd.Function):
    """1 where a logit is at least 0, else 0; the gradient is that of a sigmoid with a temperature."""

    @staticmethod
    def forward(ctx, logit: Tensor, temperature: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(logit)
        ctx.temperature = temperature
        return (logit >= 0).to(logit)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (logit,) = ctx.saved_tensors
        soft = torch.sigmoid(logit / ctx.temperature)
        return gradient * soft * (1 - soft) / ctx.temperature, None


def prune(
    model: SparseTransformer,
    task: str,
    train: Choice,
    held_out: Choice,
    how: Pruning | None = None,
    quiet: bool = True,
) -> Circuit:
    """Finds a circuit of a task: nodes by gradient, how many of them by bisection, then the edges that it needs.

    Args:
        model: trained, with measured means.
        task: what the circuit is called after.
        train: prompts, two of each pair in a row, that the circuit is searched on.
        held_out: others, that it is measured on.
        how: the search.
        quiet: show no progress bar.

    Raises:
        RuntimeError: the model has no means, or does not reach the target even as a whole.
    """
    how = how or Pruning()
    require_means(model)
    network, mode = model.network, model.training
    model.eval()
    train, held_out = train.to(model.device), held_out.to(model.device)
    whole = score(network, train)
    if whole["loss"] > how.target:
        raise RuntimeError(
            f"the whole model's loss on '{task}' is {whole['loss']:.3f} nats, above the target of {how.target}; a "
            "circuit can hardly do better. Train longer, or raise the target."
        )
    frozen = [p for p in model.parameters() if p.requires_grad]
    for p in frozen:
        p.requires_grad_(False)
    try:
        ranks = [fit_logits(model, train, how, penalty, quiet) for penalty in how.penalties]
        found = [_fewest(model, train, rank, how.target) for rank in ranks]
        mask = min(found, key=lambda m: len(edges_of(network, m).source))
        first = {"nodes": int(mask.sum()), "edges": len(edges_of(network, mask).source)}
        mask, edges, removed = _refine(model, train, mask, how.target, quiet)
        circuit = describe(model, task, train, held_out, mask, edges, removed, how.target)
        return replace(circuit, report={**circuit.report, "before_refinement": first})
    finally:
        for p in frozen:
            p.requires_grad_(True)
        model.train(mode)


def require_means(model: SparseTransformer) -> None:
    """Refuses a model whose nodes have no measured means.

    Raises:
        RuntimeError: it has none.
    """
    if not bool(model.averaged):
        raise RuntimeError(
            "this model's nodes have no measured means, which a circuit needs; train with the action {name: average} "
            "in the recipe."
        )


def fit_mask(model: SparseTransformer, choice: Choice, how: Pruning, penalty: float) -> Tensor:
    """(L, N) in {0, 1}: the nodes that the search leaves on, whatever loss that gives."""
    return (fit_logits(model, choice, how, penalty, quiet=True) >= 0).float()


def fit_logits(model: SparseTransformer, choice: Choice, how: Pruning, penalty: float, quiet: bool) -> Tensor:
    """(L, N) in [-1, 1]: logits of masks that minimise the task loss plus `penalty` for each node."""
    network, draw = model.network, torch.Generator().manual_seed(how.seed)
    logit = (how.start + how.noise * torch.randn(model.means.shape, generator=draw)).clamp(-1, 1)
    logit = logit.to(model.device).requires_grad_()
    optimizer = torch.optim.AdamW([logit], how.lr, betas=(0.9, how.beta2), weight_decay=how.weight_decay)
    warm = max(1, round(how.warmup * how.steps))
    pairs = len(choice) // 2
    for step in tqdm(range(how.steps), desc=f"pruning at {penalty:g}", leave=False, disable=quiet):
        chosen = torch.randperm(pairs, generator=draw)[: how.pairs]
        rows = torch.stack([2 * chosen, 2 * chosen + 1], 1).flatten().to(model.device)
        with torch.enable_grad():
            mask = Step.apply(logit, how.temperature)
            loss = task_loss(margins(network, choice.rows(rows), Ablation(mask, model.means, network.layout)))
            total = loss + penalty * mask.sum()
        (logit.grad,) = torch.autograd.grad(total, logit)
        torch.nn.utils.clip_grad_norm_([logit], how.clip)
        optimizer.param_groups[0]["lr"] = how.lr * min((step + 1) / warm, 1 - step / how.steps)
        optimizer.step()
        with torch.no_grad():
            logit.clamp_(-1, 1)
    return logit.detach()


@torch.no_grad()
def _fewest(model: SparseTransformer, choice: Choice, rank: Tensor, target: float) -> Tensor:
    """The fewest nodes of highest rank that reach the target, by bisection."""
    order = rank.flatten().argsort(descending=True, stable=True)
    low, high = 0, rank.numel()
    while low < high:
        k = (low + high) // 2
        mask = _top(order, k, rank.shape)
        if score(model.network, choice, Ablation(mask, model.means, model.network.layout))["loss"] <= target:
            high = k
        else:
            low = k + 1
    return _top(order, high, rank.shape).bool()


def _top(order: Tensor, k: int, shape: torch.Size) -> Tensor:
    mask = torch.zeros(order.numel(), device=order.device)
    mask[order[:k]] = 1
    return mask.view(shape)


@torch.no_grad()
def _refine(
    model: SparseTransformer, choice: Choice, mask: Tensor, target: float, quiet: bool
) -> tuple[Tensor, Edges, Edges]:
    """Drops edges, then nodes, as long as the target is held; those that matter least come first.

    As ACDC, it tries each with everything that went before left out; unlike ACDC, it tries many at once and halves
    them until it knows which are needed, and it goes on to the target in place of a threshold for each.
    """
    network, mask = model.network, mask.clone()
    edges = edges_of(network, mask)
    alive = torch.ones(len(edges.source), dtype=torch.bool, device=mask.device)

    def loss() -> float:
        ablation = hold(network, model.means, model.gathered, mask, edges.chosen(~alive))
        return task_loss(margins(network, choice, ablation)).item()

    def switch_edges(which: Tensor, on: bool) -> None:
        alive[which] = on

    def switch_nodes(which: Tensor, on: bool) -> None:
        mask.view(-1)[which] = on

    importance = edge_importance(model, choice, mask, edges)
    _drop(importance.argsort(stable=True), switch_edges, loss, target, "edges", quiet)
    nodes, used = mask.flatten().nonzero().flatten(), torch.zeros(mask.numel(), device=mask.device)
    for ends in (edges.source, edges.destination):
        used.index_add_(0, ends[alive], importance[alive])
    _drop(nodes[used[nodes].argsort(stable=True)], switch_nodes, loss, target, "nodes", quiet)
    between = mask.view(-1)[edges.source] & mask.view(-1)[edges.destination]
    return mask, edges.chosen(alive & between), edges.chosen(~alive)


def edge_importance(model: SparseTransformer, choice: Choice, mask: Tensor, edges: Edges) -> Tensor:
    """(E,) |gradient of the task loss by each edge's gate|: roughly how much the loss changes without it."""
    network, every, rewired = model.network, places(model.network), {}
    for place in every:
        linear = getattr(network.blocks[place.layer], place.name)
        rewired[place.layer, place.name] = tuple(
            t.detach().clone().requires_grad_() for t in (linear.weight, linear.bias)
        )
    with torch.enable_grad():
        loss = task_loss(margins(network, choice, Ablation(mask.float(), model.means, network.layout, rewired)))
        flat = torch.autograd.grad(loss, [t for pair in rewired.values() for t in pair])
    found = torch.zeros_like(edges.weight)
    for place, by_weight, by_bias in zip(every, flat[::2], flat[1::2], strict=True):
        row, column, which = place.find(edges)
        # The gate g of an edge enters the weight as g w, and the bias as (1 - g) w mean.
        mean = place.means(model.means, model.gathered)[column]
        found[which] = (edges.weight[which] * (by_weight[row, column] - by_bias[row] * mean)).abs()
    return found


def _drop(
    order: Tensor,
    switch: Callable[[Tensor, bool], None],
    loss: Callable[[], float],
    target: float,
    what: str,
    quiet: bool,
) -> None:
    """Switches off what the target does not need, in this order, many at once where that works."""
    size = max(1, len(order) // 8)
    waiting = list(order.split(size))[::-1]
    with tqdm(total=len(order), desc=f"dropping {what}", leave=False, disable=quiet) as bar:
        while waiting:
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
