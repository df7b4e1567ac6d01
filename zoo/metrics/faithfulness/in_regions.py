"""A subject whose explanations are joined into regions."""

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.core.regions import regions_of
from zoo.metrics.faithfulness.subject import Case, Subject


class InRegions(Subject):
    """A model whose explanations have a few regions as units, see `Explanation.in_regions`.

    Args:
        subject: the model with its own units.
        count: number of regions.
    """

    same_units = False

    def __init__(self, subject: Subject, count: int) -> None:
        super().__init__(subject.model, subject.limit)
        self.subject, self.count = subject, count

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        return self.subject.explain(x, target).in_regions(self.count)

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        return self.subject.margins(x, target)

    def joined(self, case: Case, values: Tensor) -> Tensor:
        shares = regions_of(self.subject.explain(case.x, case.target), self.count)[0]
        return torch.einsum("bnk,bk->bn", shares, values.to(shares)).to(values)
