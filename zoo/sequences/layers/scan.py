"""Linear recurrences with a diagonal transition, in plain PyTorch.

    linear_scan       state_t = decay_t ⊙ state_{t-1} + write_t
    selective_scan    state_t = exp(step_t ⊗ rate) ⊙ state_{t-1} + x_t ⊗ write_t,    y_t = state_t · read_t

All decays are in [0, 1] and only multiplied with each other, never divided by: long sequences and strong decay can
neither overflow nor lose the terms that matter, and no running maximum is needed.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 1024  # numbers of a state below which one step is too little work for one operation
BLOCK = 32  # steps of a selective scan whose states are held at once: few enough for a processor's cache


def linear_scan(decay: Tensor, write: Tensor, reverse: bool = False) -> Tensor:
    """All states of state_t = decay_t ⊙ state_{t-1} + write_t, from a state of zeros.

    Args:
        decay: (T, B, *state) in [0, 1].
        write: (T, B, *state).
        reverse: from the last step to the first: state_t = decay_t ⊙ state_{t+1} + write_t.

    Returns:
        (T, B, *state).
    """
    if reverse:
        return linear_scan(decay.flip(0), write.flip(0)).flip(0)
    return _LinearScan.apply(decay, write) if _learns(decay, write) else _states(decay, write)  # pyright: ignore


def selective_scan(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """The recurrence of S6 with N numbers of state for each channel, see above.

    Only the states at the borders of blocks are kept for the backward pass, T / 32 of T.

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


def _states(decay: Tensor, write: Tensor) -> Tensor:
    """States of a linear scan. If one state is small, the sequence is cut in lanes, which run side by side."""
    steps = decay.shape[0]
    small = decay[0, 0].numel() < SMALL
    length = ceil(steps**0.5) if small and steps > 8 else steps
    lanes = ceil(steps / length)
    behind = (0, 0) * (decay.ndim - 1) + (0, lanes * length - steps)
    decay = F.pad(decay, behind, value=1.0).unflatten(0, (lanes, length))
    write = F.pad(write, behind).unflatten(0, (lanes, length))
    inner = _in_turn(decay.unbind(1), write.unbind(1), 1)  # (lanes, length, B, *state), each from zeros
    if lanes == 1:
        return inner[0]
    reach = decay.cumprod(1)
    ends = _in_turn(reach[:-1, -1].unbind(0), inner[:-1, -1].unbind(0), 0)  # at the end of each lane but the last
    rest = torch.addcmul(inner[1:], reach[1:], ends[:, None])
    return torch.cat([inner[:1], rest]).flatten(0, 1)[:steps]


def _in_turn(decay: tuple[Tensor, ...], write: tuple[Tensor, ...], dim: int, start: Tensor | None = None) -> Tensor:
    """The states of steps taken one after the other, stacked along `dim`."""
    states = [write[0] if start is None else torch.addcmul(write[0], decay[0], start)]
    for d, w in zip(decay[1:], write[1:], strict=True):
        states.append(torch.addcmul(w, d, states[-1]))
    return torch.stack(states, dim)


class _LinearScan(torch.autograd.Function):
    """The gradient of a scan is a scan from the end."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, write: Tensor) -> Tensor:
        states = _states(decay, write)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        later = linear_scan(decay.roll(-1, 0), grad_outputs[0], reverse=True)  # the gradient of each write
        return later * F.pad(states[:-1], (0, 0) * (states.ndim - 1) + (1, 0)), later


def _selective(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output y of a selective scan, and the state (B, E, N) before each block but the first."""
    found, before, state = [], [], None
    for start in range(0, x.shape[0], BLOCK):
        block = slice(start, start + BLOCK)
        states = _block(x[block], step[block], rate, write[block], state)[1]
        found.append((states @ read[block, ..., None])[..., 0])
        state = states[-1]
        before.append(state)
    return torch.cat(found), before[:-1]


def _block(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Decay and states (Q, B, E, N) of Q steps from a state (B, E, N), or from zeros."""
    decay = torch.exp(step[..., None] * rate)
    written = x[..., None] * write[:, :, None]
    return decay, _in_turn(decay.unbind(0), written.unbind(0), 0, state)


class _SelectiveScan(torch.autograd.Function):
    """Computes the states of each block again, from the last block to the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        y, before = _selective(x, step, rate, write, read)
        ctx.save_for_backward(x, step, rate, write, read, *before)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        x, step, rate, write, read, *before = ctx.saved_tensors
        grad, found, of_rate, later = grad_outputs[0], [], torch.zeros_like(rate), None
        zeros = torch.zeros_like(x[0, ..., None] * rate)
        for start in reversed(range(0, x.shape[0], BLOCK)):
            block = slice(start, start + BLOCK)
            first = before[start // BLOCK - 1] if start else zeros
            decay, states = _block(x[block], step[block], rate, write[block], first)
            pulled = grad[block, ..., None] * read[block, :, None]
            if later is not None:
                pulled[-1] += later
            turned = (decay.roll(-1, 0).flip(0).unbind(0), pulled.flip(0).unbind(0))
            pulled = _in_turn(*turned, 0).flip(0)  # the gradient of each state
            later = decay[0] * pulled[0]
            inner = pulled * decay * torch.cat([first[None], states[:-1]])
            of_rate = of_rate + torch.einsum("tbe,tben->en", step[block], inner)
            found.append(
                (
                    (pulled @ write[block, ..., None])[..., 0],
                    (inner * rate).sum(3),
                    (x[block, :, None] @ pulled)[:, :, 0],
                    (grad[block, :, None] @ states)[:, :, 0],
                )
            )
        of_x, of_step, of_write, of_read = (torch.cat(parts) for parts in zip(*reversed(found), strict=True))
        return of_x, of_step, of_rate, of_write, of_read
