"""The positions of a sequence, each with one vector: words, sentences, stretches of time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain, TextDomain
from zoo.networks.base import StateEncoder
from zoo.networks.elements import Elements


class Positions:
    """The L positions of inputs of `domain`, and what an encoder says at each.

    texts       words, or sentences; pieces of a word count as one position
    series      stretches of `patch` steps, of all variables

    Args:
        domain: of texts or series.
        encoder: gives a state for each token or step.
        patch: steps in a position; 1 for texts.
        sentences: number of sentences of a text that are positions, see `zoo.networks.elements.Elements`; 0: words are.

    Attributes:
        count: L.
        patch: tokens or steps between neighbouring positions.
        reads: tokens or steps that a position depends on; None: all of the input.

    Raises:
        ValueError: a patch larger than the input, or an option that this modality does not have.
    """

    def __init__(self, domain: Domain, encoder: StateEncoder, patch: int = 1, sentences: int = 0) -> None:
        self.domain, self.encoder = domain, encoder
        self.elements = Elements(domain, patch, sentences)
        self.patch, self.count = patch, self.elements.grid[0]
        field = encoder.receptive_field
        several = sentences > 0 or (isinstance(domain, TextDomain) and bool(domain.tokenizer))
        self.reads = None if field is None or several else field.size + (patch - 1) * field.jump

    def names(self) -> tuple[str, ...]:
        """Names of the positions, such as "word 3", or "steps 4 to 7"."""
        if isinstance(self.domain, TextDomain):
            return self.elements.names()
        first, last = range(0, self.domain.shape[0], self.patch), self.domain.shape[0] - 1
        if self.patch == 1:
            return tuple(f"step {t}" for t in first)
        return tuple(f"steps {t} to {min(t + self.patch - 1, last)}" for t in first)

    def present(self, x: Tensor) -> Tensor | None:
        """(B, L) bool, the positions that each input has; None if every input has all of them."""
        return self.elements.present(x)

    def states(self, x: Tensor) -> Tensor:
        """One vector for each position (B, L, D)."""
        states = self.encoder.states(x)
        if isinstance(self.domain, TextDomain):
            return self.elements.average(states, x)
        return states if self.patch == 1 else F.avg_pool1d(states.mT, self.patch, ceil_mode=True).mT

    def support(self, x: Tensor) -> Tensor:
        """(B, L, *S) in {0, 1}, where each position is: (T,) tokens, sentences or stretches."""
        here = torch.eye(self.count, device=x.device).expand(x.shape[0], -1, -1)
        return self.elements.support(here, x) if isinstance(self.domain, TextDomain) else here
