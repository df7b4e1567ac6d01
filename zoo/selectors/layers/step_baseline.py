"""What takes the place of the steps of a series that are not selected."""

import torch
from torch import Tensor, nn

from zoo.domain import SeriesDomain
from zoo.training.projection_set import ProjectionSet


class StepBaseline(nn.Module):
    """Mean of the training set at each step and sensor, or normal noise around it.

    Buffers: `mean` (T, V) and `std` (T, V) of the training set.

    Args:
        domain: of the series.
        noise: deviation of the noise in standard deviations of the training set; 0 for none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, domain: SeriesDomain, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.register_buffer("mean", torch.zeros(domain.shape))
        self.register_buffer("std", torch.ones(domain.shape))

    def fit(self, projection_set: ProjectionSet) -> None:
        """Measures the training set, over all ranks."""
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares, count = torch.zeros_like(total), torch.zeros((), dtype=torch.float64, device=total.device)
        for batch in projection_set:
            x = batch["input"].double()
            total, squares, count = total + x.sum(0), squares + x.square().sum(0), count + len(x)
        total, squares, count = (projection_set.total(value) for value in (total, squares, count))
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp_min(0).sqrt())

    def forward(self, x: Tensor, shown: Tensor, noisy: bool = False) -> Tensor:
        """The series x (B, T, V) where `shown` (B, T, V) is 1, and the baseline where it is 0.

        With `noisy` the baseline is drawn, and a gradient reaches `shown`; without, values that are not shown are not
        read at all.
        """
        if not noisy:
            return torch.where(shown > 0.5, x, self.mean.to(x.dtype))
        rest = self.mean + self.noise * self.std * torch.randn_like(x)
        return rest + shown * (x - rest)
