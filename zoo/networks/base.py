"""The base class of encoders, and features that one computed before."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.networks.receptive_field import ReceptiveField


class Features(Tensor):
    """What a frozen backbone or encoder computed before: maps (B, D, h, w) of images, or vectors (B, D) of texts.

    In place of inputs, the backbone returns them as they are. The result of any operation on them is a plain tensor.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


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
    """An encoder of sequences that also gives one vector for each token or time step.

    Attributes:
        places: whether tokens can be left out: `forward` also takes the place (B, T) of each remaining one.
        receptive_field: the tokens or steps that each state depends on; None: on the complete input.
    """

    places: bool = False
    receptive_field: ReceptiveField | None = None

    def states(self, x: Tensor) -> Tensor:
        """Encodes inputs (B, T, ...) as one vector for each position (B, T, `channels`)."""
        raise NotImplementedError(f"{type(self).__name__} does not define states()")
