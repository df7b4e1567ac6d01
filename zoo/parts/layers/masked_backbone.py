"""A backbone that also reads an input's groups of elements alone, each with all else hidden."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import Domain, ImageDomain, TextDomain
from zoo.domain.text import PAD
from zoo.networks.encoders import TextTransformer, create_encoder
from zoo.parts.layers.elements import Elements
from zoo.parts.layers.masked_passes import Footprint, run_groups
from zoo.parts.layers.token_dropping import VisionTokens, create_vit, is_vit


class MaskedEncoder(nn.Module):
    """An encoder of whole inputs (N, *shape) to (N, `channels`), and of their groups to (B, M, `channels`).

    Args:
        encoder: of the domain's inputs.
        elements: what a group may hold.
        fill: what hides an element, see `Elements.hide`.
        dropped: whether hidden elements are left out instead; for Vision Transformers and texts.
        memory: MiB that masked passes may take at one time, roughly; by default as the device suggests.

    Raises:
        ValueError: the encoder cannot read the domain's inputs, or cannot drop elements, or the fill is none for them.
    """

    def __init__(self, encoder: nn.Module, elements: Elements, fill: str, dropped: bool, memory: int | None) -> None:
        super().__init__()
        self.encoder, self.elements, self.how, self.dropped, self.memory = encoder, elements, fill, dropped, memory
        self.channels = int(encoder.channels)  # pyright: ignore[reportArgumentType]
        text = isinstance(elements.domain, TextDomain)
        if dropped and not isinstance(encoder, VisionTokens | TextTransformer):
            raise ValueError(
                f"tokens='dropped' needs a network of tokens, a Vision Transformer of timm or a text Transformer; "
                f"{type(encoder).__name__} has none. Use tokens='masked'."
            )
        if isinstance(encoder, VisionTokens) and dropped and elements.grid != encoder.grid:
            raise ValueError(
                f"tokens='dropped' needs elements that are the network's own patches, {encoder.patch} pixels; "
                f"got patch {elements.patch}."
            )
        if text and fill in ("mean", "blur"):
            raise ValueError(f"words have no {fill}; fill must be 'zero' (padding) or 'token' (the unknown word).")
        if dropped and fill != "zero":
            raise ValueError(f"with tokens='dropped' nothing is filled; got fill='{fill}'. Leave it at 'zero'.")
        learned = fill == "token" and not text
        self.token = nn.Parameter(torch.zeros(_token_shape(elements.domain))) if learned else None
        self.footprint = Footprint(encoder, self._probe)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def groups(self, x: Tensor, masks: Tensor, size: int, wanted: Tensor | None = None) -> Tensor:
        """States (B, M, `channels`) of the groups `masks` (B, M, L) of inputs (B, *shape).

        Args:
            x: inputs.
            masks: bool, or float where gradients pass through the mask.
            size: elements of each mask, or for texts at most.
            wanted: (B, M) bool, the groups to run; None for all.
        """
        learning = torch.is_grad_enabled() and (
            masks.requires_grad or any(p.requires_grad for p in self.encoder.parameters())
        )
        many = masks.shape[1] > 1  # one mask an input is a batch like any other
        memory = self.memory or (16 if x.device.type == "cpu" else 2048)
        rows = self.footprint.rows(memory << 20, learning) if many else x.shape[0]
        with nullcontext() if learning else torch.no_grad():
            embedded = self.encoder.embed(x) if self.dropped and isinstance(self.encoder, VisionTokens) else x

            def run(index: Tensor, mask: Tensor) -> Tensor:
                rows_of_x = embedded[index]
                return self._dropped(rows_of_x, mask, size) if self.dropped else self._masked(rows_of_x, mask)

            return run_groups(run, masks, wanted, rows)

    def _masked(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(self.elements.hide(x, mask, self.how, self.token))

    def _dropped(self, x: Tensor, mask: Tensor, size: int) -> Tensor:
        """The same on what the masks keep, moved together in its own order."""
        if isinstance(self.encoder, VisionTokens):
            return self.encoder.encode(self.encoder.keep(x, kept_first(mask)[:, :size]))
        if torch.compiler.is_compiling():  # the same function, of a length that does not depend on the texts
            return self._masked(x, mask)
        shown = self.elements.expand(mask, x) & (x != PAD)
        longest = max(1, int(shown.sum(1).max()))
        place = kept_first(shown)[:, :longest]
        words = x.gather(1, place).masked_fill(~shown.gather(1, place), PAD)
        return self.encoder(words, place)

    def _probe(self) -> None:
        """One pass over one made-up input, to find out now whether the encoder reads such inputs."""
        domain = self.elements.domain
        x = domain.example(1, torch.Generator().manual_seed(0))
        training = [m for m in self.encoder.modules() if m.training]
        self.encoder.eval()
        try:
            with torch.no_grad():
                state = self.encoder(x)
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"the backbone cannot read {domain.noun} of shape {tuple(domain.shape)} ({error}); choose another "
                "backbone, or another size of the inputs."
            ) from error
        finally:
            for module in training:
                module.training = True
        if not isinstance(state, Tensor) or state.shape != (1, self.channels):
            found = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(f"the backbone must give one vector (1, {self.channels}) for an input; got {found}.")


def kept_first(mask: Tensor) -> Tensor:
    """(N, L) numbers of the elements, those in the mask first, each part in order."""
    return mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)


def create_masked_encoder(spec: str | Mapping[str, Any], domain: Domain) -> tuple[nn.Module, int]:
    """The encoder of a spec, and the patch that its elements have by nature (0: any).

    Raises:
        ValueError, FileNotFoundError: see `zoo.networks.encoders.create_encoder`.
    """
    if isinstance(domain, ImageDomain) and is_vit(spec):
        encoder = create_vit(spec, domain)
        return encoder, encoder.patch
    return create_encoder(spec, domain), 0


def _token_shape(domain: Domain) -> tuple[int, ...]:
    """Of one learned value for each channel, variable or feature."""
    return (domain.shape[0], 1, 1) if isinstance(domain, ImageDomain) else (domain.shape[-1],)
