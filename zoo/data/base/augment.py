"""Augmentations of training pictures by name. They act on pixels, before the preprocessing that all pictures share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from zoo.utils.errors import did_you_mean


class Augmentation:
    """A named pipeline.

    Attributes:
        changes: whether it does anything.
        varies: whether two views of one picture differ.
        joint: whether `together` takes many pictures at once.

    Args:
        steps: what all views of a picture share: its geometry.
        own: what is drawn for each view anew. It must leave what is shown where it is: losses compare two views cell
            by cell.
    """

    def __init__(self, steps: list[Callable[[Any], Any]], own: list[Callable[[Any], Any]] | None = None) -> None:
        self.changes, self.varies = bool(steps or own), bool(own)
        self.steps = v2.Compose(steps) if steps else None
        self.own = v2.Compose(own) if own else None
        # Of one step, so that numbers are drawn in the order in which single pictures would draw them.
        self.joint = not own and (not steps or (len(steps) == 1 and isinstance(steps[0], Affine)))
        self.first = steps[0] if steps else None

    def __call__(self, picture: Any) -> Any:
        return self.views(picture, 1)[0]

    def views(self, picture: Any, count: int) -> list[Any]:
        """So many augmented views of one picture."""
        shared = self.steps(picture) if self.steps else picture
        return [self.own(shared) if self.own else shared for _ in range(count)]

    def together(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W) as they would become one after the other; of a `joint` pipeline."""
        return self.first.together(pictures) if isinstance(self.first, Affine) else pictures


class Affine(v2.RandomAffine):
    """Turns, moves and changes of scale, of one picture or of many in memory at once.

    Args:
        turn: degrees at most, either way.
        move: at most, as shares of width and height.
        grow: the smallest and the largest scale.
    """

    def __init__(self, turn: float, move: tuple[float, float], grow: tuple[float, float]) -> None:
        super().__init__(turn, translate=move, scale=grow, interpolation=v2.InterpolationMode.BILINEAR)
        self.turn, self.move, self.grow = turn, move, grow

    def together(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W), uint8, as they would become one after the other: the same draws, the same arithmetic.

        What comes from beyond the edge is black. One by one, eight pixels square, this takes longer than to learn from
        them.
        """
        height, width = pictures.shape[-2:]
        x, y = self.move[0] * width, self.move[1] * height
        low = torch.tensor([-self.turn, -x, -y, self.grow[0]])
        high = torch.tensor([self.turn, x, y, self.grow[1]])
        draws = torch.rand(len(pictures), 4).double() * (high - low).double() + low.double()
        angle, right, down, scale = draws.float().double().unbind(1)  # rounded once, as uniform_ rounds
        cos, sin = angle.deg2rad().cos() / scale, angle.deg2rad().sin() / scale
        back = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # (N, 2, 2)
        offset = -back @ torch.stack([right, down], 1).round()[:, :, None]
        theta = torch.cat([back, offset], 2).float().transpose(1, 2) / torch.tensor([0.5 * width, 0.5 * height])
        place = torch.ones(height, width, 3)
        place[..., 0] = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width)
        place[..., 1] = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height)[:, None]
        grid = (place.view(1, -1, 3).expand(len(pictures), -1, -1) @ theta).view(-1, height, width, 2)
        white = torch.ones(len(pictures), 1, height, width)
        seen = grid_sample(torch.cat([pictures.float(), white], 1), grid, align_corners=False)
        return (seen[:, :-1] * seen[:, -1:]).round().to(pictures.dtype)


def pillow(picture: Any) -> Any:
    """A tensor as an image of Pillow, whose kernels for moves and light are the faster ones, as torch's for scaling."""
    return F.to_pil_image(picture) if isinstance(picture, Tensor) and picture.shape[0] in (1, 3) else picture


def none(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Nothing."""
    return []


def flip(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Left and right exchanged, half of the time."""
    return [v2.RandomHorizontalFlip()]


def shift(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Small moves, turns and changes of scale: for digits, whose mirror images are none."""
    return [Affine(8, (0.08, 0.08), (0.92, 1.08))]


def crop(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A random part of at least 60 % of the picture, scaled to the input's size, perhaps flipped."""
    return [v2.RandomResizedCrop(list(size), (0.6, 1.0), antialias=True), v2.RandomHorizontalFlip()]


def protopnet(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Rotation, skew, shear, flip: what Chen et al. (NeurIPS 2019) made offline, here drawn anew in every epoch."""
    one = v2.RandomChoice(
        [
            v2.RandomAffine(15, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomPerspective(0.2, p=1.0),
            v2.RandomAffine(0, shear=(-10, 10), interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    return [v2.Resize(list(size), antialias=True), one, v2.RandomHorizontalFlip()]


def pipnet(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """One move, turn or shear for all views, then a change of light and a shift of up to 4 pixels for each.

    As Nauta et al. (CVPR 2023) augment: TrivialAugment (Müller, Hutter, ICCV 2021), split into geometry and light.
    """
    bilinear = v2.InterpolationMode.BILINEAR
    reach = (min(16 / size[1], 1.0), min(16 / size[0], 1.0))  # 16 pixels, along either axis
    one = v2.RandomChoice(
        [
            v2.Identity(),
            v2.RandomAffine(0, shear=(-27, 27), interpolation=bilinear),  # arctan 0.5
            v2.RandomAffine(0, shear=(0, 0, -27, 27), interpolation=bilinear),
            v2.RandomAffine(0, translate=(reach[0], 0)),
            v2.RandomAffine(0, translate=(0, reach[1])),
            v2.RandomRotation(60, interpolation=bilinear),
        ]
    )
    larger, cut = [n + 8 for n in size], [n + 4 for n in size]
    return [
        v2.Resize(larger, antialias=True),
        pillow,
        one,
        v2.RandomHorizontalFlip(),
        v2.RandomResizedCrop(cut, (0.95, 1.0), antialias=True),
    ]


def light(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A change of light, colour or sharpness, and a shift of up to 4 pixels: what `pipnet` draws for each view."""
    one = v2.RandomChoice(
        [
            v2.Identity(),
            v2.ColorJitter(brightness=0.5),
            v2.ColorJitter(saturation=0.02),  # the colour of a bird tells its class
            v2.ColorJitter(contrast=0.5),
            v2.RandomChoice([v2.RandomAdjustSharpness(1 + step / 10, p=1.0) for step in range(-5, 6)]),
            v2.RandomChoice([v2.RandomPosterize(bits, p=1.0) for bits in range(2, 9)]),
            v2.RandomAutocontrast(p=1.0),
            v2.RandomEqualize(p=1.0),
        ]
    )
    return [one, v2.RandomCrop(list(size))]


PIPELINES = {f.__name__: f for f in (none, flip, shift, crop, protopnet, pipnet)}
OWN = {"pipnet": light}  # what is drawn for each view


def pipeline(name: str, size: tuple[int, int]) -> Augmentation:
    """The augmentation of that name for inputs of `size` (height, width).

    Raises:
        ValueError: there is none.
    """
    if name not in PIPELINES:
        raise ValueError(f"no augmentation named '{name}'; {did_you_mean(name, PIPELINES)}")
    return Augmentation(PIPELINES[name](size), OWN[name](size) if name in OWN else None)
