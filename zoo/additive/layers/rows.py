"""The rows of a table while an additive model is fitted: their bins, targets and current scores."""

import torch
from torch import Tensor

from zoo.additive.layers.blocks import FLOAT, BinColumn
from zoo.additive.layers.likelihood import Task, derivatives, loss


class Rows:
    """Rows, with a target in standard units if it is a number.

    Args:
        bins: (N, K) integers.
        columns: what each column is.
        target: (N,) values or class numbers.
        task: regression, binary or multiclass.
        classes: number of classes of a multiclass task.
        weight: (N,) >= 0; by default 1.
        offset: (N, C') what the scores have besides the effects that are fitted; by default 0.

    Attributes:
        bins: (K, N).
        score: (N, C').
        shift: mean of the target; `unit` is its standard deviation. 0 and 1 for classes.
        noise: variance of the residual in standard units; 1 for classes.
    """

    def __init__(
        self,
        bins: Tensor,
        columns: list[BinColumn],
        target: Tensor,
        task: Task,
        classes: int,
        weight: Tensor | None,
        offset: Tensor | None = None,
    ) -> None:
        self.bins = bins.T.to(torch.int32).contiguous()
        self.columns = columns
        self.task: Task = task
        self.weight = torch.ones(len(target), dtype=FLOAT) if weight is None else weight.to(FLOAT)
        self.total = float(self.weight.sum())
        target = target.to(FLOAT)
        self.shift, self.unit, self.noise = 0.0, 1.0, 1.0
        if task == "regression":
            self.shift = float(target @ self.weight) / self.total
            self.unit = (float((target - self.shift).square() @ self.weight) / self.total) ** 0.5 or 1.0
        self.target = (target - self.shift) / self.unit
        self.outputs = classes if task == "multiclass" else 1
        self.score = torch.zeros(len(target), self.outputs, dtype=FLOAT)
        if offset is not None:
            self.score += offset / self.unit

    def derivatives(self, output: int) -> tuple[Tensor, Tensor]:
        """Residual (N,) and curvature (N,) of a column of scores, times the weights of the rows."""
        residual, curvature = derivatives(self.task, self.score, self.target, output, self.noise)
        return residual * self.weight, curvature * self.weight

    def counts(self, k: int) -> Tensor:
        """Weight of the rows in each bin of a column."""
        return torch.bincount(self.bins[k], self.weight, minlength=self.columns[k].bins)

    def loss(self) -> float:
        """Mean loss, in standard units."""
        return loss(self.task, self.score, self.target, self.weight)

    def renew_noise(self, freedom: float) -> None:
        """Estimates the variance of the residual, given the degrees of freedom that the effects use."""
        if self.task == "regression":
            squares = float((self.target - self.score[:, 0]).square() @ self.weight)
            self.noise = max(squares / max(self.total - freedom, 1.0), 1e-12)
