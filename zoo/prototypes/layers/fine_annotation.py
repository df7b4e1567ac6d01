"""A loss that keeps prototypes to what users marked as relevant in training images.

Barnett et al.: "A case-based interpretable deep learning model for classification of mass lesions in digital
mammography" (IAIA-BL), Nature Machine Intelligence 2021, arXiv 2103.12308.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.training.batch import Batch


def fine_annotation(maps: Tensor, own: Tensor, batch: Batch) -> Tensor:
    """The mean over annotated images of Σ_own |a_j outside|₂ + Σ_other |a_j|₂; 0 if none is annotated.

    a_j are the activations of prototype j on the cells of the image, negative ones as 0; a cell is outside if none of
    its pixels is marked. Prototypes of other classes should not fire at all in an annotated image.

    Differs from the published code: activations are compared on the grid of the features (there: on the image, to which
    they are enlarged); images are averaged (there: summed).

    Args:
        maps: (B, P, h, w) activations.
        own: (B, P) bool, which prototypes are of the image's class.
        batch: with "relevant" (B, H, W) in {0, 1}, NaN throughout an image that is not annotated.

    Raises:
        ValueError: the batch has no masks.
    """
    if "relevant" not in batch:
        raise ValueError(
            "the loss fine_annotation needs masks of what is relevant, and the data have none; give them, such as "
            "data.init_args.masks of ImageFolder or PartBirds, or set the coefficient fine_annotation to 0."
        )
    known = ~batch["relevant"].flatten(1).isnan().any(1)  # (B,)
    if not known.any():
        return maps.new_zeros(())
    marked = F.adaptive_max_pool2d(batch["relevant"][known][:, None], tuple(maps.shape[2:]))  # (n, 1, h, w)
    seen = maps[known].clamp_min(0)
    seen = torch.where(own[known][:, :, None, None], seen * (1 - marked), seen)
    return norms(seen).sum(1).mean()


def norms(maps: Tensor) -> Tensor:
    """The norm of each map (..., h, w), whose slope at a map of zeros is 0."""
    square = maps.square().sum((-2, -1))
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)
