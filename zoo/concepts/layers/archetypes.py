"""Archetypal atoms: mixtures of typical feature vectors, with little freedom to leave them.

Fel et al.: "Archetypal SAE: Adaptive and Stable Dictionary Learning for Concept Extraction in Large Vision Models",
ICML 2025, arXiv 2502.12892: the relaxed form, RA-SAE.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32

ROWS_EACH = 32  # vectors for each archetype that k-means reads
ROUNDS = 10  # of k-means
SOME = 8192  # vectors that are compared with the centres at a time
OWN = 0.5  # share of its own archetype in an atom before training


class Archetypes(nn.Module):
    """Atoms D = W C + Λ: rows of W (m, c) are at least 0 and add up to 1, those of Λ are no longer than `deviation`.

    C (c, d) are centres of the training vectors by k-means. W_kj = v_kj² / Σ v_k², with a weight v that starts at the
    archetype k mod c. Λ is given, and cut to its length.

    Differs from the published code: squares keep W on the simplex (there: after each step, entries below 0 become 0 and
    rows are divided by their sums); the atoms have no common factor, because the encoder's scale is free; candidates
    and weights are stored.

    Buffer: `centres` (c, d), random before `place`.

    Args:
        atoms: m.
        count: c.
        channels: d.
        deviation: largest length of a row of Λ.
    """

    centres: Tensor

    def __init__(self, atoms: int, count: int, channels: int, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation
        own = torch.eye(count)[torch.arange(atoms) % count]
        self.weight = nn.Parameter((own * OWN + (1 - OWN) / count).sqrt())
        self.register_buffer("centres", F.normalize(torch.randn(count, channels), dim=1))

    @property
    def mixture(self) -> Tensor:
        """W (m, c)."""
        squares = at_least_fp32(self.weight).square()
        return squares / squares.sum(1, keepdim=True).clamp_min(1e-12)

    def forward(self, free: Tensor) -> Tensor:
        """Atoms (m, d), given Λ (m, d)."""
        length = free.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return self.mixture @ self.centres + free * (self.deviation / length).clamp(max=1)

    @torch.no_grad()
    def place(self, rows: Tensor) -> None:
        """Sets C to the centres of vectors (N, d).

        Raises:
            ValueError: there are fewer than c.
        """
        self.centres.copy_(centres_of(rows, len(self.centres)))


def centres_of(rows: Tensor, count: int) -> Tensor:
    """Centres (count, d) of vectors (N, d) in any random order, by k-means from the first `count` of them.

    Raises:
        ValueError: N is below count.
    """
    if len(rows) < count:
        raise ValueError(f"{count} archetypes need as many feature vectors; the training set has {len(rows)}.")
    centres = rows[:count].clone()
    for _ in range(ROUNDS):
        half = centres.square().sum(1) / 2
        nearest = torch.cat([(some @ centres.T - half).argmax(1) for some in rows.split(SOME)])
        size = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add(0, nearest, rows)
        centres = torch.where(size[:, None] > 0, sums / size.clamp_min(1)[:, None], centres)  # none: stays
    return centres
