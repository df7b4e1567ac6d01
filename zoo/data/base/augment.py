"""Augmentations of training pictures by name; they change the pixels before the domain preprocesses them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from zoo.utils.errors import did_you_mean

FIXED = [0.0, 0.0]  # no rotation
DEVIATION = 0.045  # of the noise of `noise`, as a share of the range of pixels


class Augmentation:
    """A random augmentation.

    Attributes:
        changes: whether it changes the picture at all.
        varies: whether two views of one picture differ.
        joint: whether `together` can augment many pictures at once.
        mirrors: whether the second view of a picture is the mirror image of the first.

    Args:
        steps: shared by all views of a picture: its geometry.
        per_view: drawn for each view. These steps must not move the content: losses compare two views cell by cell.
        mirrors: see above; then only the second view takes the steps `per_view`.
    """

    def __init__(
        self,
        steps: list[Callable[[Any], Any]],
        per_view: list[Callable[[Any], Any]] | None = None,
        mirrors: bool = False,
    ) -> None:
        self.changes, self.varies, self.mirrors = bool(steps or per_view), bool(per_view or mirrors), mirrors
        self.steps = v2.Compose(steps) if steps else None
        self.per_view = v2.Compose(per_view) if per_view else None
        # Only a single step draws random numbers in the order in which single pictures draw them.
        self.joint = not per_view and (not steps or (len(steps) == 1 and isinstance(steps[0], Affine)))
        self.first = steps[0] if steps else None

    def __call__(self, picture: Any) -> Any:
        return self.views(picture, 1)[0]

    def views(self, picture: Any, count: int) -> list[Any]:
        """`count` augmented views of one picture."""
        shared = self.geometry(picture)
        if self.mirrors:
            mirrored = F.horizontal_flip(shared)
            return [shared, self.per_view(mirrored) if self.per_view else mirrored][:count]
        return [self.per_view(shared) if self.per_view else shared for _ in range(count)]

    def geometry(self, picture: Any) -> Any:
        """One picture after the steps that its views share; equal draws move pictures of equal size equally."""
        return self.steps(picture) if self.steps else picture

    def together(self, pictures: Tensor) -> Tensor:
        """Augmented pictures (N, C, H, W), equal to augmenting one after the other; for a `joint` augmentation."""
        return self.first.together(pictures) if isinstance(self.first, Affine) else pictures


class Affine(v2.RandomAffine):
    """Random rotation, translation and scaling of one picture, or of many in memory at once.

    Args:
        turn: largest rotation in degrees, either way.
        move: largest translation, as shares of width and height.
        grow: smallest and largest scale.
    """

    def __init__(self, turn: float, move: tuple[float, float], grow: tuple[float, float]) -> None:
        super().__init__(symmetric(turn), translate=move, scale=grow, interpolation=v2.InterpolationMode.BILINEAR)
        self.turn, self.move, self.grow = turn, move, grow

    def together(self, pictures: Tensor) -> Tensor:
        """Augmented pictures (N, C, H, W), uint8, equal to one after the other: same draws, same arithmetic.

        Pixels from beyond the edge are black. For 8 x 8 pixels, one by one would take longer than the training step.
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


def symmetric(degrees: float) -> list[float]:
    """The range from -degrees to degrees."""
    return [-degrees, degrees]


def pillow(picture: Any) -> Any:
    """A tensor as a PIL image, whose geometric and colour operations are faster than torch's (not its resizing)."""
    return F.to_pil_image(picture) if isinstance(picture, Tensor) and picture.shape[0] in (1, 3) else picture


def none(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """No augmentation."""
    return []


def flip(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A horizontal flip with probability 1/2."""
    return [v2.RandomHorizontalFlip()]


def mirror(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A horizontal flip with probability 1/2; the second view is the mirror image of the first.

    It teaches a model to see the same parts in a bird that looks left and in one that looks right.
    """
    return flip(size)


def noise(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """As `mirror`, and the second view has Gaussian noise, of a standard deviation of 4.5 % of the range of pixels.

    It teaches a model to see the same parts where noise that hardly shows is added. Pictures are resized to the input
    size first, as by `protopnet`, because resizing would take noise away. A single view has none.
    """
    return [v2.Resize(list(size), antialias=True), *flip(size)]


def shift(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Small translation, rotation and scaling: for digits, whose mirror images are not digits."""
    return [Affine(8, (0.08, 0.08), (0.92, 1.08))]


def crop(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A random crop of at least 60 % of the picture, resized to the input size, flipped with probability 1/2."""
    return [v2.RandomResizedCrop(list(size), (0.6, 1.0), antialias=True), v2.RandomHorizontalFlip()]


def protopnet(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Rotation, perspective, shear and flip, as Chen et al. (NeurIPS 2019).

    Differs from the published code: drawn anew in every epoch instead of once, offline.
    """
    one = v2.RandomChoice(
        [
            v2.RandomAffine(symmetric(15), interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomPerspective(0.2, p=1.0),
            v2.RandomAffine(FIXED, shear=(-10, 10), interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    return [v2.Resize(list(size), antialias=True), one, v2.RandomHorizontalFlip()]


def pipnet(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """One translation, rotation or shear for all views; per view, one colour change and a shift of up to 4 pixels.

    As Nauta et al. (CVPR 2023): TrivialAugment (Müller, Hutter, ICCV 2021), split into geometry and colour.
    """
    bilinear = v2.InterpolationMode.BILINEAR
    reach = (min(16 / size[1], 1.0), min(16 / size[0], 1.0))  # 16 pixels, along either axis
    one = v2.RandomChoice(
        [
            v2.Identity(),
            v2.RandomAffine(FIXED, shear=(-27, 27), interpolation=bilinear),  # arctan 0.5
            v2.RandomAffine(FIXED, shear=(0, 0, -27, 27), interpolation=bilinear),
            v2.RandomAffine(FIXED, translate=(reach[0], 0)),
            v2.RandomAffine(FIXED, translate=(0, reach[1])),
            v2.RandomRotation(symmetric(60), interpolation=bilinear),
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
    """A change of brightness, colour or sharpness, and a shift of up to 4 pixels: the per-view part of `pipnet`."""
    one = v2.RandomChoice(
        [
            v2.Identity(),
            v2.ColorJitter(brightness=0.5),
            v2.ColorJitter(saturation=0.02),  # birds are classified by their colour
            v2.ColorJitter(contrast=0.5),
            v2.RandomChoice([v2.RandomAdjustSharpness(1 + step / 10, p=1.0) for step in range(-5, 6)]),
            v2.RandomChoice([v2.RandomPosterize(bits, p=1.0) for bits in range(2, 9)]),
            v2.RandomAutocontrast(p=1.0),
            v2.RandomEqualize(p=1.0),
        ]
    )
    return [one, v2.RandomCrop(list(size))]


def grain(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Gaussian noise, drawn for each pixel and channel: the per-view part of `noise`."""
    return [v2.PILToTensor(), v2.Lambda(grainy)]


def grainy(picture: Tensor) -> Tensor:
    """A uint8 picture (C, H, W) with the noise of `noise`, rounded and clipped to the range of pixels."""
    noisy = picture.float() + 255 * DEVIATION * torch.randn(picture.shape)
    return noisy.round().clamp(0, 255).to(picture.dtype)


PIPELINES = {f.__name__: f for f in (none, flip, mirror, noise, shift, crop, protopnet, pipnet)}
PER_VIEW = {"pipnet": light, "noise": grain}
MIRRORED = ("mirror", "noise")


def pipeline(name: str, size: tuple[int, int]) -> Augmentation:
    """The augmentation of that name for inputs of `size` (height, width).

    Raises:
        ValueError: there is no such augmentation.
    """
    if name not in PIPELINES:
        raise ValueError(f"no augmentation named '{name}'; {did_you_mean(name, PIPELINES)}")
    per_view = PER_VIEW[name](size) if name in PER_VIEW else None
    return Augmentation(PIPELINES[name](size), per_view, name in MIRRORED)
