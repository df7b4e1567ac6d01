"""Linear recurrences with a diagonal transition, in plain PyTorch.

    linear_scan       state_t = decay_t ⊙ state_{t-1} + write_t
    selective_scan    state_t = exp(step_t ⊗ rate) ⊙ state_{t-1} + x_t ⊗ write_t,    y_t = state_t · read_t

All decays are in [0, 1] and only multiplied with each other, never divided by: long sequences and strong decay can
neither overflow nor lose the terms that matter, and no running maximum is needed.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMALL = 512  # numbers of the states of a batch below which one step is too little work for one operation
CACHED = 2**17  # numbers of the tensors of a block of a selective scan, which should stay in a processor's cache
BLOCKS = (8, 64)  # steps of a block, at least and at most


def linear_scan(decay: Tensor, write: Tensor, reverse: bool = False) -> Tensor:
    """All states of state_t = decay_t ⊙ state_{t-1} + write_t, from a state of zeros.

    Args:
        decay: (T, B, *state) in [0, 1].
        write: (T, B, *state).
        reverse: from the last step to the first: state_t = decay_t ⊙ state_{t+1} + write_t.

    Returns:
        (T, B, *state).
    """
    if _learns(decay, write):
        return _LinearScan.apply(decay, write, reverse)  # pyright: ignore[reportReturnType]
    return _states(decay, write, reverse)


def selective_scan(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """The recurrence of S6 with N numbers of state for each channel, see above.

    Only the states at the borders of blocks of 8 to 64 steps are kept for the backward pass.

    Args:
        x: (T, B, E).
        step: (T, B, E), at least 0.
        rate: (E, N), below 0.
        write: (T, B, N).
        read: (T, B, N).

    Returns:
        y (T, B, E).
    """
    given = (x, step, rate, write, read)
    return _SelectiveScan.apply(*given) if _learns(*given) else _selective(*given)[0]  # pyright: ignore


def _learns(*tensors: Tensor) -> bool:
    """Whether to record a function of our own for the backward pass; a traced program has none."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and not torch.compiler.is_compiling()


def _states(decay: Tensor, write: Tensor, reverse: bool) -> Tensor:
    """States of a linear scan. If one step is little work, the sequence is cut in lanes, which run side by side."""
    steps = decay.shape[0]
    traced = torch.compiler.is_compiling()  # where the size of a batch is not known
    if steps <= 8 or (not traced and decay[0].numel() >= SMALL):
        return _in_turn(decay.unbind(), write, reverse=reverse)
    length = ceil(steps**0.5)
    lanes = ceil(steps / length)
    behind = (0, 0) * (decay.ndim - 1) + (0, lanes * length - steps)
    decay = F.pad(decay, behind, value=1.0).unflatten(0, (lanes, length))
    write = F.pad(write, behind).unflatten(0, (lanes, length))
    inner = _in_turn(decay.unbind(1), write.movedim(1, 0), reverse=reverse).movedim(0, 1)  # each lane from zeros
    reach = decay.flip(1).cumprod(1).flip(1) if reverse else decay.cumprod(1)
    border = 0 if reverse else -1
    ends = _in_turn(reach[:, border].unbind(), inner[:, border], reverse=reverse)
    zero = torch.zeros_like(ends[:1])
    before = torch.cat([ends[1:], zero] if reverse else [zero, ends[:-1]])
    return torch.addcmul(inner, reach, before[:, None]).flatten(0, 1)[:steps]


def _in_turn(
    decay: Sequence[Tensor],
    write: Tensor,
    start: Tensor | None = None,
    reverse: bool = False,
    over: bool = False,
) -> Tensor:
    """The states of steps taken one after the other, along the first dimension of `write`.

    Args:
        decay: of each step.
        write: of each step.
        start: the state before the first step, by default zeros.
        reverse: start with the last step.
        over: write the states over `write`.
    """
    order = range(len(decay))[:: -1 if reverse else 1]
    first, each = order[0], write.unbind()
    if torch.compiler.is_compiling():  # a traced program would copy all states at each step written in place
        found = {first: each[first] if start is None else torch.addcmul(each[first], decay[first], start)}
        for last, t in pairwise(order):
            found[t] = torch.addcmul(each[t], decay[t], found[last])
        return torch.stack([found[t] for t in sorted(found)])
    states = write if over else torch.empty_like(write)
    here = states.unbind()
    if start is not None:
        torch.addcmul(each[first], decay[first], start, out=here[first])
    elif not over:
        here[first].copy_(each[first])
    for last, t in pairwise(order):
        torch.addcmul(each[t], decay[t], here[last], out=here[t])
    return states


class _LinearScan(torch.autograd.Function):
    """The gradient of a scan is a scan in the other direction."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, write: Tensor, reverse: bool) -> Tensor:
        states = _states(decay, write, reverse)
        ctx.reverse = reverse
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        decay, states = ctx.saved_tensors
        later = _states(decay.roll(1 if ctx.reverse else -1, 0), grad_outputs[0], not ctx.reverse)
        of_decay = torch.zeros_like(decay)  # later is the gradient of each write
        if ctx.reverse:
            torch.mul(later[:-1], states[1:], out=of_decay[:-1])
        else:
            torch.mul(later[1:], states[:-1], out=of_decay[1:])
        return of_decay, later, None


def _steps(x: Tensor, rate: Tensor) -> int:
    """Steps of the blocks of a selective scan."""
    if torch.compiler.is_compiling():
        return BLOCKS[1]
    return min(max(CACHED // max(x[0].numel() * rate.shape[1], 1), BLOCKS[0]), BLOCKS[1])


def _room(x: Tensor, rate: Tensor, steps: int) -> Tensor | None:
    """A tensor of a block, to be used for all blocks; None while a program is traced."""
    return None if torch.compiler.is_compiling() else x.new_empty(min(steps, x.shape[0]), *x.shape[1:], rate.shape[1])


def _part(room: Tensor | None, count: int) -> Tensor | None:
    return None if room is None else room[:count]


def _selective(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output y of a selective scan, and the state (B, E, N) before each block but the first."""
    found, before, state, steps = [], [], None, _steps(x, rate)
    rooms = [_room(x, rate, steps) for _ in range(2)]
    for start in range(0, x.shape[0], steps):
        block = slice(start, start + steps)
        states = _block(x[block], step[block], rate, write[block], state, rooms)[1]
        found.append((states @ read[block, ..., None])[..., 0])
        state = states[-1].clone()
        before.append(state)
    return torch.cat(found), before[:-1]


def _block(
    x: Tensor, step: Tensor, rate: Tensor, write: Tensor, state: Tensor | None, rooms: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """Decay and states (Q, B, E, N) of Q steps from a state (B, E, N), or from zeros; both in `rooms`, if there are."""
    decay = torch.mul(step[..., None], rate, out=_part(rooms[0], x.shape[0])).exp_()
    written = torch.mul(x[..., None], write[:, :, None], out=_part(rooms[1], x.shape[0]))
    return decay, _in_turn(decay.unbind(), written, state, over=True)


class _SelectiveScan(torch.autograd.Function):
    """Computes the states of each block again, from the last block to the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        y, before = _selective(x, step, rate, write, read)
        ctx.save_for_backward(x, step, rate, write, read, *before)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, step, rate, write, read, *before = ctx.saved_tensors
        grad, of_rate, later, steps = grad_outputs[0], torch.zeros_like(rate), None, _steps(x, rate)
        of_x, of_step, of_write, of_read = (torch.empty_like(given) for given in (x, step, write, read))
        rooms = [_room(x, rate, steps) for _ in range(3)]
        zeros = torch.zeros_like(x[0, ..., None] * rate)
        for start in reversed(range(0, x.shape[0], steps)):
            block = slice(start, start + steps)
            first = before[start // steps - 1] if start else zeros
            decay, states = _block(x[block], step[block], rate, write[block], first, rooms)
            pulled = torch.mul(grad[block, ..., None], read[block, :, None], out=_part(rooms[2], len(decay)))
            if later is not None:
                pulled[-1] += later
            decays = decay.unbind()
            pulled = _in_turn((*decays[1:], decays[0]), pulled, reverse=True, over=True)  # the gradient of each state
            of_read[block] = (grad[block, :, None] @ states)[:, :, 0]
            of_x[block] = (pulled @ write[block, ..., None])[..., 0]
            of_write[block] = (x[block, :, None] @ pulled)[:, :, 0]
            inner = decay.mul_(pulled)
            later = inner[0].clone()
            inner[1:].mul_(states[:-1])
            inner[0].mul_(first)
            torch.mul(step[block, ..., None], inner, out=pulled)
            of_rate += pulled.sum((0, 1))
            of_step[block] = inner.mul_(rate).sum(3)
        return of_x, of_step, of_rate, of_write, of_read
