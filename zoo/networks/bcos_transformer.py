"""A B-cos vision transformer as dynamic-linear layers, see `zoo.networks.dynamic_linear`.

Böhle, Singh, Fritz, Schiele: "B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers", TPAMI 2024,
arXiv 2306.10898, section 3.3. States of tokens are maps (B, D, h, w), one cell for each token.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo.networks.dynamic_linear import DynamicLinear, HeldConv, Kept, Size
from zoo.networks.dynamic_network import Chain, Residual
from zoo.networks.dynamic_pools import AveragePool
from zoo.utils.checks import check_at_least

TEMPERATURE = 10_000.0  # of the wavelengths of position codes


@dataclass(frozen=True)
class Transformer:
    """The sizes of a B-cos vision transformer."""

    width: int = 64
    """D, channels of each token; a multiple of 4 and of `heads`, at least 8."""
    depth: int = 4
    """Number of blocks, each of attention and an MLP."""
    heads: int = 4
    """Heads of attention."""
    hidden: int | None = None
    """Width of the MLPs; 4 D by default."""
    side: int = 8
    """Of a token in pixels, or in cells of the stem; it divides the size of these."""
    stem: tuple[int, ...] = ()
    """Channels of 3 x 3 B-cos convolutions before the tokens, each with a layer norm of the complete map, with stride 2
    where channels increase."""
    codes: float = 1.0
    """Amplitude of the position codes, 1 as published; smaller ones leave more of the scores to the pixels."""
    values: float = 1.0
    """The exponent B of the value layers; 1: ordinary linear layers, as in the published code."""


class HeldLayerNorm(DynamicLinear):
    """Layer norm without a bias: the mean is subtracted, which is linear, and the deviation is held.

        y = w (x - mean) / sqrt(variance + ε)

    Args:
        channels: D of the inputs (B, D, h, w).
        dims: over which mean and variance are taken: (1,) in each cell; (1, 2, 3) in the complete map.
        epsilon: ε.
    """

    def __init__(self, channels: int, dims: tuple[int, ...] = (1,), epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.dims, self.epsilon = dims, epsilon

    def keeps(self) -> int:
        return 1

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        variance, mean = torch.var_mean(x, self.dims, correction=0, keepdim=True)
        scale = (variance + self.epsilon).rsqrt()
        return (x - mean) * scale * self.weight[:, None, None], [scale]

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return (x - x.mean(self.dims, keepdim=True)) * kept[0] * self.weight[:, None, None]

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        g = g * self.weight[:, None, None] * kept[0]
        return g - g.mean(self.dims, keepdim=True), None


class HeldAttention(DynamicLinear):
    """Multi-head self-attention, of which the attention of tokens to each other is held.

        A = softmax(Q K / sqrt(D / heads))      (B, heads, N, N), from the input
        y = B-cos(A V x)                        V linear, or B-cos

    Args:
        width: D.
        heads: which divide D.
        b: the exponent B of the output layer.
        max_out: of the output layer.
        values: the exponent B of the value layer; 1 is an ordinary linear layer, as in the published code.
    """

    def __init__(self, width: int, heads: int, b: float, max_out: int, values: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(width, 2 * width, bias=False)
        self.value = HeldConv(nn.Conv2d(width, width, 1).weight.detach(), values, normed=values != 1)
        self.out = _conv(width, width, 1, b, max_out)

    def measure(self, size: Size) -> Size:
        self.size = size
        return self.out.measure(self.value.measure(size))

    def keeps(self) -> int:
        return 1 + self.value.keeps() + self.out.keeps()

    def _attention(self, x: Tensor) -> Tensor:
        """(B, heads, N, N), row i: how much of each token flows to token i."""
        both = self.query_key(x.flatten(2).mT).unflatten(2, (2, self.heads, -1))  # (B, N, 2, heads, D / heads)
        query, key = both.movedim(1, 3).unbind(1)  # (B, heads, N, D / heads)
        return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)

    def _mix(self, attention: Tensor, x: Tensor) -> Tensor:
        """Maps (B, D, h, w), each head's channels mixed over the cells by its matrix (B, heads, N, N)."""
        split = x.flatten(2).unflatten(1, (self.heads, -1))  # (B, heads, D / heads, N)
        return (split @ attention.mT).flatten(1, 2).unflatten(2, self.size)

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        attention = self._attention(x)
        value, kept = self.value.hold(x)
        y, more = self.out.hold(self._mix(attention, value))
        return y, [attention, *kept, *more]

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        first = 1 + self.value.keeps()
        value = self.value.linear(x, one, kept[1:first])
        return self.out.linear(self._mix(kept[0], value), one, kept[first:])

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        first = 1 + self.value.keeps()
        g, _ = self.out.transpose(g, kept[first:])  # without biases, so without a shift
        return self.value.transpose(self._mix(kept[0].mT, g), kept[1:first])


class PositionCodes(DynamicLinear):
    """Adds to each cell the code of its position, which does not depend on the input: sines and cosines.

    Args:
        width: D, a multiple of 4, at least 8.
        size: (h, w) of the maps.
        amplitude: of sines and cosines.
    """

    codes: Tensor  # (D, h, w)

    def __init__(self, width: int, size: Size, amplitude: float = 1.0) -> None:
        super().__init__()
        frequencies = TEMPERATURE ** (-torch.arange(width // 4) / (width // 4 - 1))
        rows, columns = (torch.arange(n)[None] * frequencies[:, None] for n in size)  # (D / 4, h) and (D / 4, w)
        down, across = rows[:, :, None].expand(-1, *size), columns[:, None].expand(-1, *size)
        codes = torch.cat([across.sin(), across.cos(), down.sin(), down.cos()])
        self.register_buffer("codes", amplitude * codes, persistent=False)

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        return x + self.codes, []

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return x + self.codes * one

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        return g, (g * self.codes).sum((1, 2, 3))


def bcos_transformer(channels: int, size: Size, b: float, max_out: int, options: Transformer) -> Chain:
    """A B-cos transformer from encoded images (B, `channels`, H, W) to the normed mean of its tokens (B, D, 1, 1).

    A B-cos layer makes D channels of each token, to which position codes are added; `depth` blocks follow, of attention
    and an MLP of two B-cos layers, each with a layer norm before and a residual connection.

    Args:
        channels: of the encoded images.
        size: (H, W).
        b: the exponent B.
        max_out: units of each output of a B-cos layer.
        options: the sizes.

    Raises:
        ValueError: a number out of range, or sizes that do not divide each other.
    """
    width, side, stem = options.width, options.side, options.stem
    check_at_least(1, depth=options.depth, heads=options.heads, side=side, values=options.values)
    check_at_least(8, width=width)
    check_at_least(0, codes=options.codes)
    if width % 4 or width % options.heads:
        raise ValueError(f"width must be a multiple of 4 and of heads; got width {width} and {options.heads} heads.")
    if any(n < 1 for n in stem):
        raise ValueError(f"the stem has at least 1 channel in each layer; got {list(stem)}.")
    first: list[DynamicLinear] = []
    for source, target in pairwise([channels, *stem]):
        stride = 2 if target > source else 1
        first += [_conv(source, target, 3, b, max_out, stride, 1), HeldLayerNorm(target, (1, 2, 3))]
    rows, columns = Chain(first).measure(size)
    if rows % side or columns % side:
        raise ValueError(f"tokens of side {side} do not fill a map of {rows} x {columns}; change side or stem.")
    grid = (rows // side, columns // side)
    embed = _conv(stem[-1] if stem else channels, width, side, b, max_out, side, 0)
    blocks = [block for _ in range(options.depth) for block in _block(options, b, max_out)]
    last = [AveragePool(grid, grid), HeldLayerNorm(width)]
    return Chain([*first, embed, PositionCodes(width, grid, options.codes), *blocks, *last])


def _block(options: Transformer, b: float, max_out: int) -> list[DynamicLinear]:
    """Attention and an MLP, each with its layer norm and residual connection.

    Raises:
        ValueError: an MLP without channels.
    """
    width, hidden = options.width, 4 * options.width if options.hidden is None else options.hidden
    check_at_least(1, hidden=hidden)
    attention = [HeldLayerNorm(width), HeldAttention(width, options.heads, b, max_out, options.values)]
    mlp = [HeldLayerNorm(width), _conv(width, hidden, 1, b, max_out), _conv(hidden, width, 1, b, max_out)]
    return [Residual(Chain(body), Chain([])) for body in (attention, mlp)]


def _conv(source: int, target: int, kernel: int, b: float, max_out: int, stride: int = 1, padding: int = 0) -> HeldConv:
    weight = nn.Conv2d(source, target * max_out, kernel).weight.detach()
    return HeldConv(weight, b, (stride, stride), (padding, padding), max_out=max_out)
