"""The n inputs in which each unit fires most, found in one pass over batches and merged over ranks."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

NOWHERE = torch.iinfo(torch.int64).max  # input number of a place that is empty


@dataclass(frozen=True)
class TopActivating:
    """The n inputs in which each of K units fires most; largest activation first, ties to the lowest input number.

    Attributes:
        value: (K, n) activations.
        index: (K, n) numbers of the inputs.
        cell: (K, n) cells of the feature map in which the units fire most, counted row by row; -1 without a map.
    """

    value: Tensor
    index: Tensor
    cell: Tensor

    @classmethod
    def of_batch(cls, activation: Tensor, number: Tensor) -> "TopActivating":
        """All inputs of a batch, in their order.

        Args:
            activation: (B, K), or maps (B, K, h, w), of which the largest value counts (ties: the first cell).
            number: (B,) numbers of the inputs.
        """
        if activation.ndim > 2:
            value, cell = activation.float().flatten(2).max(2)
        else:
            value, cell = activation.float(), torch.full(activation.shape, -1, device=activation.device)
        return cls(value.T, number.expand(value.shape[1], -1), cell.T)

    def best(self, count: int) -> "TopActivating":
        """The `count` largest activations of each unit, or all if there are fewer."""
        order = self.index.argsort(1)
        order = order.gather(1, self.value.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
        return TopActivating(*(tensor.gather(1, order[:, :count]) for tensor in self.tensors()))

    def joined(self, others: Iterable["TopActivating"]) -> "TopActivating":
        """The inputs of several parts side by side."""
        parts = zip(self.tensors(), *(other.tensors() for other in others), strict=True)
        return TopActivating(*(torch.cat(part, 1) for part in parts))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Value, index and cell."""
        return self.value, self.index, self.cell


def running_top(batches: Iterable[tuple[Tensor, Tensor]], count: int, world: int = 1) -> TopActivating | None:
    """The top `count` inputs of each unit; None without any batch. Memory is that of one batch.

    Args:
        batches: activations and input numbers, see `TopActivating.of_batch`.
        count: n; fewer are returned if there are fewer inputs.
        world: number of ranks, each of which sees other inputs.
    """
    best: TopActivating | None = None
    for activation, number in batches:
        fresh = TopActivating.of_batch(activation, number)
        best = (fresh if best is None else best.joined([fresh])).best(count)
    if best is not None and world > 1 and dist.is_initialized():
        best = _over_ranks(best, count, world)
    return best


def _over_ranks(best: TopActivating, count: int, world: int) -> TopActivating:
    """The top of all ranks; a rank that saw fewer than `count` inputs sends empty places, which come last."""
    lacks, gathered = count - best.value.shape[1], []
    for have, blank in zip(best.tensors(), (-torch.inf, NOWHERE, -1), strict=True):
        mine = torch.cat([have, have.new_full((have.shape[0], lacks), blank)], 1).contiguous()
        parts = [torch.empty_like(mine) for _ in range(world)]
        dist.all_gather(parts, mine)
        gathered.append(parts)
    first, *others = (TopActivating(*parts) for parts in zip(*gathered, strict=True))
    merged = first.joined(others).best(count)
    there = int(merged.value.isfinite().all(0).sum())
    return TopActivating(*(tensor[:, :there] for tensor in merged.tensors()))
