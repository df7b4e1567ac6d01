"""Projection of weights to few non-zeros: each matrix keeps exactly its k largest magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import get_ident

import numpy as np
import torch
from torch import Tensor

from zoo.circuits.kernels.selection import (
    FLOATS,
    bit_view,
    in_threads,
    integers,
    largest_of_all,
    largest_of_each,
    largest_of_rows,
    magnitudes,
)
from zoo.circuits.kernels.topk import fused, has_triton

SMALL = 2**17  # smaller matrices are not distributed over threads


@dataclass(frozen=True)
class Budget:
    """Number of non-zeros of a matrix.

    Attributes:
        keep: non-zeros in total.
        alive: smallest number of non-zeros of each neuron, which keeps its own largest.
        axis: axis of the neurons, 0 for rows or 1 for columns.

    Raises:
        ValueError: `keep` is less than 1, `alive` is negative, or `axis` is neither 0 nor 1.
    """

    keep: int
    alive: int = 0
    axis: int = 0

    def __post_init__(self) -> None:
        if self.keep < 1 or self.alive < 0 or self.axis not in (0, 1):
            raise ValueError(f"a budget requires keep >= 1, alive >= 0 and axis 0 or 1; got {self}.")

    def check(self, shape: Sequence[int]) -> None:
        """Checks that a matrix of this shape can satisfy the budget.

        Raises:
            ValueError: `keep` is too small for `alive` non-zeros of each neuron.
        """
        rows, columns = shape
        neurons, width = (rows, columns) if self.axis == 0 else (columns, rows)
        least = neurons * min(self.alive, width)
        if least > self.keep:
            raise ValueError(
                f"a matrix ({rows}, {columns}) with {self.keep} non-zeros cannot have {self.alive} in each of its "
                f"{neurons} {'rows' if self.axis == 0 else 'columns'}, which requires {least}; increase the density "
                f"above {least / (rows * columns):.3g} or decrease alive."
            )


class Projector:
    """Projects matrices in place in every step. Results of earlier steps speed up the search and never change it.

    A matrix with at most `keep` non-zeros is not changed, since zeros do not count as alive. On the CPU, the largest
    entries of a neuron are searched only if the largest of the matrix include fewer than `alive` of them. On other
    devices, matrices of equal shape and budget are searched together, without synchronisation.

    Args:
        weights: matrices (m, n).

    Raises:
        ValueError: a weight is not a floating-point matrix.

    Gao et al., arXiv 2511.13653, 2025, appendix A.1 and A.2.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        for weight in weights:
            if weight.ndim != 2 or weight.dtype not in FLOATS:
                raise ValueError(
                    f"projection requires floating-point matrices; got {weight.dtype} of shape {tuple(weight.shape)}."
                )
        self.weights = list(weights)
        self._short: dict[int, np.ndarray] = {}  # by weight: neurons that recently kept too few entries
        self._thresholds: dict[tuple[int, ...], Tensor] = {}  # by group of weights
        self._scratch: dict[int, dict[type, tuple[np.ndarray, np.ndarray]]] = {}  # by thread

    @torch.no_grad()
    def __call__(self, budgets: Sequence[Budget]) -> None:
        """Keeps the `keep` largest entries of each matrix; ties are broken by the lowest index.

        Raises:
            ValueError: not one budget per weight, or a budget that cannot be satisfied; then no weight is changed.
        """
        if len(budgets) != len(self.weights):
            raise ValueError(f"expected {len(self.weights)} budgets, one per weight; got {len(budgets)}.")
        groups: dict[tuple, list[int]] = {}
        for i, (weight, budget) in enumerate(zip(self.weights, budgets, strict=True)):
            budget.check(weight.shape)
            if budget.keep >= weight.numel():
                continue
            groups.setdefault((weight.device, weight.dtype, weight.shape, budget), []).append(i)
        for (device, _, _, budget), numbers in groups.items():
            if device.type != "cpu":
                self._on_device(tuple(numbers), budget)
        on_cpu = [(i, key[-1]) for key, numbers in groups.items() if key[0].type == "cpu" for i in numbers]
        on_cpu.sort(
            key=lambda one: -self.weights[one[0]].numel()
        )  # largest first, so that threads finish at the same time
        small = bool(on_cpu) and self.weights[on_cpu[0][0]].numel() < SMALL
        in_threads(lambda one: self._on_cpu(*one), on_cpu, 1 if small else None)

    @torch.no_grad()  # worker threads do not inherit this mode
    def _on_cpu(self, number: int, budget: Budget) -> None:
        weight = self.weights[number]
        whole = weight.contiguous()
        bits = bit_view(whole).numpy()
        sizes, scratch = self._scratches(integers(bits), bits.size)
        sizes = magnitudes(bits, sizes.reshape(bits.shape))
        if np.count_nonzero(sizes) <= budget.keep:
            return
        kept, short = _largest(sizes, budget, scratch, self._short.get(number))
        self._short[number] = short
        np.multiply(bits, kept, out=bits)  # on bits, so that infinity * 0 is 0
        if whole.data_ptr() == weight.data_ptr():
            torch.autograd.graph.increment_version(weight)  # numpy changed it behind the back of autograd
        else:
            weight.copy_(whole)

    def _scratches(self, kind: type, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Two work arrays of this thread, reused for every matrix because allocation would dominate the time."""
        own = self._scratch.setdefault(get_ident(), {})
        if kind not in own:
            most = max(weight.numel() for weight in self.weights)
            own[kind] = np.empty(most, kind), np.empty(most, kind)
        sizes, scratch = own[kind]
        return sizes[:size], scratch[:size]

    def _on_device(self, numbers: tuple[int, ...], budget: Budget) -> None:
        weights = [self.weights[i] for i in numbers]
        bits = torch.stack([bit_view(w) for w in weights])  # (n, rows, columns)
        sizes = bits.bitwise_and_(torch.iinfo(bits.dtype).max)
        sizes = sizes if sizes.dtype == torch.int64 else sizes.int()
        if budget.alive:
            best = _alive(sizes if budget.axis == 0 else sizes.mT.contiguous(), budget.alive)
            best = best if budget.axis == 0 else best.mT
            sizes.masked_fill_(best & (sizes > 0), torch.iinfo(sizes.dtype).max)
        flat = sizes.flatten(1)
        if sizes.is_cuda and sizes.dtype == torch.int32 and flat.shape[1] < 2**31 and has_triton():
            from zoo.circuits.kernels.triton_threshold import largest_of_each as search

            kept, self._thresholds[numbers] = search(flat, budget.keep, self._thresholds.get(numbers))
        else:
            kept = largest_of_each(flat, budget.keep)
        for weight, mask in zip(weights, kept.view_as(sizes), strict=True):
            bit_view(weight).mul_(mask)


def _largest(
    sizes: np.ndarray, budget: Budget, scratch: np.ndarray, before: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the kept entries, and the neurons that needed their own selection (`before`: those of the last step).

    Each round selects the largest entries of the neurons that have too few, which raises the threshold for all others,
    until every neuron has `alive` entries.
    """
    neurons = sizes if budget.axis == 0 else sizes.T
    short = np.zeros(len(neurons), bool) if before is None or len(before) != len(neurons) else before
    helped = needed = np.zeros(len(neurons), bool)
    while True:
        if budget.alive and short.any():
            own = np.ascontiguousarray(neurons[short])
            best = np.empty(own.shape, np.bool_)
            largest_of_rows(own, budget.alive, best, np.empty_like(own))
            best &= own > 0
            own |= best * own.dtype.type(
                np.iinfo(own.dtype).max
            )  # sets all bits, which is faster than assignment by a mask
            neurons[short] = own
            helped = helped | short
        kept = largest_of_all(sizes.reshape(-1), budget.keep, scratch).reshape(sizes.shape)
        if not budget.alive:
            return kept, needed
        left = kept.view(np.uint8).sum(1 - budget.axis, dtype=np.uint32)
        needed = helped & (left <= budget.alive)
        short = (left < budget.alive) & ~helped
        if not short.any():
            return kept, needed


def _alive(neurons: Tensor, count: int) -> Tensor:
    """Marks the `count` largest entries of each neuron, for `neurons` (n, neurons, width) on a device."""
    floats = neurons.view(torch.float32) if neurons.dtype == torch.int32 else None
    if floats is not None and fused(floats):
        from zoo.circuits.kernels.triton_topk import fused_abs_topk

        return fused_abs_topk(floats, count)[1]
    return largest_of_each(neurons.flatten(0, 1), count).view_as(neurons)
