"""Curves in place of weights: a piecewise linear function of each activation for each class."""

import torch
from torch import Tensor, nn

from zoo.core.curves import Axis, Curve
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32


class CurveHead(nn.Module):
    """Scores classes by a sum of functions of one activation each.

        score_c = b_c + Σ_k f_kc(v_k)       f_kc: linear between knots, constant beyond the ends, 0 at v = 0

    The knots are evenly spaced. All pieces of a curve start with the same slope, as a linear layer would.

    Args:
        names: of the K activations.
        classes: C.
        pieces: M, of each curve.
        low: the first knot.
        high: the last knot; 0 must be one of them.

    Attributes:
        slopes: (K, M, C) of each piece.
        density: (K, M + 1) share of the training rows nearest to each knot; 0 before `measure`.

    Raises:
        ValueError: no pieces, or 0 is not a knot.
    """

    knots: Tensor
    density: Tensor

    def __init__(self, names: tuple[str, ...], classes: int, pieces: int, low: float, high: float) -> None:
        super().__init__()
        check_at_least(1, pieces=pieces)
        before = -low * pieces / (high - low)  # pieces below 0
        if abs(before - round(before)) > 1e-9:
            raise ValueError(f"curves from {low:g} to {high:g} need an even number of pieces; got {pieces}.")
        self.places = tuple(low + (high - low) * i / pieces for i in range(pieces + 1))
        self.names = names
        linear = nn.Linear(len(names), classes)
        self.slopes = nn.Parameter(linear.weight.detach().T[:, None].repeat(1, pieces, 1))
        self.bias = nn.Parameter(linear.bias.detach())
        self.register_buffer("knots", torch.tensor(self.places), persistent=False)
        self.register_buffer("density", torch.zeros(len(names), pieces + 1))

    def lengths(self, values: Tensor) -> Tensor:
        """How much of each piece lies between 0 and values (B, K), below 0 negative: (B, K, M)."""
        low, high = self.knots[:-1], self.knots[1:]
        return values[..., None].clamp(low, high) - torch.zeros_like(low).clamp(low, high)

    def forward(self, values: Tensor) -> Tensor:
        """Scores (B, C) of activations (B, K)."""
        return self.lengths(values).flatten(1) @ at_least_fp32(self.slopes).flatten(0, 1) + at_least_fp32(self.bias)

    def contributions(self, values: Tensor, target: Tensor) -> Tensor:
        """Contributions (B, K) to the score of the class `target` (B,)."""
        slopes = at_least_fp32(self.slopes)[:, :, target].permute(2, 0, 1)
        return (self.lengths(values) * slopes).sum(2)

    def measure(self, values: Tensor) -> None:
        """Sets the density from the activations (N, K) of the training set."""
        middle = (self.knots[1:] + self.knots[:-1]) / 2
        for k, column in enumerate(values.T):
            nearest = torch.bucketize(column.contiguous(), middle)
            self.density[k] = torch.bincount(nearest, minlength=len(self.knots)) / len(values)

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """The curve of each activation, which is the head itself."""
        values = torch.einsum("nm,kmc->knc", self.lengths(self.knots[:, None])[:, 0], self.slopes)
        return tuple(
            Curve(name, (Axis(name, "points", self.places),), value, density)
            for name, value, density in zip(self.names, values, self.density, strict=True)
        )
