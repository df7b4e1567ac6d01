"""The sparse optimizer: normalise the gradient, step, project to few non-zeros, decay; in this order."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.network.weight_projection import Budget, Projector


@dataclass(frozen=True)
class Schedule:
    """Density and learning rate of every step: pure functions of its number.

    The density falls from 1 to its target between the shares `start` and `end` of all steps, in a straight line or,
    as a power law, in a straight line of logarithms. The learning rate is warmed up, falls to 0 in a straight line, and
    is multiplied by sqrt(target / density), which lets it rise as the network becomes sparse (Gao et al., appendix
    A.2; "sharkfin").

    Attributes:
        steps: in all.
        density: the target, of the blocks' matrices.
        embedding_density: the target of embedding and unembedding.
        start, end: of the anneal, shares of all steps; end 0: the target from the first step on.
        warmup: share of all steps.
        power: whether the density falls as a power law.
    """

    steps: int
    density: float
    embedding_density: float
    start: float = 0.01
    end: float = 0.5
    warmup: float = 0.01
    power: bool = False

    def densities(self, step: int) -> tuple[float, float]:
        """Of the blocks' matrices, and of embedding and unembedding, after `step` steps."""
        if self.end == 0:
            return self.density, self.embedding_density
        done = (step / max(self.steps, 1) - self.start) / max(self.end - self.start, 1e-9)
        done = min(max(done, 0.0), 1.0)
        if self.power:
            return self.density**done, self.embedding_density**done
        return tuple(1 + done * (target - 1) for target in (self.density, self.embedding_density))  # pyright: ignore

    def lr_factor(self, step: int) -> float:
        """What the learning rate of step number `step` (from 0) is multiplied with."""
        warm = self.warmup * self.steps
        rise = min(1.0, (step + 1) / warm) if warm else 1.0
        fall = 1 - step / max(self.steps, 1)
        return rise * max(fall, 0.0) * math.sqrt(self.density / self.densities(step)[0])


@dataclass(frozen=True)
class Sparse:
    """A parameter that is kept sparse.

    Attributes:
        weight: (m, n).
        embedding: whether it has the density of embeddings.
        alive: the least number of non-zeros of each neuron, and
        axis: the axis of the neurons.
    """

    weight: Tensor
    embedding: bool = False
    alive: int = 0
    axis: int = 0

    def budget(self, densities: tuple[float, float]) -> Budget:
        """How many entries stay at these densities."""
        return Budget(max(1, round(densities[self.embedding] * self.weight.numel())), self.alive, self.axis)


class SparseAdam(torch.optim.Adam):
    """Adam whose weights stay sparse while its gradients and moments are dense, so that weights can grow again.

    A step, in the order of the official code: (1) every gradient is divided by the root mean square of all gradients
    of its parameter group together, plus 1e-5; (2) Adam, with a large epsilon that this makes sense of; (3) each sparse
    matrix keeps its largest magnitudes; (4) decay, p <- p - decay lr p, of every matrix that is not exempt.

    How this differs from the paper: it says that the root mean square is clipped to 1; the official code normalises
    always, which is what its epsilon needs.

    Args:
        groups: parameter groups as any optimizer takes them; "weight_decay" is the decoupled one of (4).
        sparse: the parameters of (3).
        exempt: matrices without decay.
        schedule: of density and learning rate; may be set later.
        betas, eps: of Adam.

    Gao et al.: "Weight-sparse transformers have interpretable circuits", arXiv 2511.13653, appendix A.2.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        sparse: Sequence[Sparse],
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
        self.at = 0  # the number of the next step, set by who trains

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        learning = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not learning:  # an epoch that only measures
            return loss
        if self.schedule is None:
            raise RuntimeError("SparseAdam has no schedule yet; set optimizer.schedule before the first step.")
        for group in self.param_groups:
            if gradients := [p.grad for p in group["params"] if p.grad is not None]:
                normalise(gradients)
        given, factor = [group["lr"] for group in self.param_groups], self.schedule.lr_factor(self.at)
        for group in self.param_groups:
            group["lr"] = group["lr"] * factor
        super().step()
        densities = self.schedule.densities(self.at + 1)
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
                torch._foreach_mul_(matrices, 1 - decay * group["lr"])


@torch.no_grad()
def normalise(gradients: Sequence[Tensor]) -> None:
    """Divides gradients by the root mean square of all of them together plus 1e-5, in place and on the device."""
    count = sum(g.numel() for g in gradients)
    norm = torch.stack(torch._foreach_norm(list(gradients))).norm()
    torch._foreach_div_(list(gradients), norm / math.sqrt(count) + 1e-5)
