"""The trunk of a BagNet: a residual network without padding whose cells each see a small patch of the image.

Brendel, Bethge: "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on ImageNet", ICLR 2019,
arXiv 1904.00760.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_choice


def bagnet_layers(
    in_channels: int,
    widths: Sequence[int] = (256, 512, 1024, 2048),
    depths: Sequence[int] = (3, 4, 6, 3),
    strides: Sequence[int] = (2, 2, 2, 1),
    wide: int = 4,
    shortcut: str = "centre",
) -> nn.Sequential:
    """A stem and bottleneck blocks; 3 x 3 convolutions only in the first block of the first `wide` stages.

    By default a cell sees 33 pixels.

    Args:
        in_channels: channels of the images.
        widths: channels of each stage.
        depths: blocks of each stage.
        strides: stride of each stage's first block.
        wide: number of stages, from the first, whose first block has a 3 x 3 convolution.
        shortcut: "centre" or "corner", see `zoo.parts.BagNet`.

    Raises:
        ValueError: stages that do not fit each other, or an unknown shortcut.
    """
    if not len(widths) == len(depths) == len(strides) or min(*widths, *depths, *strides, len(widths)) < 1:
        raise ValueError(
            f"widths, depths and strides must name the same stages, all numbers at least 1; got {list(widths)}, "
            f"{list(depths)} and {list(strides)}."
        )
    if not 0 <= wide <= len(widths):
        raise ValueError(f"wide must be 0 to {len(widths)}, the number of stages; got {wide}.")
    check_choice(("centre", "corner"), shortcut=shortcut)
    layers: list[nn.Module] = [Stem(in_channels, widths[0] // 4)]
    channels = widths[0] // 4
    for i, (width, depth, stride) in enumerate(zip(widths, depths, strides, strict=True)):
        for j in range(depth):
            kernel = 3 if i < wide and j == 0 else 1
            layers.append(Bottleneck(channels, width, kernel, stride if j == 0 else 1, shortcut == "centre"))
            channels = width
    return nn.Sequential(*layers)


class Stem(nn.Sequential):
    """A 1 x 1 and a 3 x 3 convolution: (B, C, H, W) to (B, channels, H - 2, W - 2)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class Bottleneck(nn.Module):
    """A residual block of three convolutions without padding; the shortcut is cropped to the same size.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: size of the middle convolution, 1 or 3.
        stride: of the middle convolution.
        centre: whether the shortcut takes the middle of the cells that the middle convolution reads; else their first.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, centre: bool) -> None:
        super().__init__()
        inner, self.cut = max(channels // 4, 1), kernel // 2 if centre else 0
        self.channels = channels
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, kernel, stride, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = in_channels == channels and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    @property
    def widest(self) -> nn.Sequential:
        """The branch that sees all the pixels that the block sees; the shortcut sees some of them."""
        return self.body

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)
        residual = self.shortcut(x[:, :, self.cut :, self.cut :])
        return F.relu(body + residual[:, :, : body.shape[2], : body.shape[3]])
