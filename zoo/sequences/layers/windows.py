"""Windows of series: their length in steps, and their moments at every place."""

from torch import Tensor
from torch.nn import functional as F

SHORTEST = 3  # steps of a window; two always look alike once they are normalised


def in_steps(length: float, total: int, what: str = "length") -> int:
    """A length of windows in steps.

    Args:
        length: in steps, or below 1 as a share of `total`, which is rounded and at least `SHORTEST`.
        total: steps of a series.
        what: name of the option, for the message.

    Raises:
        ValueError: fewer than `SHORTEST` steps, part of a step, or more steps than a series has.
    """
    steps = min(max(round(length * total), SHORTEST), total) if 0 < length < 1 else length
    if not SHORTEST <= steps <= total or steps != int(steps):
        raise ValueError(
            f"{what} must be a share of the series between 0 and 1, or whole steps from {SHORTEST} to its {total} "
            f"steps; got {length}."
        )
    return int(steps)


def moments(x: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the window that starts at each step of series (B, V, T): twice (B, V, T - length + 1)."""
    centre = x.mean(2, keepdim=True)  # of float32, the variance is then as exact as the series varies
    near = x - centre
    mean = F.avg_pool1d(near, length, 1)
    variance = F.avg_pool1d(near.square(), length, 1) - mean.square()
    return mean + centre, variance.clamp_min(0)


def normalised(windows: Tensor, flat: float) -> Tensor:
    """Windows (..., L) with mean 0, divided by their standard deviation, or by `flat` if that is larger."""
    mean, deviation = windows.mean(-1, keepdim=True), windows.std(-1, correction=0, keepdim=True)
    return (windows - mean) / deviation.clamp_min(flat)
