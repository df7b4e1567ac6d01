"""Encoders of tables: a multilayer perceptron, or the rows as they are."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from zoo.networks.base import Encoder

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(Encoder):
    """A multilayer perceptron with an activation after every layer: (B, F) to (B, `channels`).

    Args:
        features: F.
        widths: width of each layer; the last one is `channels`.
        activation: "relu", "leaky_relu", "tanh" or "gelu".

    Raises:
        ValueError: an unknown activation, or widths below 1.
    """

    def __init__(self, features: int, widths: Sequence[int] = (128, 128), activation: str = "leaky_relu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got '{activation}'.")
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be one or more numbers above 0; got {list(widths)}.")
        sizes = [features, *widths]
        self.layers = nn.Sequential(
            *(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), ACTIVATIONS[activation]()))
        )
        self.channels = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Identity(Encoder):
    """Returns rows (B, F) unchanged; for tables of features that another network computed. `channels` is F."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = features

    def forward(self, x: Tensor) -> Tensor:
        return x
