"""An encoder of time series: a fully convolutional network."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from zoo.networks.base import StateEncoder
from zoo.networks.receptive_field import receptive_field


class SeriesConvNet(StateEncoder):
    """Convolutions over time with batch norm, averaged over time: series (B, T, V) to (B, `channels`).

    The fully convolutional network of Wang, Yan, Oates: "Time Series Classification from Scratch with Deep Neural
    Networks", IJCNN 2017; widths and kernels default to the published ones.

    Args:
        variables: V.
        widths: channels of each convolution; the last one is `channels`.
        kernels: length of each convolution's kernel, in steps.

    Raises:
        ValueError: widths and kernels differ in number, or are below 1.
    """

    def __init__(
        self, variables: int, widths: Sequence[int] = (128, 256, 128), kernels: Sequence[int] = (8, 5, 3)
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels) or not widths or min(*widths, *kernels) < 1:
            raise ValueError(
                f"widths and kernels must be as many numbers above 0; got {list(widths)} and {list(kernels)}."
            )
        sizes = [variables, *widths]
        self.layers = nn.Sequential(
            *(
                layer
                for (a, b), kernel in zip(pairwise(sizes), kernels, strict=True)
                for layer in (
                    nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0),
                    nn.Conv1d(a, b, kernel, bias=False),
                    nn.BatchNorm1d(b),
                    nn.ReLU(),
                )
            )
        )
        self.channels, self.receptive_field = sizes[-1], receptive_field(self.layers)

    def states(self, x: Tensor) -> Tensor:
        """Encodes series (B, T, V) as one vector for each step (B, T, `channels`)."""
        return self.layers(x.mT).mT

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x).mean(1)
