"""Products of sparse codes that cost what the few chosen atoms cost, forwards and backwards.

A code of N vectors is given by its entries that may differ from 0: rows, in order, columns and values. Sums run over
them without a matrix of the entries' vectors, by `torch.nn.functional.embedding_bag`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Chosen(NamedTuple):
    """Entries of codes (N, m).

    Attributes:
        rows: (n,) numbers of vectors, ascending.
        columns: (n,) numbers of atoms.
        values: (n,), at least 0.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor

    def dense(self, shape: tuple[int, int]) -> Tensor:
        """The codes (N, m)."""
        return self.values.new_zeros(shape).index_put((self.rows, self.columns), self.values)

    def combine(self, atoms: Tensor, count: int) -> Tensor:
        """Sums of atoms (m, d): `dense @ atoms` for `count` vectors (N, d)."""
        return weighted_sums(self.rows, self.columns, self.values, atoms, count)


def weighted_sums(groups: Tensor, members: Tensor, weights: Tensor, table: Tensor, count: int) -> Tensor:
    """(count, d): for each group, in ascending order, the sum of its members' rows of a table (., d), weighted."""
    ends = torch.bincount(groups, minlength=count).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return F.embedding_bag(members, table, starts, mode="sum", per_sample_weights=weights.to(table.dtype))


class _Scores(torch.autograd.Function):
    """Values that are max(E x + e, 0) of chosen atoms, with the gradient of that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, chosen: Chosen) -> Tensor:
        ctx.save_for_backward(x, weight, *chosen)
        return chosen.values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rows, columns, values = ctx.saved_tensors
        gradient = gradients[0] * (values > 0)
        order = columns.argsort(stable=True)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = weighted_sums(rows, columns, gradient, weight, len(x))
        if ctx.needs_input_grad[1]:
            of_weight = weighted_sums(columns[order], rows[order], gradient[order], x, len(weight))
        if ctx.needs_input_grad[2]:
            of_bias = gradient.new_zeros(len(weight)).index_add(0, columns, gradient)
        return of_x, of_weight, of_bias, None


def with_gradient(chosen: Chosen, x: Tensor, weight: Tensor, bias: Tensor) -> Chosen:
    """Entries whose values are those of max(E x + e, 0) at vectors x (N, d), with its gradient."""
    return chosen._replace(values=_Scores.apply(x, weight, bias, chosen))
