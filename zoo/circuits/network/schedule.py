"""Density and learning rate of a sparse training as functions of the step."""

import math
from dataclasses import dataclass

from lightning import Trainer


@dataclass(frozen=True)
class Schedule:
    """Density and learning rate of every step.

    The density of the blocks falls from 1 to its target between the shares `start` and `end` of all steps: linearly,
    or by a power law, log density being linear in log step. The density of the embeddings has made the same share of
    its way. The learning rate rises linearly from 0 during the warm-up, then falls linearly to 0, and is multiplied by
    sqrt(target / density), so that it rises as the network becomes sparse ("sharkfin" schedule).

    Differs from the published code: step i is projected to the density of step i + 1, so that an anneal that lasts
    until the last step reaches its target.

    Attributes:
        steps: total number of steps.
        density: target density of the matrices of the blocks.
        embedding_density: target density of embedding and unembedding.
        start: share of the steps after which the anneal starts.
        end: share of the steps after which it ends; if 0, the target holds from the first step.
        warmup: share of the steps in which the learning rate rises.
        power: anneal the density by a power law.

    Gao et al., arXiv 2511.13653, 2025, appendix A.2.
    """

    steps: int
    density: float
    embedding_density: float
    start: float = 0.01
    end: float = 0.5
    warmup: float = 0.01
    power: bool = False

    def densities(self, step: int) -> tuple[float, float]:
        """Densities of the matrices of the blocks, and of embedding and unembedding, after `step` steps."""
        if self.end == 0:
            return self.density, self.embedding_density
        done = self._power_share(step) if self.power else self._linear_share(step)
        return 1 + done * (self.density - 1), 1 + done * (self.embedding_density - 1)

    def _linear_share(self, step: int) -> float:
        """Share of the way from a density of 1 to the target after `step` steps."""
        done = (step / max(self.steps, 1) - self.start) / max(self.end - self.start, 1e-9)
        return min(max(done, 0.0), 1.0)

    def _power_share(self, step: int) -> float:
        """The same share where log density is linear in log step; the anneal starts at step 1 or later."""
        first, last = max(self.start * self.steps, 1.0), max(self.end * self.steps, 1.0)
        if step <= first or self.density == 1:
            return float(step >= last)
        done = min(math.log(step / first) / math.log(last / first), 1.0) if last > first else 1.0
        return (1 - self.density**done) / (1 - self.density)

    def lr_factor(self, step: int) -> float:
        """Factor of the learning rate in step number `step`, counted from 0."""
        warm = int(self.warmup * self.steps)
        rise = step / warm if step < warm else 1 - (step - warm) / max(self.steps - warm, 1)
        return max(rise, 0.0) * math.sqrt(self.density / self.densities(step)[0])


def steps_per_epoch(trainer: Trainer) -> int:
    """Optimizer steps per epoch of a running fit."""
    return -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
