"""Tensors as pictures in a page: data URIs, and SVG figures with an activation map and a box."""

import base64
import io
import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor, uint8

from zoo.core.evidence import Unit
from zoo.domain import Domain, ImageDomain
from zoo.utils.functional import upsample
from zoo.views.markup import escape

PIXEL_ART = 48  # pictures up to this side are enlarged without smoothing and stored losslessly
HEAT_SIDE, HEAT_LEVELS = 32, 32  # the browser interpolates, so a few hundred bytes are enough
COLD, HOT = (190, 20, 90), (255, 225, 60)


def to_picture(inputs: Tensor | None, domain: Domain) -> Tensor | None:
    """The pixels (1 or 3, H, W) of one input (1, C, H, W), or None if it is not an image; stacks become tiles."""
    if inputs is None or not isinstance(domain, ImageDomain):
        return None
    return tiled(domain.picture(inputs)[0].cpu())


def tiled(picture: Tensor) -> Tensor:
    """Grey and RGB pictures (C, H, W) unchanged; other stacks of C channels as tiles, row by row, (1, H', W')."""
    channels, height, width = picture.shape
    if channels in (1, 3):
        return picture
    columns = math.ceil(math.sqrt(channels))
    rows = math.ceil(channels / columns)
    tiles = picture.new_zeros(rows * columns, height, width)
    tiles[:channels] = picture
    lines = tiles.view(rows, columns, height, width).transpose(1, 2)
    return lines.reshape(1, rows * height, columns * width)


def data_uri(picture: Tensor) -> str:
    """A uint8 picture (C, H, W) as a data URI: PNG if small, JPEG if large, else the shorter of both."""
    pixels = tiled(picture).cpu().movedim(0, -1).numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(image.size) > 2 * PIXEL_ART:  # probably a photograph
        return _encoded(image, "jpeg", quality=88)
    exact = _encoded(image, "png", optimize=True)
    return exact if max(image.size) <= PIXEL_ART else min(exact, _encoded(image, "jpeg", quality=88), key=len)


def heat_uri(support: Tensor, size: tuple[int, int]) -> str:
    """A support map (h, w) in [0, 1] as a transparent PNG, an overlay for an input of `size`."""
    grid = (min(size[0], HEAT_SIDE), min(size[1], HEAT_SIDE))
    level = upsample(support, grid).clamp(0, 1).mul(HEAT_LEVELS - 1).round().to(uint8)
    steps = [i / (HEAT_LEVELS - 1) for i in range(HEAT_LEVELS)]
    image = Image.fromarray(level.cpu().numpy())
    image.putpalette([round(cold + s * (hot - cold)) for s in steps for cold, hot in zip(COLD, HOT, strict=True)])
    return _encoded(image, "png", optimize=True, transparency=bytes(round(200 * s) for s in steps))


def image_element(uri: str, size: tuple[int, int], identity: str = "", kind: str = "") -> str:
    """The picture as an SVG element, in pixel coordinates."""
    crisp = " style='image-rendering:pixelated'" if max(size) <= PIXEL_ART and kind != "heat" else ""
    name = (f" id='{identity}'" if identity else "") + (f" class='{kind}'" if kind else "")
    return f"<image{name}{crisp} href='{uri}' width='{size[1]}' height='{size[0]}' preserveAspectRatio='none'/>"


def outline(box: Sequence[float], inset: float = 0.0) -> str:
    """A box (top, left, bottom, right) as SVG: a light line on a dark one, visible on any picture."""
    top, left, bottom, right = box
    place = (
        f"x='{left + inset:.4g}' y='{top + inset:.4g}' width='{max(right - left - 2 * inset, inset):.4g}' "
        f"height='{max(bottom - top - 2 * inset, inset):.4g}'"
    )
    return f"<rect class='halo' {place}/><rect class='box' {place}/>"


def framed(content: str, view: Sequence[float], box: Sequence[float] | None, label: str) -> str:
    """An SVG of a part of a picture with a box; both (top, left, bottom, right) in pixels.

    Args:
        content: SVG elements that draw the picture.
        view: the part to show.
        box: the box to outline.
        label: alternative text; already escaped.
    """
    top, left, bottom, right = view
    height, width = bottom - top, right - left
    line = "" if box is None else outline(box, 0.012 * max(height, width))
    return (
        f"<svg class='picture' viewBox='{left} {top} {width} {height}' role='img' "
        f"aria-label='{label}'>{content}{line}</svg>"
    )


def unit_picture(unit: Unit, label: str, shared: str = "") -> str:
    """An SVG of the unit's picture with its box, placed as in its training image; empty if it has no picture.

    Args:
        unit: its `source` may have the "region" that the picture shows and the "box" in it, in pixels of the image.
        label: alternative text; not escaped.
        shared: id of a `unit_image` elsewhere in the page to show; by default the picture is part of the SVG.
    """
    if unit.picture is None:
        return ""
    view = _region(unit)
    image = f"<use href='#{shared}'/>" if shared else unit_image(unit)
    moved = f"<g transform='translate({view[1]} {view[0]})'>{image}</g>"
    return framed(moved, view, unit.source.get("box"), escape(label))


def unit_image(unit: Unit, identity: str = "") -> str:
    """The unit's picture as an SVG element, in pixels of its training image; empty if it has no picture."""
    if unit.picture is None:
        return ""
    view = _region(unit)
    return image_element(data_uri(unit.picture), (view[2] - view[0], view[3] - view[1]), identity)


def _region(unit: Unit) -> list[int]:
    """The part of the training image that the picture shows."""
    return unit.source.get("region") or [0, 0, *([] if unit.picture is None else unit.picture.shape[1:])]


def is_gallery(unit: Unit) -> bool:
    """Whether the unit's picture is a row of top-activating training images."""
    return unit.picture is not None and unit.picture.shape[2] > 2 * unit.picture.shape[1]


def _encoded(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
