"""Search for the nodes of a circuit: masks fitted by gradient, and the fewest nodes that reach a target loss.

Gao et al., arXiv 2511.13653, 2025, section 2.2 and appendix A.5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task, logit_differences, task_loss
from zoo.circuits.network.trace import Ablation
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.progress import track

METHODS = ("mask", "eap-ig", "cd", "eap-ig+mask")


@dataclass(frozen=True)
class Pruning:
    """Options of the search for a circuit. Defaults are the centres of the published ranges, with fewer steps."""

    target: float = 0.15
    """Task loss in nats per prompt that the circuit must reach; chance is 0.693."""
    penalties: Sequence[float] = (3e-4, 1e-3, 3e-3)
    """Penalties per node. Each is tried, and the circuit with the fewest edges is kept."""
    steps: int = 400
    """Optimizer steps for each penalty."""
    pairs: int = 32
    """Pairs of prompts per step."""
    lr: float = 3e-3
    """Peak learning rate of AdamW; it falls linearly to 0."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    beta2: float = 0.95
    """Second beta of AdamW."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    start: float = 0.1
    """Mean of the initial logits."""
    noise: float = 0.01
    """Standard deviation of the initial logits."""
    temperature: float = 1.0
    """Temperature of the straight-through step."""
    passes: int | None = None
    """Most passes in the removal of edges, and in that of nodes; untested ones stay. None: no limit."""
    seed: int = 0
    """Seed of initial logits and batches."""
    method: str = "mask"
    """How the nodes are ranked. "mask": a mask fitted by gradient; "eap-ig": integrated gradients of gates; "cd":
    contextual decomposition; "eap-ig+mask": a mask fitted from what "eap-ig" finds, with an eighth of the steps."""

    def __post_init__(self) -> None:
        check_choice(METHODS, method=self.method)
        if not 0 < self.target < math.log(2):
            raise ValueError(f"target must be a loss between 0 and chance, ln 2 = 0.693; got {self.target}.")
        if self.passes is not None:
            check_at_least(1, passes=self.passes)
        if not self.penalties or min(self.penalties) <= 0 or min(self.steps, self.pairs) < 1:
            raise ValueError(
                f"expected penalties above 0, steps >= 1 and pairs >= 1; got {list(self.penalties)}, {self.steps} and "
                f"{self.pairs}."
            )


class StraightThroughStep(torch.autograd.Function):
    """1 where a logit is at least 0, otherwise 0; the gradient is that of a sigmoid with a temperature."""

    @staticmethod
    def forward(ctx: Any, logit: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(logit)
        ctx.temperature = temperature
        return (logit >= 0).to(logit)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,), (logit,) = grad_outputs, ctx.saved_tensors
        soft = torch.sigmoid(logit / ctx.temperature)
        return gradient * soft * (1 - soft) / ctx.temperature, None


def fit_logits(
    model: SparseTransformer,
    task: TokenPairTask,
    options: Pruning,
    penalty: float,
    quiet: bool,
    start: Tensor | None = None,
) -> Tensor:
    """Logits (L, N) in [-1, 1] of masks that minimise the task loss plus `penalty` for each node.

    Args:
        model: with measured means.
        task: prompts; the two of a pair are adjacent.
        options: of the search.
        penalty: per node, at least 0.
        quiet: show no progress bar.
        start: (L, N), means of the initial logits; by default `options.start`.
    """
    network, draw = model.network, torch.Generator().manual_seed(options.seed)
    noise = options.noise * torch.randn(model.means.shape, generator=draw)
    logit = (options.start + noise if start is None else start.cpu() + noise).clamp(-1, 1)
    logit = logit.to(model.device).requires_grad_()
    optimizer = torch.optim.AdamW([logit], options.lr, betas=(0.9, options.beta2), weight_decay=options.weight_decay)
    warm = max(1, round(options.warmup * options.steps))
    pairs = len(task) // 2
    for step in track(range(options.steps), f"pruning at {penalty:g}", shown=not quiet):
        chosen = torch.randperm(pairs, generator=draw)[: options.pairs]
        rows = torch.stack([2 * chosen, 2 * chosen + 1], 1).flatten().to(model.device)
        with torch.enable_grad():
            mask = StraightThroughStep.apply(logit, options.temperature)
            trace = network.trace(Ablation(mask, model.means, network.layout))
            total = task_loss(logit_differences(network, task.rows(rows), trace)) + penalty * mask.sum()
        (logit.grad,) = torch.autograd.grad(total, logit)
        torch.nn.utils.clip_grad_norm_([logit], options.clip)
        optimizer.param_groups[0]["lr"] = options.lr * min((step + 1) / warm, 1 - step / options.steps)
        optimizer.step()
        with torch.no_grad():
            logit.clamp_(-1, 1)
    return logit.detach()


@torch.no_grad()
def smallest_mask(model: SparseTransformer, task: TokenPairTask, logits: Tensor, target: float) -> Tensor:
    """Mask (L, N) bool of the fewest nodes of largest logits (L, N) that reach the target loss, by bisection.

    It starts from all nodes or, if these miss the target, from those whose logit is at least 0; if these miss it too,
    they are the result.
    """
    order = logits.flatten().argsort(descending=True, stable=True)

    def largest(k: int) -> Tensor:
        mask = torch.zeros(order.numel(), device=order.device)
        mask[order[:k]] = 1
        return mask.view(logits.shape)

    def reaches(k: int) -> bool:
        ablation = Ablation(largest(k), model.means, model.network.layout)
        return evaluate_task(model.network, task, ablation)["loss"] <= target

    low, high = 0, logits.numel()
    if not reaches(high):
        high = int((logits >= 0).sum())
        if not reaches(high):
            return largest(high).bool()
    while low < high:
        k = (low + high) // 2
        if reaches(k):
            high = k
        else:
            low = k + 1
    return largest(high).bool()
