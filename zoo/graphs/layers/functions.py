"""Many small networks of one number each, computed together."""

import torch
from torch import Tensor, nn


class Functions(nn.Module):
    """K functions of one number with C' outputs, each a network with two hidden layers of ReLU units.

    Args:
        count: K.
        hidden: units of each hidden layer.
        outputs: C'.
    """

    def __init__(self, count: int, hidden: int, outputs: int) -> None:
        super().__init__()
        sizes = ((1, hidden), (hidden, hidden), (hidden, outputs))
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(count, a, b).uniform_(-1, 1).mul_(a**-0.5)) for a, b in sizes
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.empty(count, 1, b).uniform_(-1, 1).mul_(a**-0.5)) for a, b in sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, K, C') from numbers (N, K)."""
        h = x.T[..., None]  # (K, N, 1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = h.relu() if layer < len(self.weights) - 1 else h
        return h.transpose(0, 1)
