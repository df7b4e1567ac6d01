"""The blocks of a network, and freezing all of them but the last."""

from collections.abc import Iterable, Iterator

from torch import nn


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The modules with parameters, in the order of the network's attributes; sequences count as their members."""
    for child in network.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from blocks_of(child)
        elif any(True for _ in child.parameters()):
            yield child


def last_blocks(network: nn.Module, count: int, option: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """All blocks of a network but the last `count`, and the last `count`.

    Args:
        network: to split.
        count: number of last blocks, above 0.
        option: what the count is called, for the message.

    Raises:
        ValueError: there are not more than `count` blocks, or some parameters belong to none.
    """
    blocks = list(blocks_of(network))
    inside = sum(1 for block in blocks for _ in block.parameters())
    outside = sum(1 for _ in network.parameters()) - inside
    if outside or not 0 < count < len(blocks):
        why = f"{outside} of its parameters belong to no block" if outside else f"it has {len(blocks)} blocks"
        raise ValueError(
            f"cannot make the last {count} blocks of this backbone a group of their own: {why}. Expected a chain of "
            f"more than {count} blocks, such as resnet50 or mobilenetv2_100; or set {option} to 0."
        )
    return blocks[:-count], blocks[-count:]


def freeze(modules: Iterable[nn.Module]) -> None:
    """Makes the own parameters of modules buffers, which no optimizer sees; their names in the state stay."""
    for part in modules:
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())


def states_of(network: nn.Module, modules: Iterable[nn.Module]) -> set[str]:
    """Names in the state of a network of what some of its modules hold themselves."""
    own = {id(module) for module in modules}
    prefixes = {name for name, module in network.named_modules() if id(module) in own}
    return {name for name in network.state_dict() if name.rpartition(".")[0] in prefixes}
