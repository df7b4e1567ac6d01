"""A backbone that reads inputs, and each group of their elements with everything else hidden."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.domain import Domain, ImageDomain, TextDomain
from zoo.domain.text import PAD
from zoo.networks.base import Encoder, StateEncoder
from zoo.networks.elements import FILLS, Elements
from zoo.networks.encoders import create_encoder
from zoo.networks.token_dropping import VisionTokens, create_vit, is_vit
from zoo.parts.layers.masked_passes import Footprint, run_groups
from zoo.utils.checks import check_above, check_choice

BUDGET = {"cpu": 16}  # MiB of masked passes at one time: on a CPU, what stays in the cache is fastest
OTHERWISE = 2048


@dataclass(frozen=True)
class Masking:
    """How a backbone reads a group of elements without the others."""

    fill: Literal["zero", "mean", "blur", "token"] = "zero"
    """What replaces hidden elements, see `Elements.hide`; "token" is learned."""
    tokens: Literal["masked", "dropped"] = "masked"
    """"dropped": leave hidden tokens out instead of replacing them. For a Vision Transformer this is another function,
    several times cheaper; for a text Transformer it is the same function."""
    memory: int | None = None
    """MiB that masked passes may take at one time, roughly; by default 16 on a CPU and 2048 on a GPU."""

    def __post_init__(self) -> None:
        check_choice(FILLS, fill=self.fill)
        check_choice(("masked", "dropped"), tokens=self.tokens)
        if self.memory is not None:
            check_above(0, memory=self.memory)


class MaskedEncoder(nn.Module):
    """Encodes inputs (N, *shape) as (N, `channels`), and their groups as (B, M, `channels`).

    Args:
        encoder: of the domain's inputs.
        elements: of the inputs.
        masking: how hidden elements are replaced or left out.

    Raises:
        ValueError: the encoder cannot read the domain's inputs or cannot drop tokens, or the fill does not fit them.
    """

    def __init__(self, encoder: Encoder, elements: Elements, masking: Masking) -> None:
        super().__init__()
        self.encoder, self.elements, self.masking = encoder, elements, masking
        self.dropped, self.channels = masking.tokens == "dropped", encoder.channels
        text = isinstance(elements.domain, TextDomain)
        placed = isinstance(encoder, StateEncoder) and encoder.places
        if self.dropped and not (placed or isinstance(encoder, VisionTokens)):
            raise ValueError(
                f"tokens='dropped' needs a network of tokens with places, a Vision Transformer of timm, a text "
                f"Transformer or BERT; {type(encoder).__name__} has none. Use tokens='masked'."
            )
        if isinstance(encoder, VisionTokens) and self.dropped and elements.grid != encoder.grid:
            raise ValueError(
                f"tokens='dropped' needs elements that are the network's own patches, {encoder.patch} pixels; "
                f"got patch {elements.patch}."
            )
        if text and masking.fill in ("mean", "blur"):
            raise ValueError(
                f"words have no {masking.fill}; fill must be 'zero' (padding) or 'token' (the unknown word)."
            )
        if self.dropped and masking.fill != "zero":
            raise ValueError(f"with tokens='dropped' nothing is filled; got fill='{masking.fill}'. Leave it at 'zero'.")
        learned = masking.fill == "token" and not text
        self.token = nn.Parameter(torch.zeros(_token_shape(elements.domain))) if learned else None
        self.footprint = Footprint(encoder, self._probe)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def groups(self, x: Tensor, masks: Tensor, size: int, wanted: Tensor | None = None) -> Tensor:
        """Encodes the groups `masks` (B, M, L) of inputs as (B, M, `channels`).

        Args:
            x: inputs (B, *shape).
            masks: bool, or float where gradients pass through the mask.
            size: elements of each mask; for texts, the largest number of them.
            wanted: (B, M) bool, the groups to run; None for all.
        """
        learning = torch.is_grad_enabled() and (
            masks.requires_grad or any(p.requires_grad for p in self.encoder.parameters())
        )
        many = masks.shape[1] > 1  # with one mask for each input, this is an ordinary batch
        memory = self.masking.memory or BUDGET.get(x.device.type, OTHERWISE)
        rows = self.footprint.rows(memory << 20, learning) if many else x.shape[0]
        with nullcontext() if learning else torch.no_grad():
            embedded = self.encoder.embed(x) if self.dropped and isinstance(self.encoder, VisionTokens) else x

            def run(index: Tensor, mask: Tensor) -> Tensor:
                rows_of_x = embedded[index]
                return self._dropped(rows_of_x, mask, size) if self.dropped else self._masked(rows_of_x, mask)

            return run_groups(run, masks, wanted, rows)

    def _masked(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(self.elements.hide(x, mask, self.masking.fill, self.token))

    def _dropped(self, x: Tensor, mask: Tensor, size: int) -> Tensor:
        """Encodes what the masks keep, moved together in its own order."""
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
        """Encodes one made-up input.

        Raises:
            ValueError: the encoder cannot read such inputs.
        """
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
    """(N, L) indices of the elements: first those in the mask, then the others, each in order."""
    return mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)


def create_masked_encoder(spec: str | Mapping[str, Any], domain: Domain) -> tuple[Encoder, int]:
    """Builds the encoder of a specification; the second value is the patch of its own elements, 0 for any.

    Raises:
        ValueError, FileNotFoundError: see `zoo.networks.encoders.create_encoder`.
    """
    if isinstance(domain, ImageDomain) and is_vit(spec):
        encoder = create_vit(spec, domain)
        return encoder, encoder.patch
    return create_encoder(spec, domain), 0


def _token_shape(domain: Domain) -> tuple[int, ...]:
    """Shape of one learned value for each channel, variable or feature."""
    return (domain.shape[0], 1, 1) if isinstance(domain, ImageDomain) else (domain.shape[-1],)
