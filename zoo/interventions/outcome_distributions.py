"""The class distributions were one concept absent or present, as the numbers that policies ask of them.

P(y) is the distribution now, P_v(y) the one with concept j alone set to v. Where scores are affine in the activations,

    P_v(y) = P(y) E_v(j, y) / Z_v(j),    E_v = exp((v - a_j) D_j(y)),    Z_v = Σ_y P(y) E_v(j, y)

and E_v does not depend on what was answered before: it is made once, and every later P_v is a matrix product.
"""

from functools import cached_property

import torch
from torch import Tensor

RANGE = 30.0  # log-units that E_v may span over the classes; beyond it the logarithms are taken one by one
TINY = 57.0  # classes this many log-units below are left out: in fp32 they add nothing, and as denormals cost time


class Direct:
    """Class distributions P_v after setting one concept, from their scores.

    Args:
        scores: (B, 2, k, C) with concept j alone at absent and at present.
        log_shares: (B, C) logarithms of P, the distribution now.
    """

    def __init__(self, scores: Tensor, log_shares: Tensor) -> None:
        self.log_after, self.log_shares = scores.log_softmax(3), log_shares

    def entropy(self) -> Tensor:
        """(B, 2, k): H(P_v)."""
        return -(self.log_after.exp() * self.log_after).sum(3)

    def divergence(self) -> Tensor:
        """(B, 2, k): KL(P_v || P)."""
        return (self.log_after.exp() * (self.log_after - self.log_shares[:, None, None])).sum(3)

    def share(self, target: Tensor) -> Tensor:
        """(B, 2, k): P_v of a class (B,)."""
        shape = (*self.log_after.shape[:3], 1)
        return self.log_after.gather(3, target[:, None, None, None].expand(shape))[..., 0].exp()


class Factored:
    """The same from E_v, without another exponential.

    Args:
        effects: E_v, and E_v log E_v, each (B, 2k, C).
        log_shares: (B, C) logarithms of P.
    """

    def __init__(self, effects: tuple[Tensor, Tensor], log_shares: Tensor) -> None:
        (self.effect, self.weighted), self.log_shares = effects, log_shares
        self.shares = log_shares.exp().masked_fill(log_shares < -TINY, 0.0)

    @cached_property
    def total(self) -> Tensor:
        """(B, 2k): Z_v."""
        return _against(self.effect, self.shares)

    @cached_property
    def mean_effect(self) -> Tensor:
        """(B, 2k): the mean of log E_v under P_v."""
        return _against(self.weighted, self.shares) / self.total

    def entropy(self) -> Tensor:
        """(B, 2, k): H(P_v)."""
        plain = _against(self.effect, self.shares * self.log_shares) / self.total
        return self._by_value(self.total.log() - plain - self.mean_effect)

    def divergence(self) -> Tensor:
        """(B, 2, k): KL(P_v || P)."""
        return self._by_value((self.mean_effect - self.total.log()).clamp_min(0))

    def share(self, target: Tensor) -> Tensor:
        """(B, 2, k): P_v of a class (B,)."""
        effect = self.effect.gather(2, target[:, None, None].expand(*self.effect.shape[:2], 1))[..., 0]
        return self._by_value(effect * self.shares.gather(1, target[:, None]) / self.total)

    def _by_value(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (2, -1))


def _against(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.bmm(matrix, vector[..., None])[..., 0]
