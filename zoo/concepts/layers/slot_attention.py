"""Parts of the attention of concept slots to image cells (BotCL).

Wang, Li, Nakashima, Nagahara: "Learning Bottleneck Concepts in Image Classification", CVPR 2023, arXiv 2304.10131.
"""

import torch
from torch import Tensor


def rescaled(scores: Tensor, smallest: float = 1e-3) -> Tensor:
    """Scores (B, k, L) with every row multiplied by (sum over all rows) / (sum of the row), section 3.1.

    Args:
        scores: (B, k, L).
        smallest: lower bound of the magnitude of a row's sum, which avoids a division by 0.
    """
    row = scores.sum(2, keepdim=True)
    row = torch.where(row.abs() < smallest, torch.where(row < 0, -smallest, smallest), row)
    return scores / row * scores.sum((1, 2), keepdim=True)


def position_code(dim: int, height: int, width: int, device: torch.device) -> Tensor:
    """Position code (dim, height * width): sines and cosines of the row and column of each cell.

    Args:
        dim: a multiple of 4.
        height: of the feature map.
        width: of the feature map.
        device: of the result.
    """
    wave = 10_000 ** (-torch.arange(0, dim // 2, 2, device=device) / (dim // 2))  # (dim / 4,)
    parts = []
    for size, shape in ((height, (-1, height, 1)), (width, (-1, 1, width))):
        angle = wave[:, None] * torch.linspace(0, 2 * torch.pi, size + 1, device=device)[1:]
        parts += [f(angle).view(shape).expand(-1, height, width) for f in (torch.sin, torch.cos)]
    return torch.cat(parts).flatten(1)
