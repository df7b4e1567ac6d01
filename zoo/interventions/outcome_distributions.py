"""The class distribution if one concept were absent or present, as the statistics that policies use.

P(y) is the present distribution, P_v(y) the one with concept j alone set to v. Where scores are affine in the
activations,

    P_v(y) = P(y) E_v(j, y) / Z_v(j),    E_v = exp((v - a_j) D_j(y)),    Z_v = Σ_y P(y) E_v(j, y)

and E_v does not depend on earlier interventions: it is computed once, and every later P_v is a matrix product.
"""

from functools import cached_property

import torch
from torch import Tensor

RANGE = 30.0  # range of log E_v over the classes, in nats, up to which E_v is used; beyond it, log P_v is computed
NEGLIGIBLE = 57.0  # classes this many nats below P = 1 are left out: fp32 sums do not change, and denormals are slow


class DirectOutcomes:
    """Distributions P_v after one concept is set, from their scores.

    Args:
        scores: (B, 2, k, C), with concept j alone absent and present.
        log_probability: (B, C), log P.
    """

    def __init__(self, scores: Tensor, log_probability: Tensor) -> None:
        self.log_after, self.log_probability = scores.log_softmax(3), log_probability

    def entropy(self) -> Tensor:
        """Entropies H(P_v), (B, 2, k) in nats."""
        return -(self.log_after.exp() * self.log_after).sum(3)

    def divergence(self) -> Tensor:
        """Divergences KL(P_v || P), (B, 2, k) in nats."""
        return (self.log_after.exp() * (self.log_after - self.log_probability[:, None, None])).sum(3)

    def probability(self, target: Tensor) -> Tensor:
        """Probabilities P_v (B, 2, k) of a class (B,)."""
        shape = (*self.log_after.shape[:3], 1)
        return self.log_after.gather(3, target[:, None, None, None].expand(shape))[..., 0].exp()


class FactoredOutcomes:
    """The same statistics from E_v, without another exponential.

    Args:
        effects: E_v and E_v log E_v, (B, 2k, C) each.
        log_probability: (B, C), log P.
    """

    def __init__(self, effects: tuple[Tensor, Tensor], log_probability: Tensor) -> None:
        (self.effect, self.weighted), self.log_probability = effects, log_probability
        self.present = log_probability.exp().masked_fill(log_probability < -NEGLIGIBLE, 0.0)  # P

    @cached_property
    def total(self) -> Tensor:
        """Normalisers Z_v, (B, 2k)."""
        return _product(self.effect, self.present)

    @cached_property
    def mean_effect(self) -> Tensor:
        """Mean of log E_v under P_v, (B, 2k)."""
        return _product(self.weighted, self.present) / self.total

    def entropy(self) -> Tensor:
        """Entropies H(P_v), (B, 2, k) in nats."""
        mean_log = _product(self.effect, self.present * self.log_probability) / self.total
        return self._by_value(self.total.log() - mean_log - self.mean_effect)

    def divergence(self) -> Tensor:
        """Divergences KL(P_v || P), (B, 2, k) in nats."""
        return self._by_value((self.mean_effect - self.total.log()).clamp_min(0))

    def probability(self, target: Tensor) -> Tensor:
        """Probabilities P_v (B, 2, k) of a class (B,)."""
        effect = self.effect.gather(2, target[:, None, None].expand(*self.effect.shape[:2], 1))[..., 0]
        return self._by_value(effect * self.present.gather(1, target[:, None]) / self.total)

    def _by_value(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (2, -1))


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    """(B, m) products of matrices (B, m, C) and vectors (B, C)."""
    return torch.bmm(matrix, vector[..., None])[..., 0]
