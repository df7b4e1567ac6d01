"""The mask generator of TimeX: an encoder of the series, and a decoder with one chance for each step and sensor."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import SeriesDomain
from zoo.networks.base import StateEncoder
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder

TIMES = 16  # numbers of the time code


class MaskGenerator(nn.Module):
    """Logits (B, L) of the elements of a series, from two decoder blocks over its steps.

        memory = encoder(x)                                    (B, T, E), a state for each step
        h = decoder([x ; time code], memory)                   (B, T, width)
        logit = mean over the element's steps of w_v · h + b_v      sensor v

    Args:
        spec: of the encoder, see `zoo.networks.encoders.create_encoder`.
        domain: of the series.
        elements: stretches of the series that are selected together.
        width: of the decoder, a multiple of 4.
        dropout: dropout probability of the decoder in training, in [0, 1).

    Raises:
        ValueError: an encoder without a state for each step.
    """

    time: Tensor

    def __init__(
        self, spec: str | Mapping[str, Any], domain: SeriesDomain, elements: Elements, width: int, dropout: float
    ) -> None:
        super().__init__()
        encoder, (length, sensors) = create_encoder(spec, domain), domain.shape
        if not isinstance(encoder, StateEncoder):
            raise ValueError(f"the mask generator needs a backbone with a state for each step; got {spec!r}.")
        self.encoder, self.elements = encoder, elements
        self.register_buffer("time", time_code(length, TIMES), persistent=False)
        self.embed = nn.Linear(sensors + TIMES, width)
        self.memory = nn.Linear(encoder.channels, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, dropout) for _ in range(2))
        self.score = nn.Linear(width, sensors)
        nn.init.xavier_uniform_(self.score.weight)
        nn.init.constant_(self.score.bias, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.memory(self.encoder.states(x))
        h = self.embed(torch.cat([x, self.time.to(x.dtype).expand(x.shape[0], -1, -1)], 2))
        for block in self.blocks:
            h = block(h, memory)
        return self.elements.reduce(self.score(h)[:, None])[:, 0]


class DecoderBlock(nn.Module):
    """Post-norm attention to itself and to a memory, then a feed-forward layer, with one head.

    Args:
        width: of states (B, T, width) and memory.
        dropout: dropout probability during training, in [0, 1).
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(Attention(width) for _ in range(2))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, memory: Tensor) -> Tensor:
        h = self.norms[0](h + self.drop(self.attentions[0](h, h)))
        h = self.norms[1](h + self.drop(self.attentions[1](h, memory)))
        return self.norms[2](h + self.drop(self.feed(h)))


class Attention(nn.Module):
    """Attention of one head from states (B, T, width) to a memory (B, S, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, memory: Tensor) -> Tensor:
        key, value = self.key_value(memory).chunk(2, 2)
        seen = F.scaled_dot_product_attention(self.query(h)[:, None], key[:, None], value[:, None])
        return self.out(seen[:, 0])


def time_code(length: int, size: int) -> Tensor:
    """(length, size) sines and cosines of the step, of wavelengths from 2π to 2π · length."""
    rate = torch.exp(torch.arange(0, size, 2) * (-math.log(max(length, 2)) / size))
    angle = torch.arange(length)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)
