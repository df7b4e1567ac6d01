"""A first-order law with positive parameters, and its exact solution for drives that hold between two samples."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.utils.checks import check_above

CLOSEST = 1e-3  # of a rise to the decay, relative: nearer, the difference of two exponentials loses its digits


class Terms(NamedTuple):
    """The terms of a law at the end of a window, in the order decay, start, drives.

    Attributes:
        value: (B, K) what each adds to the value: what is left of the start, and each drive; the decay adds 0, because
            it is within the others.
        rate: (B, K) what each adds to the change of the value per unit of time.
        when: (B, J, T) what each step of a drive adds to the value.
    """

    value: Tensor
    rate: Tensor
    when: Tensor


class FirstOrderLaw(nn.Module):
    """y' = -a y + Σ_j g_j r_j, where r_j is the drive u_j, or r_j' = -b_j (r_j - u_j) if it acts with delay.

    All parameters are positive: their logarithms are learned, of b_j that of b_j - a. The two exponentials of a
    response are exchangeable, and the faster one is called the rise. At the start of a window r_j = 0. A constant level
    is a drive that is always 1. The parameters are a, the gains g_j, and the rises b_j.

    Args:
        drives: J.
        rising: numbers of the drives that act with delay.
        steps: T, of a window.
        step: time between two samples.

    Attributes:
        low: (P,) lower ends of the parameters' 95 % intervals, NaN before they are measured; see `named`.
        high: (P,) upper ends.
    """

    low: Tensor
    high: Tensor

    def __init__(self, drives: int, rising: tuple[int, ...], steps: int, step: float) -> None:
        super().__init__()
        check_above(0, step=step)
        self.drives, self.rising, self.steps, self.step = drives, rising, steps, step
        start = torch.zeros(1 + drives + len(rising))
        start[0] = -torch.log(torch.tensor(steps * step / 8))
        start[1 + drives :] = start[0] + 2
        self.logarithms = nn.Parameter(start)
        self.register_buffer("low", torch.full_like(start, torch.nan))
        self.register_buffer("high", torch.full_like(start, torch.nan))

    def names(self, drives: Sequence[str]) -> tuple[str, ...]:
        """Names of the P parameters: "decay", the gain of each drive, and the rise of those that act with delay."""
        return ("decay", *(f"gain of {name}" for name in drives), *(f"rise of {drives[j]}" for j in self.rising))

    def values(self, logarithms: Tensor | None = None) -> Tensor:
        """(..., P) the parameters, in the order of `names`, for logarithms (..., P), by default those of the law."""
        positive = (self.logarithms if logarithms is None else logarithms).exp()
        decay, faster = positive[..., :1], positive[..., 1 + self.drives :]  # what a rise exceeds the decay by
        return torch.cat([positive[..., : 1 + self.drives], decay + faster.maximum(CLOSEST * decay)], -1)

    def _parts(self, logarithms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, gains (J,), and rises (R,)."""
        values = self.values(logarithms)
        return values[0], values[1 : 1 + self.drives], values[1 + self.drives :]

    def terms(self, start: Tensor, drives: Tensor, logarithms: Tensor | None = None) -> Terms:
        """The terms at the end of windows.

        Args:
            start: (B,) the value at the start.
            drives: (B, T, J), each holds for a step.
            logarithms: in place of those of the law.
        """
        given = (self.logarithms if logarithms is None else logarithms).to(start.dtype)
        decay, gains, rises = self._parts(given)
        when = (drives.flip(1) * self._kernel(given)).flip(1).mT
        left = start * torch.exp(-decay * (self.steps * self.step))
        value = torch.cat([torch.stack([torch.zeros_like(start), left], 1), when.sum(2)], 1)
        now = [drives[:, -1, j] for j in range(self.drives)]
        for j, rise in zip(self.rising, rises, strict=True):
            now[j] = (drives[:, :, j].flip(1) * (rise * self._held(rise))).sum(1)
        rate = [-decay * value.sum(1), torch.zeros_like(start)]
        rate += [gains[j] * now[j] for j in range(self.drives)]
        return Terms(value, torch.stack(rate, 1), when)

    def course(self, start: Tensor, drives: Tensor) -> Tensor:
        """(B, K, T) what each term adds to the value at the end of each step; see `terms`."""
        given = self.logarithms.to(start.dtype)
        decay = given[0].exp()
        steps = torch.arange(self.steps, device=start.device)
        end = (steps + 1).to(start.dtype) * self.step
        parts = [torch.zeros_like(drives[..., 0]), start[:, None] * torch.exp(-decay * end)]
        kernel, lag = self._kernel(given), steps[:, None] - steps  # (T, T): steps from one to another
        for j in range(self.drives):
            matrix = torch.where(lag >= 0, kernel[lag.clamp_min(0), j], 0)
            parts.append(drives[:, :, j] @ matrix.mT)
        return torch.stack(parts, 1)

    def _kernel(self, logarithms: Tensor) -> Tensor:
        """(T, J) what one of each drive adds, if it held for a step that ended so many steps ago."""
        decay, gains, rises = self._parts(logarithms)
        held = self._held(decay)
        kernels = [held] * self.drives
        for j, rise in zip(self.rising, rises, strict=True):
            kernels[j] = rise * (held - self._held(rise)) / (rise - decay)
        return torch.stack(kernels, 1) * gains

    def _held(self, rate: Tensor) -> Tensor:
        """(T,) the integral of exp(-rate t) over a step that ended so many steps ago."""
        ago = torch.arange(self.steps, device=rate.device, dtype=rate.dtype) * self.step
        return torch.exp(-rate * ago) * -torch.expm1(-rate * self.step) / rate
