"""The tokens that a transformer reads an input as: patches of an image, words of a text."""

import math

import torch
from torch import Tensor, nn

from zoo.domain import Domain, ImageDomain
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.timm_blocks import timm_network

FINE = 4  # so that interpolation blurs the edge of a patch by an eighth of its side only


class Tokens:
    """Names and places of the tokens of a transformer.

    Args:
        domain: of the inputs, images or texts.
        encoder: of `zoo.networks.encoders.create_encoder`.

    Attributes:
        grid: where the tokens of the input are, (h, w) or (T,).
        prefix: number of tokens before those: class token and registers, or special tokens.
    """

    def __init__(self, domain: Domain, encoder: nn.Module) -> None:
        network, self.prefix = timm_network(encoder), 0
        self.grid: tuple[int, ...] = domain.shape[:1]
        self.kind = "token" if getattr(domain, "tokenizer", "") else "word"
        self._first: list[str] = []
        if isinstance(encoder, HuggingFaceText):
            self.prefix = len(encoder.before) + len(encoder.after)
            self._first = [f"special token {i + 1}" for i in range(self.prefix)]
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
            return self._first + [f"{self.kind} {i + 1}" for i in range(self.grid[0])]
        high, wide = self.patch
        rows, columns = self.grid
        return self._first + [f"patch {r * high}, {c * wide}" for r in range(rows) for c in range(columns)]

    def own(self) -> Tensor:
        """Where each token is, (tokens, *S) in {0, 1}: S has `FINE` x `FINE` cells for a patch, or one for a word."""
        count = self.prefix + math.prod(self.grid)
        masks = self.places(torch.eye(count)[None])[0]
        return masks if masks.ndim == 2 else masks.repeat_interleave(FINE, 1).repeat_interleave(FINE, 2)

    def places(self, values: Tensor) -> Tensor:
        """Values (B, K, tokens) on the grid of the input (B, K, *grid); tokens before those are left out."""
        return values[..., self.prefix :].unflatten(2, self.grid)
