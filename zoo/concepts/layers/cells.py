"""The cells of an input that a code is made of, and their mean: places of a map, tokens of a text, or steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from zoo.concepts.layers.sparse_codes import Coded, Dictionary
from zoo.domain.text import PAD
from zoo.networks.base import Features, StateEncoder
from zoo.utils.functional import at_least_fp32


@dataclass(frozen=True)
class Cells:
    """Features of P cells of each input.

    Attributes:
        features: (B, P, d).
        share: (B, P) weight of each cell in the mean, 0 for padding; None: all the same.
        grid: shape of the cells, such as (h, w) or (T,); None where there is but one, which has no place.
    """

    features: Tensor
    share: Tensor | None
    grid: Sequence[int] | None

    def mean(self, values: Tensor) -> Tensor:
        """Mean of values (B, P, ...) over the cells."""
        if self.share is None:
            return values.mean(1)
        return (values * self.share.view(*self.share.shape, *[1] * (values.ndim - 2))).sum(1)

    def rows(self) -> Tensor:
        """The features (N, d) of all cells except padding."""
        return self.features.flatten(0, 1) if self.share is None else self.features[self.share > 0]

    def code(self, dictionary: Dictionary) -> Coded:
        """The code (B, P, m), error and penalty (B, P) of the cells, 0 for padding, from which nothing is learned."""
        size = self.features.shape[:2]
        if self.share is None or not dictionary.training:
            found = dictionary(self.features.flatten(0, 1))
            values = [t.unflatten(0, size) for t in (found.code, found.error, found.penalty)]
            if self.share is not None:
                here = self.share > 0
                values = [t * here.view(*size, *[1] * (t.ndim - 2)) for t in values]
        else:
            here, found = self.share > 0, dictionary(self.rows())
            parts = (found.code, found.error, found.penalty)
            values = [t.new_zeros(*size, *t.shape[1:]).index_put((here,), t) for t in parts]
        return Coded(values[0], values[1], values[2], found.auxiliary)


def has_cells(encoder: nn.Module) -> bool:
    """Whether an encoder of sequences gives the mean of a state for each token or step.

    With `pooling: padded` it does not, as padding counts too.
    """
    return isinstance(encoder, StateEncoder) and getattr(encoder, "pooling", "masked") == "masked"


def cells_of(encoder: nn.Module, x: Tensor) -> Cells:
    """The cells of inputs x: places of a map (B, d, h, w), tokens or steps of an encoder with states, or one vector.

    Args:
        encoder: of the inputs.
        x: inputs; or states (B, T, d) that `zoo.training.cached_features` kept, which are 0 where there is padding.

    Raises:
        ValueError: vectors of an encoder with states, which have lost their places.
    """
    if isinstance(encoder, StateEncoder) and has_cells(encoder):
        if isinstance(x, Features):
            if x.ndim != 3:
                raise ValueError(f"features of tokens or steps are (B, T, {encoder.channels}); got {tuple(x.shape)}.")
            states = x.as_subclass(Tensor).float()
            there = states.any(2).to(states)
            return Cells(states, there / there.sum(1, keepdim=True).clamp_min(1), states.shape[1:2])
        states = at_least_fp32(encoder.states(x))
        if x.is_floating_point():
            return Cells(states, None, states.shape[1:2])
        here = (x != PAD).to(states)
        return Cells(states, here / here.sum(1, keepdim=True).clamp_min(1), states.shape[1:2])
    features = at_least_fp32(encoder(x))
    if features.ndim == 4:
        return Cells(features.flatten(2).mT, None, features.shape[2:])
    return Cells(features[:, None], None, None)
