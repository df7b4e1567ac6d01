"""Layers whose output is a linear function of their input once what depends on the input is held.

    y = forward(x)                          as any layer
    y, kept = hold(x)                       also what depends on x: a factor of each output, which input a pool took
    y' = linear(x', one, kept)              the held layer, for any x'; `one` (B, 1, 1, 1) is the input of its shifts
    g', shift = transpose(g, kept)          its transpose: Σ g y' = Σ g' x' + shift one

So a network of such layers is, for each input, one linear map, and the transpose of the map is its explanation.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_at_least

Size = tuple[int, int]
Kept = list[Tensor]
EPSILON = 1e-6
NEAR = 1e-4


class DynamicLinear(nn.Module):
    """The base class: a layer that does nothing.

    Attributes:
        size: of its input in pixels, set by `measure`.
    """

    size: Size

    def measure(self, size: Size) -> Size:
        """Takes the size (H, W) of the inputs, which are all alike, and gives that of the outputs."""
        self.size = size
        return size

    def keeps(self) -> int:
        """How many tensors `hold` gives in evaluation."""
        return 0

    def forward(self, x: Tensor) -> Tensor:
        """The output (B, C', H', W') of inputs (B, C, H, W)."""
        return self.hold(x)[0]

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        """The output, and what of the layer depends on the input."""
        return x, []

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        """The output of the held layer for inputs (B, C, H, W); its shifts are multiplied by `one` (B, 1, 1, 1)."""
        return x

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        """The transposed held layer: (B, C', H', W') to (B, C, H, W), and the part (B,) of the shifts, if any."""
        return g, None


class HeldConv(DynamicLinear):
    """A B-cos convolution: |cos(x, w)|^(B - 1) ŵ x, with ŵ the weight of norm 1 and cos its cosine with the patch.

        out = max over the units of ŵ_m x                (B, C', H', W')
        y = out (|out| / |patch|)^(B - 1)                Böhle et al., CVPR 2022, equations 3 to 7

    The factor is what is held. With B = 1 it is an ordinary convolution.

    Args:
        weight: (C' max_out, C / groups, k, k) at the start.
        b: the exponent B, at least 1; larger ones press weights to align with what they see.
        stride, padding, dilation, groups: as of a convolution.
        max_out: units of which each output is the maximum.
        normed: divide weights by their norm; else the factor is that of the cosine times the norm to the B - 1.
        bias: (C',) at the start, added before the factor; None for none. Only with `max_out` 1.

    Raises:
        ValueError: b or max_out below 1, or a bias with several units.
    """

    def __init__(
        self,
        weight: Tensor,
        b: float = 2.0,
        stride: Size = (1, 1),
        padding: Size = (0, 0),
        dilation: Size = (1, 1),
        groups: int = 1,
        max_out: int = 1,
        normed: bool = True,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_at_least(1, b=b, max_out=max_out)
        if bias is not None and max_out > 1:
            raise ValueError(f"a convolution with max_out {max_out} has no bias; remove the bias.")
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.b, self.max_out, self.normed, self.groups = float(b), max_out, normed, groups
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def measure(self, size: Size) -> Size:
        """See `DynamicLinear.measure`.

        Raises:
            ValueError: the input is smaller than the kernel.
        """
        self.size = size
        return sizes_after(size, tuple(self.weight.shape[2:]), self.stride, self.padding, self.dilation)

    def keeps(self) -> int:
        return int(self.max_out > 1 or self.b != 1)

    def _weight(self) -> Tensor:
        return F.normalize(self.weight.flatten(1), dim=1).view_as(self.weight) if self.normed else self.weight

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def _norms(self, x: Tensor) -> Tensor:
        """(B, groups, H', W') the norm of the patch that each output reads."""
        square = x.square()
        squares = square.unflatten(1, (self.groups, -1)).sum(2) if self.groups > 1 else square.sum(1, keepdim=True)
        ones = squares.new_ones(self.groups, 1, *self.weight.shape[2:])
        return (F.conv2d(squares, ones, None, self.stride, self.padding, self.dilation, self.groups) + EPSILON).sqrt()

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        out = self._conv(x, self._weight())
        if self.bias is not None:
            out = out + self.bias[:, None, None]
        if self.max_out == 1 and self.b == 1:
            return out, []
        if self.max_out == 1:
            factor = self._factor(out, x)
            return out * factor, [factor]
        best, chosen = out.unflatten(1, (-1, self.max_out)).max(2)  # (B, C', H', W')
        factor = self._factor(best, x) if self.b != 1 else torch.ones_like(best)
        units = torch.arange(self.max_out, device=x.device).view(1, 1, -1, 1, 1)
        kept = torch.where(units == chosen[:, :, None], factor[:, :, None], 0)
        return best * factor, [kept.flatten(1, 2)]  # (B, C' max_out, H', W')

    def _factor(self, out: Tensor, x: Tensor) -> Tensor:
        """|cos|^(B - 1) of outputs (B, C', H', W')."""
        norms = self._norms(x)
        if self.groups > 1:
            norms = norms.repeat_interleave(out.shape[1] // self.groups, 1)
        cosine = out.abs() / norms
        return cosine if self.b == 2 else (cosine + EPSILON) ** (self.b - 1)

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        out = self._conv(x, self._weight())
        if self.bias is not None:
            out = out + self.bias[:, None, None] * one
        if kept:
            out = out * kept[0]
        return out if self.max_out == 1 else out.unflatten(1, (-1, self.max_out)).sum(2)

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        if self.max_out > 1:
            g = g.repeat_interleave(self.max_out, 1)
        if kept:
            g = g * kept[0]
        shift = None if self.bias is None else torch.einsum("bchw,c->b", g, self.bias)
        weight = self._weight()
        more = missing(self.size, g.shape[2:], tuple(weight.shape[2:]), self.stride, self.padding, self.dilation)
        back = F.conv_transpose2d(g, weight, None, self.stride, self.padding, more, self.groups, self.dilation)
        return back, shift


class UncentredNorm(DynamicLinear):
    """Batch norm that only divides by the deviation of each channel: no mean is subtracted, nothing is added.

        y = x w / sqrt(variance + ε)            variance of the batch in training, else the running one

    Böhle et al., TPAMI 2024 (B-cos v2), section 3.2.3: so the layer is linear without a shift.
    """

    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.momentum, self.epsilon = momentum, epsilon

    def _scale(self, variance: Tensor) -> Tensor:
        return (self.weight * (variance + self.epsilon).rsqrt())[:, None, None]

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        if not self.training:
            return x * self._scale(self.variance), []
        variance = x.float().var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            self.variance.lerp_(variance, self.momentum)
        return x * self._scale(variance).to(x.dtype), []

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return x * self._scale(self.variance)

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        return g * self._scale(self.variance), None


class HeldNorm(DynamicLinear):
    """An ordinary batch norm, whose shift is the part of the layer that does not read the input.

    In evaluation it is x scale + shift; held layers are those of evaluation.

    Args:
        norm: which it wraps.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def _affine(self) -> tuple[Tensor, Tensor]:
        norm = self.norm
        assert norm.running_var is not None and norm.running_mean is not None  # checked by the conversion
        scale = (norm.running_var + norm.eps).rsqrt() * norm.weight
        return scale[:, None, None], (norm.bias - norm.running_mean * scale)[:, None, None]

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        return self.norm(x), []

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        scale, shift = self._affine()
        return x * scale + shift * one

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        scale, shift = self._affine()
        return g * scale, (g * shift).sum((1, 2, 3))


class Gate(DynamicLinear):
    """An activation function f with f(0) = 0 as a factor of its input, f(x) / x: of a ReLU 1 or 0.

    Args:
        function: f, applied to each number.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def keeps(self) -> int:
        return 1

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        y = self.function(x)
        return y, [] if self.training else [self._factor(x, y)]

    def _factor(self, x: Tensor, y: Tensor) -> Tensor:
        """f(x) / x; near 0, where the derivative of the quotient is lost in rounding, without gradients."""
        if self.function is F.relu or isinstance(self.function, nn.ReLU):
            return (x > 0).to(x)
        near, zero = x.abs() < NEAR, x == 0
        held = torch.where(zero, 0, y.detach() / torch.where(zero, 1, x.detach()))
        return torch.where(near, held, y / torch.where(near, 1, x))

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return x * kept[0]

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        return g * kept[0], None


def sizes_after(size: Size, kernel: Sequence[int], stride: Size, padding: Size, dilation: Size = (1, 1)) -> Size:
    """The size of what a convolution or pooling gives for inputs of a size.

    Raises:
        ValueError: the input is smaller than the kernel.
    """
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"a map of {size[0]} x {size[1]} is too small for a layer with a kernel of {kernel[0]} x {kernel[1]}; use "
            "larger images or fewer strides."
        )
    return height, width


def missing(
    size: Size, out: Sequence[int], kernel: Sequence[int], stride: Size, padding: Size, dilation: Size = (1, 1)
) -> Size:
    """Rows and columns at the end of the input (H, W) that no window of the layer reached."""
    height, width = (
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, k, s, p, d in zip(size, out, kernel, stride, padding, dilation, strict=True)
    )
    return height, width
