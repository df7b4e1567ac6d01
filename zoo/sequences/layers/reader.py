"""Reads sequences as token vectors, and adds up what is said of tokens to what is said of units.

A token vector is the vector of a word, or a linear map of the values of a step or frame and a bias. The bias belongs to
no value: it counts as "bias path", so that a value of 0, the mean of the training data, contributes nothing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Unit
from zoo.domain import Domain, SeriesDomain, TextDomain
from zoo.domain.text import PAD
from zoo.networks.base import StateEncoder
from zoo.networks.elements import Elements
from zoo.networks.positions import Positions
from zoo.networks.receptive_field import ReceptiveField

MODALITIES = ("text", "series", "audio")
BIAS_PATH = "bias path"


class TokenVectors(StateEncoder):
    """One vector for each token, which depends on that token alone: (B, T, ...) to (B, T, `channels`)."""

    receptive_field = ReceptiveField()

    def __init__(self, domain: Domain, width: int) -> None:
        super().__init__()
        self.channels, self.words = width, isinstance(domain, TextDomain)
        self.embedding: nn.Embedding | nn.Linear
        if isinstance(domain, TextDomain):
            self.embedding = nn.Embedding(domain.size, width, padding_idx=PAD)
        else:
            self.embedding = nn.Linear(domain.shape[1], width)

    def states(self, x: Tensor) -> Tensor:
        return self.embedding(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x).mean(1)


class TokenReader(nn.Module):
    """Token vectors of inputs, and the units that their terms are added up to.

    texts       words; pieces of a word are added up, and with `sentences` all words of a sentence
    series      stretches of `patch` steps of each variable, or of all variables with `by_variable=False`
    audio       stretches of `patch` frames, of all bands

    and the unit "bias path" at the end.

    Args:
        domain: of texts, series or audio.
        width: D, of the token vectors.
        dropout: probability of a number of a word's vector to be left out in training.
        by_variable: whether the variables of a series are separate units.
        patch: steps or frames of a unit; 1 for texts.
        sentences: see `zoo.networks.elements.Elements`.

    Raises:
        ValueError: another modality, or an option that it does not have.
    """

    def __init__(
        self,
        domain: Domain,
        width: int,
        dropout: float = 0.0,
        by_variable: bool = True,
        patch: int = 1,
        sentences: int = 0,
    ) -> None:
        super().__init__()
        self.vectors = TokenVectors(domain, width)
        self.drop, self.patch, self.width = nn.Dropout(dropout), patch, width
        self.elements: Elements | None = None
        if isinstance(domain, SeriesDomain) and by_variable:
            self.elements = Elements(domain, patch, sentences)
            names, kind = self.elements.names(), "step"
        else:
            self.positions = Positions(domain, self.vectors, patch, sentences)
            names, kind = self.positions.names(), "position"
        self.count = len(names)
        self.units = (*(Unit(name, kind) for name in names), Unit(BIAS_PATH, "bias"))

    def forward(self, x: Tensor) -> Tensor:
        """Token vectors, time first (T, B, D)."""
        u = self.vectors.states(x.transpose(0, 1).contiguous())
        return self.drop(u) if self.vectors.words else u

    def here(self, x: Tensor) -> Tensor:
        """(T, B), 1 at tokens and 0 at padding."""
        dtype = self.vectors.embedding.weight.dtype
        if self.vectors.words:
            return (x != PAD).T.to(dtype)
        return torch.ones_like(x[..., 0], dtype=dtype).T

    @property
    def bias(self) -> Tensor | None:
        """The part (D,) of each token vector that does not depend on the token."""
        return None if self.vectors.words else self.vectors.embedding.bias  # pyright: ignore[reportReturnType]

    def terms(self, x: Tensor, values: Tensor, reach: Tensor, value: Tensor | None, matrix: Tensor) -> Tensor:
        """What each token, or each variable of a step, gives to the scores: ⟨matrix_c, reach_k ⊙ value · vector_k⟩.

        Args:
            x: inputs (B, T, ...).
            values: value · vector, of token vectors without their bias (T, B, E).
            reach: (T, B, E).
            value: (E, D), or None for the identity.
            matrix: (C, E).

        Returns:
            (T, B, V, C), V = 1 unless variables are units.
        """
        if self.elements is None:
            return ((reach * values) @ matrix.T)[:, :, None]
        columns = self.vectors.embedding.weight if value is None else value @ self.vectors.embedding.weight  # (E, V)
        each = reach.contiguous() @ (columns[:, :, None] * matrix.T[:, None]).flatten(1)  # (T, B, V·C)
        return each.unflatten(2, (columns.shape[1], -1)) * x.transpose(0, 1)[..., None]

    def add_up(self, terms: Tensor, x: Tensor) -> Tensor:
        """Terms of tokens (T, B, V, C) as those of units (B, K - 1, C)."""
        terms = terms.transpose(0, 1)
        if self.elements is None and self.positions.elements is not None:
            return self.positions.elements.total(terms[:, :, 0], x)
        steps = terms.shape[1]
        short = -(-steps // self.patch) * self.patch - steps
        return F.pad(terms, (0, 0, 0, 0, 0, short)).unflatten(1, (-1, self.patch)).sum(2).flatten(1, 2)

    def activation(self, x: Tensor) -> Tensor:
        """(B, K): 1, and 0 for words that a text does not have."""
        ones = torch.ones_like(x[:, :1], dtype=self.vectors.embedding.weight.dtype).reshape(x.shape[0], -1)[:, :1]
        if self.elements is None and self.positions.elements is not None:
            there = self.positions.elements.total((x != PAD)[..., None].to(ones.dtype), x)[..., 0] > 0
            return torch.cat([there.to(ones.dtype), ones], 1)
        return ones.expand(-1, self.count + 1)

    def support(self, x: Tensor) -> Tensor:
        """(B, K, *S) in {0, 1}, where each unit is; the bias path is nowhere."""
        if self.elements is not None:
            found = torch.eye(self.count, device=x.device).expand(x.shape[0], -1, -1)
            found = found.unflatten(2, self.elements.grid)
        else:
            found = self.positions.support(x)
        return torch.cat([found, torch.zeros_like(found[:, :1])], 1)
