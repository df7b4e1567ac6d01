"""A layer of conjunctions and disjunctions with a continuous form for training (RRL).

Wang, Zhang, Liu, Wang: "Learning Interpretable Rules for Scalable Data Representation and Classification", TPAMI 2024,
arXiv 2310.14336.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RuleLayer(nn.Module):
    """n conjunctions and n disjunctions of L literals: (B, L) to (B, 2n).

        conjunction = (1 + q(1 - b) · q(W))^-γ,    disjunction = 1 - (1 + q(b) · q(W))^-γ,
        q(a) = 1 - 1 / (1 - (α a)^β)

    Args:
        literals: L.
        count: n.
        activation: α, β, γ of the continuous form.
    """

    def __init__(self, literals: int, count: int, activation: Sequence[float]) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma = activation
        self.conjunctions, self.disjunctions = (nn.Parameter(0.5 * torch.rand(count, literals)) for _ in range(2))

    def _q(self, a: Tensor) -> Tensor:
        return 1 - 1 / (1 - (self.alpha * a) ** self.beta)

    def forward(self, literals: Tensor) -> Tensor:
        """Continuous truth of the rules (B, 2n) in [0, 1]."""
        both = (1 + self._q(1 - literals) @ self._q(self.conjunctions).T) ** -self.gamma
        either = 1 - (1 + self._q(literals) @ self._q(self.disjunctions).T) ** -self.gamma
        return torch.cat([both, either], 1)

    @torch.no_grad()
    def holds(self, literals: Tensor) -> Tensor:
        """Truth of the rules (B, 2n) in {0, 1}; a literal is in a rule if its weight exceeds 0.5."""
        broken = (1 - literals) @ (self.conjunctions > 0.5).to(literals).T
        found = literals @ (self.disjunctions > 0.5).to(literals).T
        return torch.cat([broken == 0, found > 0], 1).to(literals.dtype)

    @torch.no_grad()
    def drop_implied(self, thresholds: int, negations: bool) -> None:
        """Drops literals that other literals of the same rule imply; the truth of the rules does not change.

        Of several thresholds for one feature, a conjunction keeps the strictest and a disjunction the weakest. Weights
        of dropped literals become 0.

        Args:
            thresholds: T; literals are "feature > t", for each feature by increasing t, then "feature <= t" likewise.
            negations: whether the second half is there.
        """
        for weight, keep_last in ((self.conjunctions, True), (self.disjunctions, False)):
            halves = weight.chunk(2, 1) if negations else (weight,)
            for half, last in zip(halves, (keep_last, not keep_last), strict=False):
                grid = half.unflatten(1, (-1, thresholds))  # (n, F, T), a view
                inside = (grid > 0.5).int()
                seen = inside.flip(2).cumsum(2).flip(2) if last else inside.cumsum(2)
                grid[(inside > 0) & (seen > 1)] = 0

    @torch.no_grad()
    def merge_equal(self, same: Tensor, thresholds: int, negations: bool) -> None:
        """Moves the weights of literals that are equal for all thresholds of a feature to the first of them.

        Args:
            same: (F,) bool, the features whose literals do not depend on the threshold.
            thresholds: see `drop_implied`.
            negations: see `drop_implied`.
        """
        for weight in (self.conjunctions, self.disjunctions):
            for half in weight.chunk(2, 1) if negations else (weight,):
                grid = half.unflatten(1, (-1, thresholds))  # (n, F, T), a view
                strongest = grid.amax(2)
                grid[:, same] = 0
                grid[:, same, 0] = strongest[:, same]

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamps the weights to [0, 1], where the continuous form is defined."""
        self.conjunctions.clamp_(0, 1)
        self.disjunctions.clamp_(0, 1)
