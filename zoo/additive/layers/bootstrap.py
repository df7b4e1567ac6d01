"""Bootstrap weights that need no numbers of the rows: each row draws its own from its values."""

import torch
from torch import Tensor


def poisson_weights(x: Tensor, bags: int) -> Tensor:
    """How often each bag counts each row: (B, bags) draws of a Poisson distribution of mean 1.

    The draws are a function of the row, so that a row has the same weights in every epoch and every process. Equal rows
    have equal weights.

    Args:
        x: (B, F) inputs.
        bags: number of bootstrap samples.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(x.shape[1], bags, generator=generator, dtype=torch.float64).to(x.device)
    phases = torch.rand(bags, generator=generator, dtype=torch.float64).to(x.device)
    hashed = torch.frac((x.double() @ directions + phases).sin() * 1e6).abs()
    chances = torch.exp(-torch.lgamma(torch.arange(1, 13, dtype=torch.float64)) - 1)  # 1 / (e k!), k < 12
    return torch.searchsorted(chances.cumsum(0).to(x.device), hashed, right=True).to(x.dtype)
