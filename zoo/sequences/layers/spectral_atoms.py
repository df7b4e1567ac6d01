"""A dictionary of atoms that vary over the positions of a sequence as sinusoids."""

import math

import torch
from torch import Tensor, nn

KINDS = ("atom", "dimension", "none")  # what has a frequency of its own


class SpectralAtoms(nn.Module):
    """K atoms S_k(t) = a_k sin(2π f_k t / T + φ_k), each a vector of D numbers for each position t from 0.

    Parameters: `amplitude` (K, D), and unless the atoms are constant `frequency` (K, 1) or (K, D) in cycles over T
    positions and `phase` (K, D) in radians.

    Args:
        atoms: K.
        width: D.
        length: T.
        frequencies: "atom": one frequency for each atom, so that it repeats after T / f positions; "dimension": one for
            each number of its vector; "none": S_k(t) = a_k at each position.
        fastest: frequencies start between 0 and this many cycles.
    """

    def __init__(self, atoms: int, width: int, length: int, frequencies: str, fastest: float) -> None:
        super().__init__()
        self.length, self.frequencies = length, frequencies
        self.amplitude = nn.Parameter(0.3 * torch.randn(atoms, width))
        if frequencies != "none":
            drawn = torch.rand(atoms, 1 if frequencies == "atom" else width)
            self.frequency, self.phase = (
                nn.Parameter(fastest * drawn),
                nn.Parameter(2 * math.pi * torch.rand(atoms, width)),
            )

    def forward(self, position: Tensor) -> Tensor:
        """The atoms (N, K, D) at positions (N,)."""
        if self.frequencies == "none":
            return self.amplitude.expand(position.shape[0], -1, -1)
        turned = self.frequency * (position.to(self.phase.dtype) / self.length)[:, None, None]
        return self.amplitude * torch.sin(2 * math.pi * turned + self.phase)

    def periods(self) -> list[float | None]:
        """Positions after which each atom repeats; None where it never does, or has no period of its own."""
        if self.frequencies != "atom":
            return [None] * len(self.amplitude)
        cycles = self.frequency.detach()[:, 0].abs().tolist()
        return [self.length / each if each > 0 else None for each in cycles]
