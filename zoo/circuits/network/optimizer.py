"""The sparse optimizer. Each step normalises the gradients, updates, projects to few non-zeros, and decays."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from zoo.circuits.network.schedule import Schedule
from zoo.circuits.network.weight_projection import Budget, Projector

aten = torch.ops.aten


@dataclass(frozen=True)
class SparseParameter:
    """A parameter that is kept sparse.

    Attributes:
        weight: (m, n).
        embedding: whether it has the density of the embeddings.
        alive: smallest number of non-zeros of each neuron.
        axis: axis of the neurons.
    """

    weight: Tensor
    embedding: bool = False
    alive: int = 0
    axis: int = 0

    def budget(self, densities: tuple[float, float]) -> Budget:
        """Number of entries to keep, rounded down, given the densities of the blocks and of the embeddings."""
        return Budget(max(1, int(densities[self.embedding] * self.weight.numel())), self.alive, self.axis)


class SparseAdam(torch.optim.Adam):
    """Adam with sparse weights, and dense gradients and moments, so that zero weights can become non-zero again.

    A step, in the order of the official code: (1) the gradients of each parameter group are divided by their joint root
    mean square plus 1e-5; (2) an Adam step with a large epsilon, which the normalisation makes meaningful; (3) each
    sparse matrix keeps only its largest magnitudes; (4) p <- p - decay * lr * p for every matrix that is not exempt.

    Differs from the paper: the paper clips the root mean square to 1; like the official code, this class always
    normalises, which its epsilon requires.

    Args:
        groups: parameter groups as for any optimizer; "weight_decay" is the decoupled decay of (4).
        sparse: the parameters of (3).
        exempt: matrices without decay.
        schedule: density and learning rate of each step; can be set later.
        betas: of Adam.
        eps: of Adam.

    Attributes:
        step_index: number of the next step, counted from 0; the training loop sets it.

    Gao et al.: "Weight-sparse transformers have interpretable circuits", arXiv 2511.13653, 2025, appendix A.2.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        sparse: Sequence[SparseParameter],
        exempt: Sequence[Tensor] = (),
        schedule: Schedule | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 0.1,
    ) -> None:
        groups = [dict(group) for group in groups]
        self.decays = [float(group.pop("weight_decay", 0.0)) for group in groups]
        super().__init__(groups, betas=betas, eps=eps)
        self.sparse, self.exempt, self.schedule = list(sparse), {id(p) for p in exempt}, schedule
        self.projector = Projector([s.weight for s in self.sparse])
        self.step_index = 0

    @staticmethod
    def of(trainer: Trainer) -> "SparseAdam":
        """The optimizer of a running fit.

        Raises:
            TypeError: the fit uses another optimizer.
        """
        found = trainer.optimizers[0]
        if not isinstance(found, SparseAdam):
            raise TypeError(f"a sparse transformer trains with SparseAdam; got {type(found).__name__}.")
        return found

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if all(p.grad is None for group in self.param_groups for p in group["params"]):  # a stage that trains nothing
            return loss
        if self.schedule is None:
            raise RuntimeError("SparseAdam has no schedule yet; set optimizer.schedule before the first step.")
        for group in self.param_groups:
            if gradients := [p.grad for p in group["params"] if p.grad is not None]:
                normalise(gradients)
        given, factor = [group["lr"] for group in self.param_groups], self.schedule.lr_factor(self.step_index)
        for group in self.param_groups:
            group["lr"] = group["lr"] * factor
        super().step()
        densities = self.schedule.densities(self.step_index + 1)
        self.projector([s.budget(densities) for s in self.sparse])
        self._decay()
        for group, lr in zip(self.param_groups, given, strict=True):
            group["lr"] = lr
        return loss

    @torch.no_grad()
    def _decay(self) -> None:
        for group, decay in zip(self.param_groups, self.decays, strict=True):
            matrices = [p for p in group["params"] if p.ndim > 1 and p.grad is not None and id(p) not in self.exempt]
            if matrices and decay:
                aten._foreach_mul_.Scalar(matrices, 1 - decay * group["lr"])


@torch.no_grad()
def normalise(gradients: Sequence[Tensor]) -> None:
    """Divides gradients in place by their joint root mean square plus 1e-5, without synchronising with the device."""
    count = sum(g.numel() for g in gradients)
    norm = torch.stack(aten._foreach_norm.Scalar(list(gradients))).norm()
    aten._foreach_div_.Tensor(list(gradients), norm / math.sqrt(count) + 1e-5)
