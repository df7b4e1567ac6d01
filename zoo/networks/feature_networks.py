"""Small networks of one input each, for all columns of a table at once."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import TableDomain

UNITS = ("relu", "exu")


class FeatureNetworks(nn.Module):
    """n x K functions of one column each, computed by grouped products.

        f(x) = network(value)       of a number that is present
        f(x) = v_j                  where indicator j of the column is 1: a level of a category or a missing code
        network: h = relu(w (x - c))  or  clip(exp(w) (x - c), 0, 1)  with a centre c of each unit ("exu"), then
                 dense ReLU layers, then a linear layer without bias; dropout after each hidden layer

    Args:
        domain: of the table.
        copies: n, the number of independent networks for each column.
        outputs: C', numbers that each function has.
        units: units of the first hidden layer.
        hidden: widths of the dense layers.
        activation: of the first layer, "relu" or "exu".
        dropout: in [0, 1), of hidden units.

    Attributes:
        unit: (C',) factor of all values, so that weights of size 1 fit targets of any size; 1 until it is set.
    """

    place: Tensor
    indicator: Tensor
    first: Tensor
    numeric: Tensor
    unit: Tensor

    def __init__(
        self,
        domain: TableDomain,
        copies: int,
        outputs: int,
        units: int,
        hidden: tuple[int, ...],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        columns, slices = domain.layout, domain.slices
        self.copies, self.activation, self.dropout = copies, activation, dropout
        place = column_support(slices, [(k,) for k in range(len(columns))]).T
        numeric = [k for k, column in enumerate(columns) if column.numeric]
        first = torch.tensor([slices[k].start for k in numeric], dtype=torch.long)
        indicator = torch.ones(len(domain.features))
        indicator[first] = 0.0
        for name, buffer in {"place": place, "indicator": indicator, "first": first}.items():
            self.register_buffer(name, buffer, persistent=False)
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.long), persistent=False)
        self.register_buffer("unit", torch.ones(outputs))
        networks, sizes = copies * len(numeric), (units, *hidden)
        self.weight = nn.Parameter(torch.empty(networks, 1, units))
        self.centre = nn.Parameter(torch.empty(networks, 1, units))
        shapes = list(pairwise(sizes))
        self.layers = nn.ParameterList(nn.Parameter(torch.empty(networks, *shape)) for shape in shapes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(networks, 1, size)) for size in hidden)
        self.output = nn.Parameter(torch.empty(networks, sizes[-1], outputs))
        self.constants = nn.Parameter(torch.zeros(copies, len(domain.features), outputs))
        if numeric:
            self._initialise()

    def _initialise(self) -> None:
        if self.activation == "exu":  # bounds are two standard deviations from the mean; torch's default is absolute
            nn.init.trunc_normal_(self.weight, 4.0, 0.5, 3.0, 5.0)
        else:
            _glorot(self.weight)
        nn.init.trunc_normal_(self.centre, 0.0, 0.5, -1.0, 1.0)
        for weight in (*self.layers, self.output):
            _glorot(weight)

    @torch.no_grad()
    def fit_centres(self, inputs: Tensor) -> None:
        """Puts the centres at random different values of training inputs (N, F)."""
        for k, first in enumerate(self.first.tolist()):
            values = inputs[:, first].unique()
            centre = self.centre[k :: len(self.first)]
            centre.copy_(values[torch.randint(len(values), centre.shape, device=values.device)])

    def forward(self, x: Tensor, dropout: bool = True) -> Tensor:
        """Inputs (B, F) to values (B, n, K, C'); `dropout=False` leaves it out in training as well."""
        rate = self.dropout if dropout else 0.0
        values = x[:, self.first].T[None, :, :, None].expand(self.copies, -1, -1, 1).flatten(0, 1)  # (n K', B, 1)
        if self.activation == "exu":
            h = (self.weight.exp() * (values - self.centre)).clamp(0, 1)
        else:
            h = F.relu(self.weight * (values - self.centre))
        h = F.dropout(h, rate, self.training)
        for weight, bias in zip(self.layers, self.biases, strict=True):
            h = F.dropout(F.relu(torch.baddbmm(bias, h, weight)), rate, self.training)
        networks = torch.bmm(h, self.output).unflatten(0, (self.copies, -1)).permute(2, 0, 1, 3)  # (B, n, K', C')
        hot = x * self.indicator
        constants = torch.einsum("bf,fk,nfc->bnkc", hot, self.place, self.constants)
        present = 1 - (hot @ self.place)[:, self.numeric]  # (B, K')
        found = constants.index_add(2, self.numeric, (networks * present[:, None, :, None]).to(constants.dtype))
        return found * self.unit


def _glorot(weight: Tensor) -> None:
    """Uniform initialisation of weights (networks, inputs, outputs), for each network as for a single one."""
    bound = math.sqrt(6 / (weight.shape[1] + weight.shape[2]))
    nn.init.uniform_(weight, -bound, bound)


def column_support(slices: tuple[slice, ...], terms: list[tuple[int, ...]]) -> Tensor:
    """(K, F) in {0, 1}: the inputs that each unit reads.

    Args:
        slices: of the inputs of each column, `TableDomain.slices`.
        terms: numbers of the columns that each unit reads.
    """
    support = torch.zeros(len(terms), slices[-1].stop)
    for k, columns in enumerate(terms):
        for column in columns:
            support[k, slices[column]] = 1.0
    return support
