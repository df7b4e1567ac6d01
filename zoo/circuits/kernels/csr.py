"""Inference on the CPU with weights in compressed sparse row (CSR) format."""

import copy
import warnings
from collections.abc import Iterable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)
SMALL = 32  # for fewer inputs, torch.mm is faster than embedding_bag
BLOCK = 256  # inputs per step, so that they stay in the cache


def to_csr(weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Converts a matrix to CSR format with 32-bit indices, which the fast kernels use without conversion.

    A bias becomes an additional last column, whose input is always 1; this saves one pass over the outputs.

    Args:
        weight: (m, n).
        bias: (m,), or None.

    Raises:
        ValueError: the weight is not a matrix, or has 2^31 or more entries.
    """
    if weight.ndim != 2 or weight.numel() >= 2**31:
        raise ValueError(f"expected a matrix (m, n) of fewer than 2^31 entries; got shape {tuple(weight.shape)}.")
    weight = weight.detach()
    weight = weight if bias is None else torch.cat([weight, bias.detach()[:, None]], 1)
    row, column = weight.nonzero(as_tuple=True)
    start = torch.zeros(weight.shape[0] + 1, dtype=torch.int32, device=weight.device)
    start[1:] = torch.bincount(row, minlength=weight.shape[0]).cumsum(0)
    return _csr(start, column.int(), weight[row, column], weight.shape)


def csr_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Computes X W^T + b, as `torch.nn.functional.linear` does, for a weight in CSR format.

    Args:
        x: (..., n), fp32 or fp64.
        weight: from `to_csr`, (m, n), or (m, n + 1) with a bias; of the dtype of x.

    Returns:
        (..., m).

    Raises:
        ValueError: the weight is not in CSR format, or the shapes do not match.
    """
    if weight.layout != torch.sparse_csr:
        raise ValueError(f"the weight must be in CSR format (see to_csr); got layout {weight.layout}.")
    if x.ndim == 0 or weight.shape[1] - x.shape[-1] not in (0, 1):
        raise ValueError(f"a weight {tuple(weight.shape)} needs inputs (..., {weight.shape[1]}); got {tuple(x.shape)}.")
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])  # (B, n)
    if rows.shape[0] <= BLOCK:
        out = _product(weight, rows)
    else:
        out = rows.new_empty(weight.shape[0], rows.shape[0])
        for start in range(0, rows.shape[0], BLOCK):
            out[:, start : start + BLOCK] = _product(weight, rows[start : start + BLOCK])
    return out.T.reshape(*x.shape[:-1], weight.shape[0])


def _product(weight: Tensor, rows: Tensor) -> Tensor:
    """Output (m, B) for rows (B, n): each output is a weighted sum of a few inputs, as in an embedding bag."""
    biased = weight.shape[1] > rows.shape[1]
    inputs = torch.cat([rows.T, rows.new_ones(1, rows.shape[0])]) if biased else rows.T.contiguous()
    if rows.shape[0] == 1:
        return torch.mv(weight, inputs[:, 0])[:, None]
    if rows.shape[0] < SMALL:
        return torch.mm(weight, inputs)
    column, start, values = weight.col_indices(), weight.crow_indices(), weight.values()
    return F.embedding_bag(column, inputs, start, mode="sum", per_sample_weights=values, include_last_offset=True)


class SparseLinear(nn.Module):
    """A linear layer that stores and multiplies only its non-zero weights; for inference on the CPU.

    All-zero columns, and rows whose output is always 0, are dropped. The result is exact for finite inputs.

    Args:
        linear: a layer whose weight has few non-zeros; it is not changed.
    """

    rows: Tensor | None
    columns: Tensor | None
    start: Tensor
    column: Tensor
    values: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.out_features, self.in_features = weight.shape
        self.biased = linear.bias is not None
        whole = torch.cat([weight, linear.bias.detach()[:, None]], 1) if self.biased else weight
        rows, columns = (whole != 0).any(1).nonzero()[:, 0], (weight != 0).any(0).nonzero()[:, 0]
        bias = linear.bias[rows] if self.biased else None
        csr = to_csr(weight[rows][:, columns], bias)
        self.register_buffer("rows", None if len(rows) == self.out_features else rows)
        self.register_buffer("columns", None if len(columns) == self.in_features else columns)
        self.register_buffer("start", csr.crow_indices())
        self.register_buffer("column", csr.col_indices())
        self.register_buffer("values", csr.values())
        self.live = tuple(csr.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (..., m) for inputs (..., n)."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"expected inputs (..., {self.in_features}); got {tuple(x.shape)}.")
        out = csr_linear(x if self.columns is None else x.index_select(-1, self.columns), self.csr())
        if self.rows is None:
            return out
        return x.new_zeros(*x.shape[:-1], self.out_features).index_copy_(-1, self.rows, out)

    def csr(self) -> Tensor:
        """The remaining rows and columns of weight and bias in CSR format, see `to_csr`."""
        return _csr(self.start, self.column, self.values, self.live)

    @property
    def weight(self) -> Tensor:
        """A dense copy of the weight (m, n), for code that reads single weights."""
        return self._dense()[:, : self.in_features]

    @property
    def bias(self) -> Tensor | None:
        """A dense copy of the bias (m,); None without a bias."""
        return self._dense()[:, -1] if self.biased else None

    def _dense(self) -> Tensor:
        device = self.start.device
        rows = torch.arange(self.out_features, device=device) if self.rows is None else self.rows
        columns = torch.arange(self.in_features, device=device) if self.columns is None else self.columns
        columns = torch.cat([columns, columns.new_tensor([self.in_features])]) if self.biased else columns
        dense = self.values.new_zeros(self.out_features, self.in_features + self.biased)
        dense[rows[:, None], columns] = self.csr().to_dense()
        return dense

    def extra_repr(self) -> str:
        """Sizes and number of non-zeros, for `print`."""
        return f"{self.in_features}, {self.out_features}, non-zeros={len(self.values)}"


def compress(network: Network, density: float = 1 / 16, leave: Iterable[str] = ()) -> Network:
    """Returns a copy of a network in which sparse linear layers are replaced by `SparseLinear`.

    Args:
        network: it is not changed.
        density: largest share of non-zeros of a layer that is replaced.
        leave: names of layers that are not replaced.

    Raises:
        ValueError: no layer has such a density.
    """
    leave, network, found = set(leave), copy.deepcopy(network), []
    for name, module in list(network.named_modules()):
        if type(module) is not nn.Linear or name in leave:
            continue
        share = module.weight.count_nonzero().item() / max(module.weight.numel(), 1)
        found.append((share, name))
        if share <= density and name:
            network.set_submodule(name, SparseLinear(module))
        elif share <= density:
            return cast(Network, SparseLinear(module))
    if not any(share <= density for share, _ in found):
        sparsest = f"the sparsest, '{min(found)[1]}', has {min(found)[0]:.3g}" if found else "it has no linear layer"
        raise ValueError(f"no linear layer has a density of at most {density:.3g} ({sparsest}); raise density.")
    return network


def _csr(start: Tensor, column: Tensor, values: Tensor, shape: Iterable[int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, column, values, size=tuple(shape), check_invariants=False)
