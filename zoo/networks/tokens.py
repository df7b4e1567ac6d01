"""The tokens that a transformer reads an input as: patches of an image, words of a text."""

import math

from torch import Tensor, nn

from zoo.domain import Domain, ImageDomain
from zoo.networks.timm_blocks import timm_network


class Tokens:
    """Names and places of the tokens of a transformer.

    Args:
        domain: of the inputs, images or texts.
        encoder: of `zoo.networks.encoders.create_encoder`.

    Attributes:
        grid: where the tokens of the input are, (h, w) or (T,).
        prefix: number of tokens before those, class token and registers.
    """

    def __init__(self, domain: Domain, encoder: nn.Module) -> None:
        network, self.prefix = timm_network(encoder), 0
        self.grid: tuple[int, ...] = domain.shape[:1]
        self.kind = "token" if getattr(domain, "tokenizer", "") else "word"
        self._first: list[str] = []
        if isinstance(domain, ImageDomain):
            self.patch: tuple[int, int] = network.patch_embed.patch_size
            self.grid = tuple(math.ceil(side / part) for side, part in zip(domain.size, self.patch, strict=True))
            self.prefix = network.num_prefix_tokens
            self._first = ["class token"] if network.has_class_token else []
            self._first += [f"register {i + 1}" for i in range(network.num_reg_tokens)]

    @property
    def names(self) -> list[str]:
        """Names of all tokens, such as "class token", "patch 0, 8" (its first row and column) or "word 3"."""
        if len(self.grid) == 1:
            return [f"{self.kind} {i + 1}" for i in range(self.grid[0])]
        high, wide = self.patch
        rows, columns = self.grid
        return self._first + [f"patch {r * high}, {c * wide}" for r in range(rows) for c in range(columns)]

    def places(self, values: Tensor) -> Tensor:
        """Values (B, K, tokens) on the grid of the input (B, K, *grid); tokens before those are left out."""
        return values[..., self.prefix :].unflatten(2, self.grid)
