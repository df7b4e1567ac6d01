"""Squared distances of patches to prototypes, forward and backward, at the size of CUB-200-2011.

75 images of 7 x 7 cells, 128 channels, 2,000 prototypes. Compared with the published form, three convolutions (Chen et
al., NeurIPS 2019), and with the three matrix products that any implementation needs: patches times prototypes, and for
the gradients the incoming gradient times each of them.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case, Goal
from zoo.utils.functional import squared_distances

IMAGES, DIM, GRID, PROTOTYPES = 75, 128, 7, 2000


def convolutions(z: Tensor, prototypes: Tensor) -> Tensor:
    kernel = prototypes[:, :, None, None]
    squares = F.conv2d(z.square(), torch.ones_like(kernel))
    return F.relu(squares - 2 * F.conv2d(z, kernel) + prototypes.square().sum(1)[:, None, None])


def cases(device: torch.device) -> Iterator[Case]:
    z = torch.rand(IMAGES, DIM, GRID, GRID, device=device, requires_grad=True)
    prototypes = torch.rand(PROTOTYPES, DIM, device=device, requires_grad=True)
    grad = torch.randn(IMAGES, PROTOTYPES, GRID, GRID, device=device)

    def both(distances: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        found = distances(z, prototypes)
        return [found, *torch.autograd.grad(found, (z, prototypes), grad)]

    @torch.no_grad()
    def products() -> list[Tensor]:
        cells, back = z.flatten(2), grad.flatten(2)
        return [prototypes @ cells, prototypes.T @ back, torch.einsum("bpc,bdc->pd", back, cells)]

    def forward(distances: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        with torch.no_grad():
            return distances(z, prototypes)

    size = f"{IMAGES} x {GRID * GRID} cells to {PROTOTYPES:,} prototypes of {DIM} channels"
    yield Case(
        f"distances of {size}, with gradients",
        {"zoo": lambda: both(squared_distances), "three convolutions": lambda: both(convolutions)},
    )
    yield Case(
        f"distances of {size}",
        {"zoo": lambda: forward(squared_distances), "three convolutions": lambda: forward(convolutions)},
    )
    yield Case(
        f"distances of {size}, with gradients",
        {"zoo": lambda: both(squared_distances), "matrix products only": products},
        cost=True,
        goal=Goal(at_most=1.3),
        apart=None,
    )
