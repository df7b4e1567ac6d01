"""The second view of each image in training batches, which some losses compare with the first."""

import torch
from torch import Tensor

from zoo.training.batch import Batch

EPSILON = 1e-8


def second_view(batch: Batch, model: str, otherwise: str = "") -> Tensor:
    """The second view (B, C, H, W) of each image.

    Args:
        batch: of training.
        model: its name and what it does, for the error message.
        otherwise: what to do instead of asking for a second view, for the error message.

    Raises:
        ValueError: there is none; the message says what to set.
    """
    if "view" not in batch:
        raise ValueError(
            f"{model} compares two views of each image in training, and this batch has one (keys: "
            f"{', '.join(sorted(batch))}); set data.init_args.views to 2 and augment to 'pipnet' or "
            f"'mirror'{otherwise}."
        )
    return batch["view"]


def on_first(maps: Tensor, batch: Batch) -> Tensor:
    """Maps (B, K, h, w) of the second view with cells in the order of the first: of mirror images flipped back."""
    if "mirrored" not in batch:
        return maps
    return torch.where(batch["mirrored"][:, None, None, None], maps.flip(-1), maps)


def alignment(z: Tensor, other: Tensor) -> Tensor:
    """-mean over cells of log(z · z') of two views (B, D, h, w) (section 3.1); each view is a fixed target once."""
    one, two = ((a * b.detach()).sum(1) for a, b in ((z, other), (other, z)))
    return -(torch.log(one + EPSILON).mean() + torch.log(two + EPSILON).mean()) / 2
