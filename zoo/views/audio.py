"""A clip of sound as SVG: its log-mel picture, and the contributions over time below it."""

import math

import torch
from torch import Tensor

from zoo.domain import AudioDomain
from zoo.views.pictures import data_uri
from zoo.views.row import Row
from zoo.views.series import MARGIN, WIDTH, drawing, time_axis

TALL, GAP, CHART = 150, 8, 76  # heights of the picture, of the gap, and of the chart
HERTZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # that are marked
APART = 14  # smallest distance of two marks


def clip_drawing(row: Row, domain: AudioDomain, x: Tensor, label: str) -> str:
    """The picture of a clip, low frequencies at the bottom, and the contributions of its positions if they are known.

    Args:
        row: of the page.
        domain: of the clip.
        x: (frames, bands), the input.
        label: alternative text; already escaped.
    """
    parts = _picture(domain, x) + _hertz(domain)
    chart = _chart(row)
    below = TALL + (GAP + CHART if chart else 0)
    return drawing(f"{parts}{chart}{time_axis(domain.shape[0], domain.step, 's', below + 2)}", below + 4, label)


def _picture(domain: AudioDomain, x: Tensor) -> str:
    """Grey: the louder, the brighter, over the range from the 5th percentile to the maximum."""
    values = domain.values(x).cpu()
    low, high = float(values.quantile(0.05)), float(values.max())
    grey = ((values - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).round().to(torch.uint8)
    uri = data_uri(grey.mT.flip(0)[None])
    return (
        f"<image href='{uri}' x='{MARGIN}' y='0' width='{WIDTH}' height='{TALL}' preserveAspectRatio='none' "
        "style='image-rendering:pixelated'/>"
    )


def _hertz(domain: AudioDomain) -> str:
    """Marks at round frequencies, on the scale of the bands."""
    low, high = (_mel(f) for f in (domain.lowest, domain.highest))
    marks, last = "", math.inf
    for hertz in HERTZ:
        if not domain.lowest < hertz <= domain.highest:
            continue
        place = (_mel(hertz) - low) / (high - low) * (domain.bands + 1) - 0.5  # in bands
        y = min(max(TALL * (1 - place / domain.bands), 0), TALL)
        if last - y >= APART:
            marks += f"<text class='range' x='{MARGIN - 4}' y='{max(y + 4, 9):.4g}'>{hertz} Hz</text>"
            last = y
    return marks


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _chart(row: Row) -> str:
    """A bar for each position, up if it supports the target, and the ranks of the units that are listed."""
    one = row.explanation
    if one.contributions is None or one.support is None or one.support.ndim != 3:
        return ""
    values = one.attribution()[0].cpu()
    most = float(values.abs().max()) or 1.0
    top, half, wide = TALL + GAP, CHART / 2 - 8, WIDTH / len(values)
    bars = f"<line x1='{MARGIN}' x2='{MARGIN + WIDTH}' y1='{top + CHART / 2:g}' y2='{top + CHART / 2:g}'/>"
    for sign, name in ((1, "up"), (-1, "down")):
        path = ""
        for i, value in enumerate(values.tolist()):
            if (height := half * value * sign / most) > 0.2:
                start = top + CHART / 2 - (height if sign > 0 else 0)
                path += f"M{MARGIN + i * wide:.5g} {start:.4g}h{wide * 0.9:.4g}v{height:.4g}h-{wide * 0.9:.4g}z"
        bars += f"<path class='{name}' d='{path}'/>" if path else ""
    for rank, term in enumerate(row.terms, 1):
        where = one.support[0, term.index].cpu()
        if not bool(where.any()):  # a unit without a position
            continue
        place = int(where.argmax())
        value, x = float(values[place]), MARGIN + (place + 0.45) * wide
        y = top + CHART / 2 - half * value / most + (-2 if value > 0 else 9)
        bars += f"<text class='rank-mark' x='{x:.4g}' y='{y:.4g}'>{rank}</text>"
    return f"<text y='{top + CHART / 2 + 4:g}'>contribution</text>{bars}"
