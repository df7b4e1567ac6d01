"""The last blocks of a backbone as parameters of their own, so that they can learn while the rest stays as it is."""

from collections.abc import Iterator

from torch import nn

from zoo.networks.image_backbones import Backbone


def split_tail(backbone: Backbone, count: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """All blocks of a backbone but the last `count`, and those.

    A block is a module with parameters in the order of the network's attributes; sequences are taken apart. They stay
    where they are: the two lists only refer to them.

    Raises:
        ValueError: there are not so many blocks, or some parameters belong to none.
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
