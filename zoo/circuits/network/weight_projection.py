"""The projection of weights to few non-zeros: each matrix keeps exactly its k largest magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import get_ident

import numpy as np
import torch
from torch import Tensor

from zoo.circuits.kernels.selection import (
    FLOATS,
    in_threads,
    largest_of_all,
    largest_of_each,
    largest_of_rows,
    magnitudes,
    words,
)
from zoo.circuits.kernels.topk import fused, has_triton

SMALL = 2**17  # entries of a matrix that is no work for a thread


@dataclass(frozen=True)
class Budget:
    """How many entries of a matrix stay.

    Attributes:
        keep: non-zeros in all.
        alive: the least that every neuron keeps, the largest of its own.
        axis: the neurons' axis: 0 if they are rows, 1 if they are columns.

    Raises:
        ValueError: keep is less than 1, alive is negative, or axis neither 0 nor 1.
    """

    keep: int
    alive: int = 0
    axis: int = 0

    def __post_init__(self) -> None:
        if self.keep < 1 or self.alive < 0 or self.axis not in (0, 1):
            raise ValueError(f"a budget needs keep >= 1, alive >= 0 and axis 0 or 1; got {self}.")

    def check(self, shape: Sequence[int]) -> None:
        """Raises ValueError if a matrix of this shape cannot keep so few and have so many alive."""
        rows, columns = shape
        neurons, width = (rows, columns) if self.axis == 0 else (columns, rows)
        if neurons * min(self.alive, width) > self.keep:
            raise ValueError(
                f"a matrix ({rows}, {columns}) that keeps {self.keep} entries cannot hold {self.alive} in each of its "
                f"{neurons} {'rows' if self.axis == 0 else 'columns'}, which are {neurons * min(self.alive, width)}; "
                f"raise the density above {neurons * min(self.alive, width) / (rows * columns):.3g} or lower alive."
            )


class Projector:
    """Projects matrices in place, step after step; what it remembers saves time and never changes a result.

    A zero is never among what a neuron keeps alive, so a matrix with no more than `keep` non-zeros stays as it is. On
    the CPU a neuron's own largest are looked for only where the matrix's largest leave it fewer than `alive`: where
    they do not, they contain them. On other devices matrices of equal shape and budget are searched in one go, and
    nothing waits for the device.

    Args:
        weights: the matrices (m, n), each on one device.

    Raises:
        ValueError: a weight is no floating-point matrix.

    Gao et al., arXiv 2511.13653, appendix A.1 and A.2.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        for weight in weights:
            if weight.ndim != 2 or weight.dtype not in FLOATS:
                raise ValueError(f"only matrices of floats are projected; got {weight.dtype} {tuple(weight.shape)}.")
        self.weights = list(weights)
        self._short: dict[int, np.ndarray] = {}  # by weight: which neurons were too few lately
        self._thresholds: dict[tuple[int, ...], Tensor] = {}  # by group of weights
        self._scratch: dict[int, dict[type, tuple[np.ndarray, np.ndarray]]] = {}  # by thread

    @torch.no_grad()
    def __call__(self, budgets: Sequence[Budget]) -> None:
        """Leaves the `keep` largest entries of each matrix; ties go to the lowest index.

        Raises:
            ValueError: not one budget for each weight, or one that cannot be met; nothing was changed then.
        """
        if len(budgets) != len(self.weights):
            raise ValueError(f"{len(self.weights)} weights need as many budgets; got {len(budgets)}.")
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
        on_cpu.sort(key=lambda one: -self.weights[one[0]].numel())  # the largest first, so that threads end together
        small = bool(on_cpu) and self.weights[on_cpu[0][0]].numel() < SMALL
        in_threads(lambda one: self._on_cpu(*one), on_cpu, 1 if small else None)

    @torch.no_grad()  # a thread of its own does not inherit it
    def _on_cpu(self, number: int, budget: Budget) -> None:
        weight = self.weights[number]
        whole = weight.contiguous()
        bits = words(whole).numpy()
        sizes, scratch = self._scratches(np.int64 if bits.dtype == np.int64 else np.int32, bits.size)
        sizes = magnitudes(bits, sizes.reshape(bits.shape))
        if np.count_nonzero(sizes) <= budget.keep:
            return
        kept, short = _largest(sizes, budget, scratch, self._short.get(number))
        self._short[number] = short
        np.multiply(bits, kept, out=bits)  # of the bits, so that infinity times 0 is 0
        if whole.data_ptr() == weight.data_ptr():
            torch.autograd.graph.increment_version(weight)  # torch did not see that it changed
        else:
            weight.copy_(whole)

    def _scratches(self, kind: type, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays of a thread, used again for every matrix: fresh memory costs more than what is done in it."""
        own = self._scratch.setdefault(get_ident(), {})
        if kind not in own:
            most = max(weight.numel() for weight in self.weights)
            own[kind] = np.empty(most, kind), np.empty(most, kind)
        sizes, scratch = own[kind]
        return sizes[:size], scratch[:size]

    def _on_device(self, numbers: tuple[int, ...], budget: Budget) -> None:
        weights = [self.weights[i] for i in numbers]
        bits = torch.stack([words(w) for w in weights])  # (n, rows, columns)
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
            words(weight).mul_(mask)


def _largest(
    sizes: np.ndarray, budget: Budget, scratch: np.ndarray, before: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The mask of what stays, and which neurons needed help; `before` are those that did so in the last step.

    Each round gives the neurons that were left with too few their own largest, which raises the threshold for the rest.
    It ends when all have enough: every neuron's largest are then among what stays.
    """
    neurons = sizes if budget.axis == 0 else sizes.T
    short = np.zeros(len(neurons), bool) if before is None or len(before) != len(neurons) else before
    helped = needed = np.zeros(len(neurons), bool)
    while True:
        if budget.alive and short.any():
            own = np.ascontiguousarray(neurons[short])
            best = largest_of_rows(own.copy(), budget.alive)
            best &= own > 0
            own |= best * own.dtype.type(np.iinfo(own.dtype).max)  # all bits: faster than to assign by a mask
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
    """Which entries are the `count` largest of each neuron, as bool, of sizes (n, neurons, width) on a device."""
    floats = neurons.view(torch.float32) if neurons.dtype == torch.int32 else None
    if floats is not None and fused(floats):
        from zoo.circuits.kernels.triton_topk import fused_abs_topk

        return fused_abs_topk(floats, count)[1]
    return largest_of_each(neurons.flatten(0, 1), count).view_as(neurons)
