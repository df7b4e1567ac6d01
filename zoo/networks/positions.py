"""The positions of a sequence, each with one vector: words, sentences, stretches of time."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import AudioDomain, Domain, TextDomain
from zoo.networks.base import StateEncoder
from zoo.networks.elements import Elements
from zoo.utils.checks import check_at_least


class Positions:
    """The L positions of inputs of `domain`, and what an encoder says at each.

    texts       words, or sentences; pieces of a word count as one position
    series      stretches of `patch` states, of all variables
    audio       stretches of `patch` states, each of as many frames as the encoder's stride, of all bands

    Args:
        domain: of texts, series or audio.
        encoder: gives a state for each token, step, or few frames.
        patch: states in a position; 1 for texts.
        sentences: number of sentences of a text that are positions, see `zoo.networks.elements.Elements`; 0: words are.

    Attributes:
        count: L.
        step: tokens, steps or frames between neighbouring positions.
        reads: tokens, steps or frames that a position depends on; None: all of the input.

    Raises:
        ValueError: a patch larger than the input, or an option that this modality does not have.
    """

    def __init__(self, domain: Domain, encoder: StateEncoder, patch: int = 1, sentences: int = 0) -> None:
        self.domain, self.encoder, self.patch = domain, encoder, patch
        field = encoder.receptive_field
        jump = 1 if field is None else field.jump
        self.step, length = patch * jump, domain.shape[0]
        self.elements: Elements | None = None
        if isinstance(domain, TextDomain):
            self.elements = Elements(domain, patch, sentences)
            self.count = self.elements.count
            several = self.elements.several
        else:
            check_at_least(1, patch=patch)
            if sentences or self.step > length:
                raise ValueError(
                    f"positions of {domain.noun} are at most {length // jump} states long and no sentences; got patch "
                    f"{patch} and sentences {sentences}."
                )
            self.count, several = math.ceil(length / self.step), False
        self.reads = None if field is None or several else field.size + (patch - 1) * jump

    def names(self) -> tuple[str, ...]:
        """Names of the positions, such as "word 3", "steps 4 to 7", or "0.128 s"."""
        if self.elements is not None:
            return self.elements.names()
        first, last = range(0, self.domain.shape[0], self.step), self.domain.shape[0] - 1
        if isinstance(self.domain, AudioDomain):
            return tuple(f"{t * self.domain.step:.3f} s" for t in first)
        if self.step == 1:
            return tuple(f"step {t}" for t in first)
        return tuple(f"steps {t} to {min(t + self.step - 1, last)}" for t in first)

    def locality(self) -> str:
        """What the state at a position depends on, such as "3 words, itself and those around it"."""
        text = isinstance(self.domain, TextDomain)
        if self.reads is None:
            return f"the complete {'text' if text else 'series' if self.domain.modality == 'series' else 'clip'}"
        if isinstance(self.domain, AudioDomain):
            seconds = ((self.reads - 1) * self.domain.hop + self.domain.window) / self.domain.rate
            return f"the {seconds:.2f} s of sound around it"
        if self.reads == self.step:
            return "it alone"
        return f"{self.reads} {'words' if text else 'steps'}, itself and those around it"

    def present(self, x: Tensor) -> Tensor | None:
        """(B, L) bool, the positions that each input has; None if every input has all of them."""
        return None if self.elements is None else self.elements.present(x)

    def states(self, x: Tensor) -> Tensor:
        """One vector for each position (B, L, D)."""
        states = self.encoder.states(x)
        if self.elements is not None:
            return self.elements.average(states, x)
        return states if self.patch == 1 else F.avg_pool1d(states.mT, self.patch, ceil_mode=True).mT

    def support(self, x: Tensor) -> Tensor:
        """(B, L, *S) in {0, 1}, where each position is: (T,) tokens, sentences or stretches."""
        here = torch.eye(self.count, device=x.device).expand(x.shape[0], -1, -1)
        return here if self.elements is None else self.elements.support(here, x)
