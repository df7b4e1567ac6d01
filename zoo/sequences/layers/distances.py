"""Distance profiles: how far a motif is from the window at each step of a series.

    d(t) = mean over the L steps of (m_i - w_i)²          w: the window of L steps at t

of kind "shape" for the normalised window and motif, (w - mean) / max(deviation, flat), which has d <= 4; of kind
"value" for both as they are. With the moments of the windows both are a product of motif and series (Mueen et al.:
"Logical-Shapelets", KDD 2011), here a convolution.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequences.layers.windows import moments

CLOSE = 0.01  # distance that counts as none: ε of the similarity


def similarity(distance: Tensor) -> Tensor:
    """log((d + 1) / (d + ε)), ε = 0.01: 4.6 for no distance, 0 for an infinite one (ProtoPNet, NeurIPS 2019)."""
    return torch.log1p((1 - CLOSE) / (distance + CLOSE))


def distances(product: Tensor, motif: Tensor, mean: Tensor, variance: Tensor, shape: Tensor, flat: float) -> Tensor:
    """The profile d(t), at least 0, from its parts; all of shapes that broadcast.

    Args:
        product: mean over the window of motif times (series - its mean); for "value", of motif times series.
        motif: mean square of the motif.
        mean: of the windows.
        variance: of the windows.
        shape: bool, whether the kind is "shape".
        flat: smallest deviation that windows are divided by.
    """
    scale = variance.sqrt().clamp_min(flat)
    of_shape = motif + (variance / scale - 2 * product) / scale
    return torch.where(shape, of_shape, motif + variance + mean.square() - 2 * product).clamp_min(0)


def nearest_windows(motifs: Tensor, x: Tensor, shape: bool, flat: float) -> tuple[Tensor, Tensor]:
    """Distance and start of the nearest window of each series, for motifs of one length and variable.

    Args:
        motifs: (M, L); of the kind "shape" normalised.
        x: (N, T) series.
        shape: whether the kind is "shape".
        flat: see `distances`.

    Returns:
        (M, N) distances, and (M, N) steps; ties to the first.
    """
    length = motifs.shape[1]
    read = x - x.mean(1, keepdim=True) if shape else x
    product = F.conv1d(read[:, None], motifs[:, None] / length)  # (N, M, P)
    mean, variance = moments(x[:, None], length)  # (N, 1, P)
    size = motifs.square().mean(1)[:, None]
    profile = distances(product, size, mean, variance, torch.tensor(shape, device=x.device), flat)
    distance, start = profile.min(2)
    return distance.T, start.T
