"""The base class of encoders."""

from torch import Tensor, nn


class Encoder(nn.Module):
    """A network from inputs (B, *shape) of a domain to vectors (B, `channels`).

    Attributes:
        channels: length of the vectors.
    """

    channels: int

    def forward(self, x: Tensor) -> Tensor:
        """Encodes inputs (B, *shape) as vectors (B, `channels`)."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")


class StateEncoder(Encoder):
    """An encoder of sequences that also gives one vector for each token or time step."""

    def states(self, x: Tensor) -> Tensor:
        """Encodes inputs (B, T, ...) as one vector for each position (B, T, `channels`)."""
        raise NotImplementedError(f"{type(self).__name__} does not define states()")
