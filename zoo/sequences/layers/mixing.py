"""What blocks that mix tokens have in common: with their weights held, each is a linear map of the token vectors."""

from typing import Protocol

import torch
from torch import Tensor, nn


class Held(Protocol):
    """What a block computed from a batch, linear in its values while all else is held. Time comes first.

    Attributes:
        values: W_v u (T, B, E).
    """

    values: Tensor

    def push(self) -> Tensor:
        """The mixed values (T, B, E), before W_out."""
        ...

    def pull(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """What a sum of outputs takes from each token: Σ_i weight_i out_i = W_out (Σ_k reach_k ⊙ values_k + offset).

        Args:
            weight: (T, B) of each position in the sum.

        Returns:
            reach (T, B, E) and offset (B, E).
        """
        ...

    def matrix(self) -> Tensor:
        """M (T, T, B, E), the position that reads first."""
        ...


class Mixer(nn.Module):
    """A block: out_i = W_out (Σ_k M_ik ⊙ (W_v u_k) + offset_i).

    Args:
        width: D, of the token vectors.
        channels: E, of the values.

    Attributes:
        value: W_v (E, D).
        out: W_out (D, E).
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, channels, bias=False)
        self.out = nn.Linear(channels, width, bias=False)

    def observe(self, u: Tensor, here: Tensor) -> Held:
        """Values and gates of token vectors u (T, B, D); `here` (T, B) is 1 at tokens and 0 at padding."""
        raise NotImplementedError(f"{type(self).__name__} does not define observe()")

    def forward(self, u: Tensor, here: Tensor) -> Tensor:
        """Outputs (T, B, D), 0 at padding."""
        return self.out(self.observe(u, here).push()) * here[..., None]


class Parallel(nn.ModuleList):
    """Blocks side by side on the same token vectors; the output is their sum."""

    @property
    def mixers(self) -> list[Mixer]:
        """The blocks."""
        return [block for block in self if isinstance(block, Mixer)]

    def forward(self, u: Tensor, here: Tensor) -> Tensor:
        """The sum of the outputs (T, B, D)."""
        return torch.stack([block(u, here) for block in self.mixers]).sum(0)
