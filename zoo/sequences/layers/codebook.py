"""A codebook of vectors that follow the encodings assigned to them: vector quantisation with moving averages.

van den Oord, Vinyals, Kavukcuoglu: "Neural Discrete Representation Learning", NeurIPS 2017, arXiv 1711.00937, appendix
A.1; codes that are not used any more are drawn anew, as in Dhariwal et al.: "Jukebox", arXiv 2005.00341.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_above, check_at_least, check_between

SMOOTHING = 1e-5


@dataclass(frozen=True)
class CodebookOptions:
    """Sizes of a codebook, and how it follows the encodings.

    Raises:
        ValueError: a number out of range.
    """

    codes: int = 64
    """K."""
    dim: int = 16
    """D, numbers of an encoding."""
    decay: float = 0.99
    """Of the moving averages, for each training step."""
    dead: float = 0.1
    """A code that on average gets fewer windows of a batch than this is replaced by a random encoding of the batch."""
    temperature: float = 0.1
    """Of the softmax of negative distances that gives the choice a gradient."""

    def __post_init__(self) -> None:
        check_at_least(2, codes=self.codes, dim=self.dim)
        check_at_least(0, dead=self.dead)
        check_between(0, 1, decay=self.decay)
        check_above(0, temperature=self.temperature)


class Codebook(nn.Module):
    """K codes, each the mean of the encodings that chose it; they have no gradient.

        size <- γ size + (1 - γ) n,   total <- γ total + (1 - γ) Σ e        n, Σ e: of the encodings that chose the code
        code = total / size, with size smoothed: (size + ε) / (S + K ε) S,  S = Σ size, ε = 1e-5

    The first batch of a training gives the codes. On several devices the sums are those of all, and new codes those of
    the first, so that the codes stay the same everywhere. Buffers: `codes` (K, D) · `size` (K,) · `total` (K, D).

    Args:
        options: see `CodebookOptions`.
    """

    codes: Tensor
    size: Tensor
    total: Tensor

    def __init__(self, options: CodebookOptions) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("codes", torch.randn(options.codes, options.dim))
        self.register_buffer("size", torch.zeros(options.codes))
        self.register_buffer("total", torch.zeros(options.codes, options.dim))

    def forward(self, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean squared distance (..., K) of encodings (..., D) to each code, number (...) and value of the nearest.

        In training, the codes follow the encodings afterwards.
        """
        learns = self.training and torch.is_grad_enabled()
        rows = e.detach().flatten(0, -2)
        if learns and not bool(self.size.any()):
            self._replace(torch.ones_like(self.size, dtype=torch.bool), rows)
        codes = self.codes.clone() if learns else self.codes
        distance = (e.square().sum(-1, keepdim=True) - 2 * e @ codes.T + codes.square().sum(1)) / e.shape[-1]
        index = distance.argmin(-1)
        if learns:
            self._follow(rows, index.flatten())
        return distance, index, codes[index]

    def assign(self, distance: Tensor, index: Tensor) -> Tensor:
        """The choice as (..., K): 1 for the code `index`; its gradient is that of a softmax of -distance."""
        hard = F.one_hot(index, distance.shape[-1]).to(distance.dtype)
        if not torch.is_grad_enabled():
            return hard
        soft = (-distance / self.options.temperature).softmax(-1)
        return hard + (soft - soft.detach())

    @torch.no_grad()
    def _follow(self, rows: Tensor, index: Tensor) -> None:
        count, decay = torch.bincount(index, minlength=len(self.size)).to(rows.dtype), self.options.decay
        both = torch.cat([torch.zeros_like(self.total).index_add(0, index, rows), count[:, None]], 1)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(both)
        self.size.lerp_(both[:, -1], 1 - decay)
        self.total.lerp_(both[:, :-1], 1 - decay)
        sum_ = self.size.sum()
        smooth = (self.size + SMOOTHING) / (sum_ + len(self.size) * SMOOTHING) * sum_
        self.codes.copy_(self.total / smooth[:, None])
        self._replace(self.size < self.options.dead, rows)

    @torch.no_grad()
    def _replace(self, dead: Tensor, rows: Tensor) -> None:
        """Gives codes (K,) bool the values of random encodings (N, D), and the average of one window."""
        if not bool(dead.any()):
            return
        number = torch.randperm(len(rows), device=rows.device).repeat(-(-len(dead) // len(rows)))[: len(dead)]
        drawn = rows[number].contiguous()
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(drawn, 0)
        self.codes[dead] = drawn[dead]
        self.total[dead] = drawn[dead]
        self.size[dead] = 1.0
