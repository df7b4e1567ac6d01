"""Many small networks of one number each, computed together."""

import torch
from torch import Tensor, nn

FEW = 2  # rows for each distinct number from which on these are computed once


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
        """Values (N, K, C') from numbers (N, K).

        Degrees and indicators take few values: on a CPU each distinct number is computed once.
        """
        if x.device.type != "cpu" or x.requires_grad or torch.compiler.is_compiling():
            return self.at(x.T)
        distinct, place = torch.unique(x, return_inverse=True)  # (U,), (N, K)
        if len(distinct) * FEW > len(x):
            return self.at(x.T)
        count = x.shape[1]
        table = self.at(distinct.expand(count, -1)).transpose(0, 1)  # (K, U, C')
        rows = place + torch.arange(count, device=x.device) * len(distinct)
        return nn.functional.embedding(rows, table.flatten(0, 1))

    def at(self, x: Tensor) -> Tensor:
        """Values (N, K, C') from numbers (K, N), each computed."""
        h = x[..., None]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = h.relu() if layer < len(self.weights) - 1 else h
        return h.transpose(0, 1)
