"""Pictures: small ones lose nothing, heat lies where the support is."""

import base64
import io

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tests.views.pages import explanation, smooth
from zoo.core.places import boxes_of
from zoo.domain import Domain
from zoo.views.pictures import data_uri, heat_uri, image_element, tiled, to_picture


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def pixels(uri: str) -> Tensor:
    return F.pil_to_tensor(opened(uri))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (28, 20), (48, 48)])
def test_small_pictures_are_kept_bit_by_bit(channels: int, size: tuple[int, int]) -> None:
    picture = torch.randint(256, (channels, *size), dtype=torch.uint8)
    uri = data_uri(picture)
    assert uri.startswith("data:image/png;") and torch.equal(pixels(uri), picture)
    assert "pixelated" in image_element(uri, size)


def test_middling_pictures_take_the_shorter_form() -> None:
    blocks = torch.randint(256, (1, 4, 4), dtype=torch.uint8).repeat_interleave(16, 1).repeat_interleave(16, 2)
    assert torch.equal(pixels(data_uri(blocks)), blocks)
    (photo,) = smooth(1, 96)
    assert data_uri(photo).startswith("data:image/jpeg;") and len(data_uri(photo)) < 12_000


def test_large_pictures_are_jpegs_that_look_the_same() -> None:
    (picture,) = smooth(1, 224)
    uri = data_uri(picture)
    assert uri.startswith("data:image/jpeg;") and len(uri) < 60_000
    assert (pixels(uri).float() - picture.float()).abs().mean() < 6
    assert "pixelated" not in image_element(uri, (224, 224))


def test_heat_is_opaque_where_the_unit_fires_and_clear_elsewhere() -> None:
    support = torch.zeros(7, 7)
    support[1, 5] = 1
    heat = opened(heat_uri(support, (224, 224)))
    assert heat.size == (32, 32)
    alpha = F.pil_to_tensor(heat.convert("RGBA"))[3]
    row, column = divmod(int(alpha.argmax()), 32)
    assert (row * 7 // 32, column * 7 // 32) == (1, 5)
    assert alpha.max() > 150 and alpha[16:].max() == 0 and alpha[:, :12].max() == 0
    assert opened(heat_uri(support, (8, 28))).size == (28, 8)  # never finer than the input
    assert len(heat_uri(torch.rand(7, 7), (224, 224))) < 1500


def test_boxes_of_no_units() -> None:
    assert boxes_of(torch.zeros(0, 4, 4), (32, 32)) == []


def test_pictures_come_back_from_inputs_of_images_only() -> None:
    made = explanation(1)
    picture = to_picture(made.inputs, made.domain)
    assert picture is not None and torch.equal(made.domain.normalise(picture), made.inputs[0])
    assert to_picture(None, made.domain) is None
    assert to_picture(made.inputs, Domain(classes=("a", "b"))) is None


@pytest.mark.parametrize(("channels", "rows", "columns"), [(2, 1, 2), (4, 2, 2), (5, 2, 3), (12, 3, 4)])
def test_stacks_lie_side_by_side(channels: int, rows: int, columns: int) -> None:
    stack = torch.randint(1, 256, (channels, 3, 2), dtype=torch.uint8)
    page = tiled(stack)
    assert page.shape == (1, 3 * rows, 2 * columns)
    for c in range(rows * columns):
        top, left = 3 * (c // columns), 2 * (c % columns)
        tile = page[0, top : top + 3, left : left + 2]
        assert torch.equal(tile, stack[c]) if c < channels else not tile.any()
    assert opened(data_uri(stack)).size == (2 * columns, 3 * rows)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_are_no_stacks(channels: int) -> None:
    picture = torch.randint(0, 256, (channels, 3, 2), dtype=torch.uint8)
    assert tiled(picture) is picture
