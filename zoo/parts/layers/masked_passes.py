"""Many masked passes of a backbone over each input, in bounded memory and without duplicates."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Run = Callable[[Tensor, Tensor], Tensor]  # rows of the batch (N,), masks (N, L) -> states (N, D)


def run_groups(run: Run, masks: Tensor, wanted: Tensor | None, rows: int) -> Tensor:
    """Runs the masked pass of M groups of each of B inputs; returns states (B, M, D).

    With boolean masks, identical masks of an input run once and unwanted ones not at all (their states are 0). At most
    `rows` masked inputs exist at a time, in training too, where a chunk is computed again in the backward pass. Under
    `torch.compile` and `torch.export` all groups run at once, as shapes must not depend on values there.

    Args:
        run: the masked pass.
        masks: (B, M, L), bool, or float where gradients pass through the mask.
        wanted: (B, M) bool, the groups whose state is needed; None for all.
        rows: masked inputs of a chunk.
    """
    batch, groups = masks.shape[:2]
    if torch.compiler.is_compiling():
        index = torch.arange(batch, device=masks.device)[:, None].expand(-1, groups).reshape(-1)
        return run(index, masks.flatten(0, 1)).unflatten(0, (batch, groups))
    first = first_of_equals(masks) if masks.dtype == torch.bool else None
    todo = _todo(masks, first, wanted)
    index = todo // groups
    flat = masks.flatten(0, 1)
    parts = []
    for here, number in zip(index.split(rows), todo.split(rows), strict=True):
        again = torch.is_grad_enabled() and len(todo) > rows
        mask = flat[number]
        parts.append(checkpoint(run, here, mask, use_reentrant=False) if again else run(here, mask))
    done = torch.cat(parts)
    states = done.new_zeros(batch * groups, done.shape[1]).index_copy(0, todo, done).unflatten(0, (batch, groups))
    return states if first is None else states.gather(1, first[..., None].expand_as(states))


def _todo(masks: Tensor, first: Tensor | None, wanted: Tensor | None) -> Tensor:
    """Indices b * M + m of the passes to run, in order; at least one."""
    batch, groups = masks.shape[:2]
    if first is None:
        return torch.arange(batch * groups, device=masks.device)
    wanted = torch.ones_like(first, dtype=torch.bool) if wanted is None else wanted
    needed = torch.zeros_like(wanted).scatter_reduce(1, first, wanted, "amax")
    todo = needed.flatten().nonzero()[:, 0]
    return todo if len(todo) else todo.new_zeros(1)


def first_of_equals(masks: Tensor) -> Tensor:
    """(B, M) for each mask (B, M, L) the index of the first equal mask of the same input.

    Two sets are equal if their overlap is as large as each of them: one matrix product, no sorting of rows.
    """
    cells = masks.float()
    overlap, size = cells @ cells.mT, cells.sum(2)
    equal = (overlap == size[:, :, None]) & (overlap == size[:, None, :])
    return equal.to(torch.uint8).argmax(2)  # the first of several largest


class Footprint:
    """Bytes of memory that one row of a batch takes in a network, measured once with forward hooks.

    Args:
        network: to measure.
        call: runs the network on a batch of one.

    Attributes:
        forward: the largest input plus output of any layer, twice: what exists at one time without gradients.
        training: the outputs of all layers, which the backward pass needs.
    """

    def __init__(self, network: nn.Module, call: Callable[[], Any]) -> None:
        peaks, total = [1], [1]
        leaves = [m for m in network.modules() if not any(True for _ in m.children())]

        def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            out = _bytes(output)
            peaks.append(out + _bytes(inputs))
            total.append(out)

        handles = [leaf.register_forward_hook(count) for leaf in leaves]
        try:
            call()
        finally:
            for handle in handles:
                handle.remove()
        self.forward, self.training = 2 * max(peaks), sum(total) + max(peaks)

    def rows(self, budget: int, training: bool) -> int:
        """How many rows fit into `budget` bytes; at least one."""
        return max(1, budget // (self.training if training else self.forward))


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return math.prod(value.shape[1:]) * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, tuple | list) else 0
