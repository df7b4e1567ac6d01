"""Tensors as pictures in a page: data URIs, and SVG figures with a box drawn on them."""

import base64
import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from zoo.functional import high_activation_box, upsample

PIXEL_ART = 96  # pictures up to this side are enlarged without smoothing, and stored without loss


def data_uri(picture: Tensor) -> str:
    """A uint8 picture (C, H, W) as a data URI: PNG if it is small, else JPEG."""
    pixels = picture.cpu().movedim(0, -1).numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    if max(image.size) <= PIXEL_ART:
        image.save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def boxes_of(support: Tensor, size: tuple[int, int]) -> list[list[int]]:
    """Where units fire in an input of `size`: the box of the top 5 % of each support map (N, h, w)."""
    return high_activation_box(upsample(support, size)).tolist() if len(support) else []


def image_element(uri: str, size: tuple[int, int], identity: str = "") -> str:
    """The picture as an SVG element in its own pixel coordinates."""
    crisp = " style='image-rendering:pixelated'" if max(size) <= PIXEL_ART else ""
    name = f" id='{identity}'" if identity else ""
    return f"<image{name}{crisp} href='{uri}' width='{size[1]}' height='{size[0]}' preserveAspectRatio='none'/>"


def framed(content: str, view: Sequence[float], box: Sequence[float] | None, label: str) -> str:
    """An SVG of the part `view` of a picture with a box outlined; both (top, left, bottom, right) in pixels.

    Args:
        content: SVG elements that draw the picture.
        view: what to show of it.
        box: what to outline.
        label: read aloud in place of the picture; already escaped.
    """
    top, left, bottom, right = view
    height, width = bottom - top, right - left
    outline = ""
    if box is not None:
        inset = 0.012 * max(height, width)
        place = (
            f"x='{box[1] + inset:.4g}' y='{box[0] + inset:.4g}' "
            f"width='{max(box[3] - box[1] - 2 * inset, inset):.4g}' "
            f"height='{max(box[2] - box[0] - 2 * inset, inset):.4g}'"
        )
        outline = f"<rect class='halo' {place}/><rect class='box' {place}/>"
    return (
        f"<svg class='picture' viewBox='{left} {top} {width} {height}' role='img' "
        f"aria-label='{label}'>{content}{outline}</svg>"
    )


def to_picture(inputs: Tensor | None, domain: object) -> Tensor | None:
    """The pixels of one input (1, C, H, W), for domains of images."""
    if inputs is None or not hasattr(domain, "picture"):
        return None
    return domain.picture(inputs)[0].to(torch.uint8)  # pyright: ignore[reportAttributeAccessIssue]
