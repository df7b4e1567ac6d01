"""Inference with the non-zeros of a weight alone, on the CPU: compressed sparse rows instead of a dense matrix."""

import copy
import warnings
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)
SMALL = 32  # below so many inputs, the library's product of matrices is the faster one
BLOCK = 256  # inputs at a time, so that they stay in the cache


def to_csr(weight: Tensor) -> Tensor:
    """A matrix (m, n) as compressed sparse rows with 32-bit indices, which the fast kernels take as they are.

    Raises:
        ValueError: no matrix, or one of 2^31 entries or more.
    """
    if weight.ndim != 2 or weight.numel() >= 2**31:
        raise ValueError(f"expected a matrix (m, n) of fewer than 2^31 entries; got shape {tuple(weight.shape)}.")
    weight = weight.detach()
    row, column = weight.nonzero(as_tuple=True)
    start = torch.zeros(weight.shape[0] + 1, dtype=torch.int32, device=weight.device)
    start[1:] = torch.bincount(row, minlength=weight.shape[0]).cumsum(0)
    return _csr(start, column.int(), weight[row, column], weight.shape)


def csr_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b (..., m) of inputs (..., n), as `torch.nn.functional.linear` has it.

    Args:
        x: (..., n), fp32 or fp64.
        weight: (m, n) from `to_csr`, of the dtype of x.
        bias: (m,) or None.

    Raises:
        ValueError: the weight is not in compressed sparse rows, or the shapes do not fit.
    """
    if weight.layout != torch.sparse_csr:
        raise ValueError(f"the weight must be in compressed sparse rows (see to_csr); got {weight.layout}.")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"a weight {tuple(weight.shape)} needs inputs (..., {weight.shape[1]}); got {tuple(x.shape)}.")
    rows = x.reshape(-1, x.shape[-1])  # (B, n)
    if rows.shape[0] == 1:
        out = torch.mv(weight, rows[0])[:, None]
    elif rows.shape[0] < SMALL:
        out = torch.mm(weight, rows.T.contiguous())
    elif rows.shape[0] <= BLOCK:
        out = _weighted_sums(weight, rows)
    else:
        out = rows.new_empty(weight.shape[0], rows.shape[0])
        for start in range(0, rows.shape[0], BLOCK):
            out[:, start : start + BLOCK] = _weighted_sums(weight, rows[start : start + BLOCK])
    out = out if bias is None else out.add_(bias[:, None])
    return out.T.reshape(*x.shape[:-1], weight.shape[0])


def _weighted_sums(weight: Tensor, rows: Tensor) -> Tensor:
    """W x^T (m, B): each output is a weighted sum of the few inputs (B,) that it reads, as in a bag of embeddings."""
    columns, start = weight.col_indices(), weight.crow_indices()
    table = rows.T.contiguous()
    return F.embedding_bag(
        columns, table, start, mode="sum", per_sample_weights=weight.values(), include_last_offset=True
    )


class SparseLinear(nn.Module):
    """A linear layer that holds and computes with its non-zeros alone; for inference on the CPU.

    All-zero columns are dropped, as the inputs that they would read change nothing, and all-zero rows, whose outputs
    are their biases. Both are exact for finite inputs.

    Args:
        linear: the layer whose weight has few non-zeros; it is copied.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.out_features, self.in_features = weight.shape
        rows, columns = (weight != 0).any(1).nonzero()[:, 0], (weight != 0).any(0).nonzero()[:, 0]
        csr = to_csr(weight[rows][:, columns])
        whole = len(rows) == self.out_features
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("rows", None if whole else rows)
        self.register_buffer("columns", None if len(columns) == self.in_features else columns)
        self.register_buffer("start", csr.crow_indices())
        self.register_buffer("column", csr.col_indices())
        self.register_buffer("values", csr.values())
        self.register_buffer("bias", bias)
        self.live = tuple(csr.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(..., m) of inputs (..., n)."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"expected inputs (..., {self.in_features}); got {tuple(x.shape)}.")
        x = x if self.columns is None else x.index_select(-1, self.columns)
        csr = _csr(self.start, self.column, self.values, self.live)
        if self.rows is None:
            return csr_linear(x, csr, self.bias)
        size = (*x.shape[:-1], self.out_features)
        out = x.new_zeros(size) if self.bias is None else self.bias.expand(size).contiguous()
        return out.index_add_(-1, self.rows, csr_linear(x, csr)) if len(self.rows) else out

    @property
    def weight(self) -> Tensor:
        """The dense weight (m, n), made anew: for whoever reads single edges of the network."""
        dense = self.values.new_zeros(self.out_features, self.in_features)
        counts = self.start.diff()
        row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts.long())
        row = row if self.rows is None else self.rows[row]
        dense[row, self.column.long() if self.columns is None else self.columns[self.column.long()]] = self.values
        return dense

    def extra_repr(self) -> str:
        """What is printed of it."""
        return f"{self.in_features}, {self.out_features}, non-zeros={len(self.values)}"


def compress(network: Network, density: float = 1 / 16, leave: Iterable[str] = ()) -> Network:
    """A copy of a network whose linear layers with few non-zeros compute with these alone.

    Args:
        network: not changed.
        density: the share of non-zeros up to which a layer is replaced.
        leave: names of layers to leave as they are.

    Raises:
        ValueError: no layer is so sparse.
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
            return SparseLinear(module)  # pyright: ignore[reportReturnType]
    if not any(share <= density for share, _ in found):
        sparsest = f"the sparsest, '{min(found)[1]}', has {min(found)[0]:.3g}" if found else "it has no linear layer"
        raise ValueError(f"no linear layer has a density of at most {density:.3g} ({sparsest}); raise `density`.")
    return network


def _csr(start: Tensor, column: Tensor, values: Tensor, shape: Iterable[int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, column, values, size=tuple(shape), check_invariants=False)
