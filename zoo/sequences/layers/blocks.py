"""Blocks that mix the tokens of a sequence; with the gates held, each is a linear map of the token vectors.

    out_i = W_out Σ_k M_ik ⊙ (W_v u_k) + offset_i        M = G α S K, (T, T) for each channel

    K    a causal convolution of each channel over a few tokens
    S    a factor at each position (that of SiLU, σ(v), in S6; 1 in the others)
    α    the recurrence, see `zoo.sequences.layers.recurrences`
    G    a gate at each position

The offset comes from the bias of the convolution. All tensors are time first: (T, B, width) and (T, B, channels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequences.layers.mixing import Held, Mixer
from zoo.sequences.layers.recurrences import Dual, Gated, Recurrence, Selective, Weighted
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.signatures import check_options

LARGEST = 12.0  # of the keys of RWKV, so that sums of e^k need no running maximum
SHARP = 8.0  # c of RG-LRU
TOGETHER = 16  # channels of a head, and of a block of gates


@dataclass(frozen=True)
class Observed(Held):
    """What a block computed from a batch: the values, and all gates as they are.

    Attributes:
        values: W_v u (T, B, E).
        here: (T, B, 1), 1 at tokens and 0 at padding.
        kernel: of the convolution (E, taps), the last tap for the token itself.
        bias: of the convolution (E,), or None.
        inner: S (T, B, E), or None for 1.
        outer: G (T, B, E).
        recurrence: α.
    """

    values: Tensor
    here: Tensor
    kernel: Tensor
    bias: Tensor | None
    inner: Tensor | None
    outer: Tensor
    recurrence: Recurrence

    def push(self) -> Tensor:
        """The mixed values (T, B, E), before W_out."""
        v = convolve(self.values, self.kernel, self.bias) * self.here
        return self.outer * self.recurrence.push(v if self.inner is None else v * self.inner)

    def pull(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Reach (T, B, E) and offset (B, E) of a sum of positions with weights (T, B), see `Held`."""
        reached = self.recurrence.pull(weight[..., None] * self.outer) * self.here
        if self.inner is not None:
            reached = reached * self.inner
        offset = torch.zeros_like(reached[0]) if self.bias is None else reached.sum(0) * self.bias
        taps = self.kernel.shape[1]
        later = F.pad(reached, (0, 0, 0, 0, 0, taps - 1))
        return _slide(later, self.kernel.flip(1), len(reached)), offset

    def matrix(self) -> Tensor:
        """M (T, T, B, E), the position that reads first."""
        found = self.recurrence.matrix() * self.here
        if self.inner is not None:
            found = found * self.inner
        taps, steps = self.kernel.shape[1], len(found)
        later = F.pad(found, (0, 0, 0, 0, 0, taps - 1)).movedim(1, 0)
        return self.outer[:, None] * _slide(later, self.kernel.flip(1), steps).movedim(0, 1)


def convolve(values: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Causal convolution of each channel over time: values (T, B, E), kernel (E, taps), the last tap for now."""
    before = F.pad(values, (0, 0, 0, 0, kernel.shape[1] - 1, 0))
    found = _slide(before, kernel, len(values))
    return found if bias is None else found + bias


def _slide(values: Tensor, kernel: Tensor, steps: int) -> Tensor:
    """Σ_t kernel_t ⊙ values from step t on."""
    found = values[:steps] * kernel[:, 0]
    for tap in range(1, kernel.shape[1]):
        found = torch.addcmul(found, values[tap : tap + steps], kernel[:, tap])
    return found


class Block(Mixer):
    """The common parts of blocks: values, convolution, output.

    Args:
        width: of the token vectors.
        channels: E.
        taps: tokens that the convolution reads.
        bias: whether it has a bias.
    """

    def __init__(self, width: int, channels: int, taps: int, bias: bool) -> None:
        super().__init__(width, channels)
        self.kernel = nn.Parameter(torch.empty(channels, taps).uniform_(-1, 1) / taps**0.5)
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None


class S6(Block):
    """The block of Mamba: convolution, SiLU, selective state space, gate.

    Differs from the published code: plain PyTorch; no normalisation.

    Args:
        width: of the token vectors.
        expand: channels for each number of a token vector.
        states: N numbers of state for each channel.
        taps: tokens that the convolution reads.
    """

    def __init__(self, width: int, expand: int = 2, states: int = 16, taps: int = 4) -> None:
        check_at_least(1, width=width, expand=expand, states=states, taps=taps)
        channels, self.rank, self.states = expand * width, -(-width // 16), states
        super().__init__(width, channels, taps, bias=True)
        self.gate = nn.Linear(width, channels, bias=False)
        self.select = nn.Linear(channels, self.rank + 2 * states, bias=False)
        self.step = nn.Linear(self.rank, channels)
        nn.init.uniform_(self.step.weight, -(self.rank**-0.5), self.rank**-0.5)
        first = torch.empty(channels).uniform_(-6.9, -2.3).exp()  # steps of 0.001 to 0.1
        self.step.bias = nn.Parameter(first + torch.log(-torch.expm1(-first)))  # the inverse of softplus
        self.log_rate = nn.Parameter(torch.arange(1.0, states + 1).log().expand(channels, states).clone())
        self.skip = nn.Parameter(torch.ones(channels))

    def observe(self, u: Tensor, here: Tensor) -> Observed:
        values, here = self.value(u), here[..., None]
        v = convolve(values, self.kernel, self.bias) * here
        inner = v.sigmoid()
        low, write, read = self.select(v * inner).split([self.rank, self.states, self.states], -1)
        step = F.softplus(self.step(low)) * here
        recurrence = Selective(step, -self.log_rate.exp(), write, read, self.skip)
        return Observed(values, here, self.kernel, self.bias, inner, F.silu(self.gate(u)), recurrence)


class SSD(Block):
    """The block of Mamba-2: that of Mamba with one decay for all states and channels of a head.

    Differs from the published code: steps, writes and reads are computed from the convolved values, as in Mamba, not
    from the token vectors; no normalisation.

    Args:
        width: of the token vectors.
        expand: channels for each number of a token vector.
        states: N numbers of state for each channel.
        taps: tokens that the convolution reads.
        heads: by default one for 16 channels, or one if these do not divide the channels.
    """

    def __init__(self, width: int, expand: int = 2, states: int = 16, taps: int = 4, heads: int | None = None) -> None:
        check_at_least(1, width=width, expand=expand, states=states, taps=taps)
        channels = expand * width
        super().__init__(width, channels, taps, bias=True)
        self.heads, self.states = parts_of(channels, heads=heads), states
        self.gate = nn.Linear(width, channels, bias=False)
        self.select = nn.Linear(channels, self.heads + 2 * states, bias=False)
        first = torch.empty(self.heads).uniform_(-6.9, -2.3).exp()  # steps of 0.001 to 0.1
        self.step = nn.Parameter(first + torch.log(-torch.expm1(-first)))  # the inverse of softplus
        self.log_rate = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(channels))

    def observe(self, u: Tensor, here: Tensor) -> Observed:
        values, here = self.value(u), here[..., None]
        v = convolve(values, self.kernel, self.bias) * here
        inner = v.sigmoid()
        step, write, read = self.select(v * inner).split([self.heads, self.states, self.states], -1)
        step = F.softplus(step + self.step) * here
        recurrence = Dual(step, -self.log_rate.exp() * step, write, read, self.skip)
        return Observed(values, here, self.kernel, self.bias, inner, F.silu(self.gate(u)), recurrence)


def parts_of(channels: int, **given: int | None) -> int:
    """A number of equal parts of the channels, given by name; by default of 16 channels each, or one part.

    Raises:
        ValueError: it does not divide the channels.
    """
    ((name, count),) = given.items()
    if count is None:
        return 1 if channels % TOGETHER else channels // TOGETHER
    if count < 1 or channels % count:
        raise ValueError(f"{name} must divide the {channels} channels; got {count}.")
    return count


class BlockGates(nn.Module):
    """Two linear maps of E channels whose matrices are block-diagonal: gates of a channel read its own block.

    Args:
        channels: E.
        blocks: number of blocks; 1 for full matrices.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks, bound = blocks, (blocks / channels) ** 0.5
        self.weight = nn.Parameter(torch.empty(2 * channels, channels // blocks).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2 * channels).uniform_(-bound, bound))

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors (T, B, E) of one (T, B, E), before the sigmoid."""
        if self.blocks == 1:
            forget, take = F.linear(v, self.weight, self.bias).chunk(2, -1)
            return forget, take
        each = v.unflatten(2, (self.blocks, -1))
        weight = self.weight.unflatten(0, (2, self.blocks, -1))
        forget, take = (torch.einsum("tbgi,goi->tbgo", each, half).flatten(2) for half in weight)
        return forget + self.bias[: v.shape[2]], take + self.bias[v.shape[2] :]


class RGLRU(Block):
    """The recurrent block of Griffin: convolution, real-gated linear recurrent unit, gate.

    Differs from the published code: no normalisation.

    Args:
        width: of the token vectors.
        expand: channels for each number of a token vector.
        taps: tokens that the convolution reads.
        gate_blocks: blocks of the matrices of the recurrence's gates, which are block-diagonal; by default of 16
            channels each, or 1 (full matrices) if these do not divide the channels.
    """

    def __init__(self, width: int, expand: int = 2, taps: int = 4, gate_blocks: int | None = None) -> None:
        check_at_least(1, width=width, expand=expand, taps=taps)
        channels = expand * width
        super().__init__(width, channels, taps, bias=True)
        blocks = parts_of(channels, gate_blocks=gate_blocks)
        self.gate, self.gates = nn.Linear(width, channels), BlockGates(channels, blocks)
        at_rest = torch.empty(channels).uniform_(0.9**2, 0.999**2).sqrt()  # a at an open gate
        self.decay = nn.Parameter(torch.expm1(-at_rest.log() / SHARP).log())  # softplus of it is -log(a) / c

    def observe(self, u: Tensor, here: Tensor) -> Observed:
        values, first = self.value(u), (here.cumsum(0) == 1)[..., None]
        here = here[..., None]
        v = convolve(values, self.kernel, self.bias) * here
        forget, take = (gate.sigmoid() for gate in self.gates(v))
        log_decay = -SHARP * F.softplus(self.decay) * forget * here
        scale = torch.where(first, 1.0, (-torch.expm1(2 * log_decay)).clamp_min(1e-12).sqrt())
        recurrence = Gated(log_decay, scale * take * here)
        return Observed(values, here, self.kernel, self.bias, None, F.gelu(self.gate(u)), recurrence)


class RWKV(Block):
    """The time mixing of RWKV-4: a weighted mean of the tokens so far, of exponential weights and a gate.

    Differs from the published code: a value mixes with the value before it channel by channel after its projection,
    with free weights; keys are bounded smoothly by ±12, so that no running maximum is needed; no normalisation.

    Args:
        width: of the token vectors.
        expand: channels for each number of a token vector.
    """

    def __init__(self, width: int, expand: int = 1) -> None:
        check_at_least(1, width=width, expand=expand)
        channels = expand * width
        super().__init__(width, channels, taps=2, bias=False)
        self.mix = nn.Parameter(torch.stack([torch.linspace(0, 1, width)] * 2))  # with the token before, key and gate
        self.key, self.gate = nn.Linear(width, channels, bias=False), nn.Linear(width, channels, bias=False)
        self.decay = nn.Parameter(torch.linspace(-5, 1, channels))  # log w
        self.bonus = nn.Parameter(torch.full((channels,), 0.3).log())  # u

    def observe(self, u: Tensor, here: Tensor) -> Observed:
        here = here[..., None]
        before = F.pad(u[:-1], (0, 0, 0, 0, 1, 0))
        of_key, of_gate = (torch.lerp(before, u, share) for share in self.mix)
        key = LARGEST * (self.key(of_key) / LARGEST).tanh()
        recurrence = Weighted(-self.decay.exp() * here, key.exp() * here, self.bonus.exp())
        return Observed(self.value(u), here, self.kernel, None, None, self.gate(of_gate).sigmoid(), recurrence)


BLOCKS: dict[str, Callable[..., Block]] = {"s6": S6, "ssd": SSD, "rg_lru": RGLRU, "rwkv": RWKV}


def create_block(spec: str | Mapping[str, Any], width: int) -> Block:
    """A block from its specification: a name of BLOCKS, or a mapping of `kind`, such a name, and options of its class.

    Raises:
        ValueError: an unknown kind, or an option out of range.
        TypeError: an unknown option.
    """
    options = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = str(options.pop("kind", None))
    check_choice(BLOCKS, block=kind)
    check_options(BLOCKS[kind], options, f"block '{kind}'")
    return BLOCKS[kind](width, **options)
