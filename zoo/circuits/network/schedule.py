"""Density and learning rate of a sparse training as functions of the step."""

import math
from dataclasses import dataclass

from lightning import Trainer


@dataclass(frozen=True)
class Schedule:
    """Density and learning rate of every step.

    The density falls from 1 to its target between the shares `start` and `end` of all steps, linearly or, as a power
    law, linearly in its logarithm. The learning rate is warmed up, falls linearly to 0, and is multiplied by
    sqrt(target / density), so that it rises as the network becomes sparse ("sharkfin" schedule).

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
        done = (step / max(self.steps, 1) - self.start) / max(self.end - self.start, 1e-9)
        done = min(max(done, 0.0), 1.0)
        if self.power:
            return self.density**done, self.embedding_density**done
        return 1 + done * (self.density - 1), 1 + done * (self.embedding_density - 1)

    def lr_factor(self, step: int) -> float:
        """Factor of the learning rate in step number `step`, counted from 0."""
        warm = self.warmup * self.steps
        rise = min(1.0, (step + 1) / warm) if warm else 1.0
        fall = 1 - step / max(self.steps, 1)
        return rise * max(fall, 0.0) * math.sqrt(self.density / self.densities(step)[0])


def steps_per_epoch(trainer: Trainer) -> int:
    """Optimizer steps per epoch of a running fit."""
    return -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
