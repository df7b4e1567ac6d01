"""The top-activating training texts of each unit, and the token at which it fires most in each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.core.training_examples import TrainingExamples
from zoo.domain import TextDomain
from zoo.domain.text import PAD
from zoo.training.projection_set import ProjectionSet


class TokenExamples(nn.Module):
    """The n training texts in which each of K units fires most at some token.

    Buffer: `token` (K, n) numbers of these tokens, padding where there is none; the texts themselves are not kept.

    Args:
        units: K.
        count: n.
    """

    token: Tensor

    def __init__(self, units: int, count: int) -> None:
        super().__init__()
        self.examples = TrainingExamples(units, count)
        self.register_buffer("token", torch.full((units, count), PAD))

    def fill(self, projection_set: ProjectionSet, maps: Callable[[Tensor], Tensor]) -> None:
        """Finds the texts in one pass over the training set.

        Args:
            projection_set: the training set.
            maps: from token numbers (B, T) to activations (B, K, T), at least 0.
        """
        found = self.examples.find(projection_set, maps)
        self.token.fill_(PAD)
        texts = {i: projection_set.input(i) for i in found.index.unique().tolist()}
        for k, n in (found.value > 0).nonzero().tolist():
            self.token[k, n] = texts[int(found.index[k, n])][found.cell[k, n]]

    def words(self, unit: int, domain: TextDomain) -> list[str]:
        """The different tokens of one unit, as the domain writes them, the strongest first."""
        return [domain.token(n) for n in dict.fromkeys(self.token[unit].tolist()) if n != PAD]
