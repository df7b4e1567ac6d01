"""The base class of encoders."""

from torch import nn


class Encoder(nn.Module):
    """A network that maps inputs (B, ...) to vectors (B, `channels`).

    Attributes:
        channels: length of a vector.
    """

    channels: int
