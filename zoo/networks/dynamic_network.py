"""Chains and residual blocks of dynamic-linear layers, and the maps that they make of each input."""

from collections.abc import Iterable

from torch import Tensor, nn

from zoo.networks.dynamic_linear import DynamicLinear, Kept, Size


class Chain(DynamicLinear):
    """Layers one after the other.

    Args:
        layers: in order.
    """

    def __init__(self, layers: Iterable[DynamicLinear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def measure(self, size: Size) -> Size:
        self.size = size
        for layer in self._all():
            size = layer.measure(size)
        return size

    def _all(self) -> list[DynamicLinear]:
        return [layer for layer in self.layers if isinstance(layer, DynamicLinear)]

    def keeps(self) -> int:
        return sum(layer.keeps() for layer in self._all())

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        kept: Kept = []
        for layer in self._all():
            x, more = layer.hold(x)
            kept += more
        return x, kept

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        for layer, own in self._with(kept):
            x = layer.linear(x, one, own)
        return x

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        total = None
        for layer, own in reversed(self._with(kept)):
            g, shift = layer.transpose(g, own)
            total = added(total, shift)
        return g, total

    def _with(self, kept: Kept) -> list[tuple[DynamicLinear, Kept]]:
        """Each layer with the tensors that it kept."""
        found, place = [], 0
        for layer in self._all():
            count = layer.keeps()
            found.append((layer, kept[place : place + count]))
            place += count
        return found


class Residual(DynamicLinear):
    """The sum of two branches of the same input.

    Args:
        body, shortcut: the branches.
    """

    def __init__(self, body: DynamicLinear, shortcut: DynamicLinear) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def measure(self, size: Size) -> Size:
        """See `DynamicLinear.measure`.

        Raises:
            ValueError: the branches give maps of different sizes.
        """
        self.size = size
        found, other = self.body.measure(size), self.shortcut.measure(size)
        if found != other:
            raise ValueError(f"the branches of a residual block give maps of {found} and {other}; these must be equal.")
        return found

    def keeps(self) -> int:
        return self.body.keeps() + self.shortcut.keeps()

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        (body, kept), (shortcut, more) = self.body.hold(x), self.shortcut.hold(x)
        return body + shortcut, kept + more

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        first = self.body.keeps()
        return self.body.linear(x, one, kept[:first]) + self.shortcut.linear(x, one, kept[first:])

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        first = self.body.keeps()
        (left, shift), (right, more) = (
            self.body.transpose(g, kept[:first]),
            self.shortcut.transpose(g, kept[first:]),
        )
        return left + right, added(shift, more)


def added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum of what is there."""
    return other if one is None else one if other is None else one + other
