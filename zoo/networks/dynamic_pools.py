"""Poolings as dynamic-linear layers, see `zoo.networks.dynamic_linear`."""

from torch import Tensor
from torch.nn import functional as F

from zoo.networks.dynamic_linear import DynamicLinear, Kept, Size, missing, sizes_after


class Windows(DynamicLinear):
    """Windows of k x k cells.

    Args:
        kernel: k, vertically and horizontally.
        stride: from window to window.
        padding: cells on each side.
    """

    def __init__(self, kernel: Size, stride: Size, padding: Size = (0, 0)) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def measure(self, size: Size) -> Size:
        self.size = size
        return sizes_after(size, self.kernel, self.stride, self.padding)


class AveragePool(Windows):
    """The mean of each window of k x k cells, of which those outside of the map are 0."""

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding), []

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return self.hold(x)[0]

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        channels = g.shape[1]
        equal = g.new_full((channels, 1, *self.kernel), 1 / (self.kernel[0] * self.kernel[1]))
        more = missing(self.size, g.shape[2:], self.kernel, self.stride, self.padding)
        return F.conv_transpose2d(g, equal, None, self.stride, self.padding, more, channels), None


class MaxPool(Windows):
    """The maximum of each window of k x k cells; which cell it is, is held."""

    def keeps(self) -> int:
        return 1

    def hold(self, x: Tensor) -> tuple[Tensor, Kept]:
        y, where = F.max_pool2d(x, self.kernel, self.stride, self.padding, return_indices=True)
        return y, [where]

    def linear(self, x: Tensor, one: Tensor, kept: Kept) -> Tensor:
        return x.flatten(2).gather(2, kept[0].flatten(2)).view_as(kept[0])

    def transpose(self, g: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        empty = g.new_zeros(g.shape[0], g.shape[1], self.size[0] * self.size[1])
        return empty.scatter_add(2, kept[0].flatten(2), g.flatten(2)).unflatten(2, self.size), None
