"""The last blocks of a backbone as a parameter group of their own, which can train while the others are frozen."""

from torch import nn

from zoo.networks.blocks import last_blocks
from zoo.networks.image_backbones import Backbone


def split_last_blocks(backbone: Backbone, count: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """All blocks of a backbone but the last `count`, and the last `count`, see `zoo.networks.blocks.last_blocks`.

    The two lists only refer to the blocks, which remain part of the backbone.

    Raises:
        ValueError: there are not more than `count` blocks, or some parameters belong to none.
    """
    first, last = last_blocks(backbone.network, count, "tail")
    return nn.ModuleList(first), nn.ModuleList(last)
