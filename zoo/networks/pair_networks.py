"""Small networks of two numbers each, for many pairs at once."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PairNetworks(nn.Module):
    """M functions of two inputs each, computed by grouped products.

        h = relu(W x + b), then dense ReLU layers, then a linear layer without bias

    Args:
        places: of the two inputs of each function among all inputs.
        outputs: C', numbers that each function has.
        units: units of the first hidden layer.
        hidden: widths of the dense layers.
    """

    places: Tensor

    def __init__(
        self, places: Sequence[tuple[int, int]], outputs: int, units: int, hidden: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        sizes = (2, units, *hidden)
        shapes = list(pairwise(sizes))
        self.layers = nn.ParameterList(nn.Parameter(torch.empty(len(places), *shape)) for shape in shapes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(places), 1, size)) for size in sizes[1:])
        self.output = nn.Parameter(torch.empty(len(places), sizes[-1], outputs))
        self.register_buffer("places", torch.tensor(list(places)).view(-1, 2), persistent=False)
        for weight in (*self.layers, self.output):  # for each network as for a single one
            bound = math.sqrt(6 / (weight.shape[1] + weight.shape[2]))
            nn.init.uniform_(weight, -bound, bound)
        nn.init.uniform_(self.biases[0], -1.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, F) to values (B, M, C')."""
        return self.at(x[:, self.places].transpose(0, 1)).transpose(0, 1)

    def at(self, values: Tensor) -> Tensor:
        """The functions (M, n, C') at pairs of numbers (M, n, 2)."""
        h = values
        for weight, bias in zip(self.layers, self.biases, strict=True):
            h = F.relu(torch.baddbmm(bias, h, weight))
        return torch.bmm(h, self.output)
