"""The last blocks of a backbone as a parameter group of their own, which can train while the others are frozen."""

from collections.abc import Iterator

from torch import nn

from zoo.networks.image_backbones import Backbone


def split_last_blocks(backbone: Backbone, count: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """All blocks of a backbone but the last `count`, and the last `count`.

    A block is a module with parameters, in the order of the network's attributes; sequences count as their members.
    The two lists only refer to the blocks, which remain part of the backbone.

    Args:
        backbone: the network to split.
        count: number of last blocks, above 0.

    Raises:
        ValueError: there are not more than `count` blocks, or some parameters belong to none.
    """
    blocks = list(_blocks(backbone.network))
    inside = sum(1 for block in blocks for _ in block.parameters())
    outside = sum(1 for _ in backbone.parameters()) - inside
    if outside or not 0 < count < len(blocks):
        why = f"{outside} of its parameters belong to no block" if outside else f"it has {len(blocks)} blocks"
        raise ValueError(
            f"cannot make the last {count} blocks of this backbone a group of their own: {why}. Expected a chain of "
            f"more than {count} blocks, such as resnet50 or mobilenetv2_100; or set tail to 0."
        )
    return nn.ModuleList(blocks[:-count]), nn.ModuleList(blocks[-count:])


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child
