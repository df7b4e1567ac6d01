"""The linear map that a network made of an image: the contribution of each pixel, and its weights in colour."""

import base64
import io

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoo.core.explanation import Explanation
from zoo.domain import ImageDomain
from zoo.views.markup import escape
from zoo.views.pictures import framed, image_element
from zoo.views.row import Row

WEIGHTS, PIXELS = "weights", "pixels"  # details (B, K, n patch²) and (B, K, patch²)
UP, DOWN = (0, 98, 178), (200, 90, 0)  # of pixels that support the class and that oppose it
SMOOTH, OF, FULL = 15, 224, 0.995  # the published smoothing of opacity, in pixels of 224, and where it is full
LOOK = """
.zoo .maps{display:flex;flex-wrap:wrap;gap:18px;margin:12px 0}
.zoo .maps figure{flex:0 1 230px;margin:0}
.zoo .maps svg{background:#fff;border:1px solid var(--line)}
.zoo .maps .grey svg{background:#8a94a0}
"""


def linear_map(row: Row) -> str:
    """Pictures of the map of one explanation; empty for other models."""
    one = row.explanation
    if not {WEIGHTS, PIXELS} <= one.details.keys() or not isinstance(one.domain, ImageDomain):
        return ""
    size = one.domain.size
    each, weights = (whole(one, name) for name in (PIXELS, WEIGHTS))
    name = escape(one.target_names[0])
    grey = " class='grey'" if one.domain.channels != 3 else ""  # else white weights would be invisible
    label = f"contribution of each pixel to {name}"
    figures = _figure(signed_picture(each[0]), size, label, "blue supports, orange opposes")
    label = f"weights for {name} in colour"
    figures += _figure(coloured(weights, each[0]), size, label, "opaque where the weights are large and support", grey)
    rest = [f"the unit <i>{escape(unit.name)}</i>" for unit in one.units if unit.kind == "residual"]
    others = " and ".join([*rest, "the bias"])
    return (
        "<h3>The linear map of this image</h3><p class='note'>For this image the network is one linear map. Its "
        f"weights times the pixels, with {others}, are the score of <bdi>{name}</bdi> exactly. The picture in colour "
        f"shows the weights themselves, and hides what opposes.</p><div class='maps'>{figures}</div>"
    )


def _figure(picture: Tensor, size: tuple[int, int], label: str, meaning: str, style: str = "") -> str:
    drawn = framed(image_element(_uri(picture), size), (0, 0, *size), None, label)
    return f"<figure{style}>{drawn}<figcaption>{label}: {meaning}</figcaption></figure>"


def whole(one: Explanation, name: str) -> Tensor:
    """(n, H, W) the map of a detail of one explanation, put together from its patches."""
    domain = one.domain
    assert isinstance(domain, ImageDomain)
    patch = int(one.units[0].source["patch"])
    height, width = domain.size
    rows, columns = -(-height // patch), -(-width // patch)
    cells = one.details[name][0, : rows * columns].cpu().float()
    maps = F.fold(cells.mT, (rows * patch, columns * patch), patch, stride=patch)
    return maps[:, :height, :width]


def signed_picture(values: Tensor) -> Tensor:
    """Contributions (H, W) as a picture (H, W, 4) uint8: colour by sign, opacity by size."""
    largest = values.abs().quantile(FULL).clamp_min(1e-12)
    opacity = (values.abs() / largest).clamp(0, 1)
    colour = torch.where(values[..., None] >= 0, torch.tensor(UP), torch.tensor(DOWN))
    return _rgba(colour.float(), opacity)


def coloured(weights: Tensor, contributions: Tensor) -> Tensor:
    """Weights (2 C, H, W) of an image and its inverse as a picture (H, W, 4) uint8.

    A channel is w / (w + w'), of the weights w of the channel and w' of its inverse, where positive. Opacity is the
    norm of the weights where the contribution is positive, smoothed, and full from its 99.5th percentile on.

    Source: Böhle et al., CVPR 2022, section 3.3 and published code.
    """
    half = weights.shape[0] // 2
    positive = (weights / weights.abs().amax(0).clamp_min(1e-12)).clamp_min(0)
    share = positive[:half] / (positive[:half] + positive[half:] + 1e-12)
    shown = share if half == 3 else share.mean(0, keepdim=True).expand(3, -1, -1)
    strength = weights.norm(dim=0).where(contributions > 0, 0)
    side = max(round(SMOOTH * min(strength.shape) / OF) // 2 * 2 + 1, 1)
    strength = F.avg_pool2d(strength[None, None], side, 1, side // 2)[0, 0]
    opacity = (strength / strength.flatten().quantile(FULL).clamp_min(1e-12)).clamp(0, 1)
    return _rgba(255 * shown.movedim(0, -1), opacity)


def _rgba(colour: Tensor, opacity: Tensor) -> Tensor:
    """Colour (H, W, 3) in 0 to 255 and opacity (H, W) in [0, 1] as bytes."""
    return torch.cat([colour, 255 * opacity[..., None]], -1).round().to(torch.uint8)


def _uri(picture: Tensor) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture.numpy(), "RGBA").save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
