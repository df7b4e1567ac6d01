"""A curve over numbers as SVG: the values, their standard errors, the density of the training rows below."""

from collections.abc import Sequence

from zoo.views.additive.scale import Scale, scale_of
from zoo.views.additive.shown import Shown
from zoo.views.markup import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 340, 157, 46, 8, 8
PLOT, BELOW, DENSE = 100, 5, 24  # heights of the plot, of the gap below it, and of the density
HEADROOM = 0.08
ACROSS = WIDTH - LEFT - RIGHT


def curve_chart(shown: Shown, label: str) -> str:
    """The curve of one column of numbers.

    Args:
        shown: the curve, and the place of a row if one is marked.
        label: alternative text; already escaped.
    """
    scale = scale_of(shown.curve.axes[0])
    low, high = limits_of(shown)
    height = Heights(low, high)
    content = (
        f"{_band(shown, scale, height)}<line class='zero' x1='{LEFT}' x2='{LEFT + ACROSS}' y1='{height.at(0):.5g}' "
        f"y2='{height.at(0):.5g}'/>{_density(shown, scale)}{_axes(scale, low, high)}"
        f"<path class='curve' d='{line_path(shown.values.tolist(), scale, height)}'/>{_mark(shown, scale, height)}"
    )
    return (
        f"<svg class='chart' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{label}' data-low='{low:.9g}' "
        f"data-high='{high:.9g}' data-shift='{shown.shift:.9g}'>{content}</svg>"
    )


class Heights:
    """From values to y in the drawing."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def at(self, value: float) -> float:
        """The y of a value."""
        return TOP + PLOT * (self.high - value) / (self.high - self.low)


def limits_of(shown: Shown) -> tuple[float, float]:
    """The smallest and largest value drawn: 0, all values, and the errors of entries that have training rows."""
    values = shown.values.double()
    error = values * 0 if shown.error is None else shown.error.double() * (shown.curve.density > 0).cpu()
    low, high = min(float((values - error).min()), 0.0), max(float((values + error).max()), 0.0)
    pad = HEADROOM * (high - low) or 0.1
    return low - pad, high + pad


def line_path(values: Sequence[float], scale: Scale, height: Heights) -> str:
    """The path of a curve: constants over bins or lines between points, and a dash for each label."""
    axis, spans = scale.axis, scale.spans()
    if axis.kind == "points":
        inner = [(scale.at(p), v) for p, v in zip(axis.places, values, strict=False)]
        path = "M" + "L".join(f"{x_of(x)} {height.at(v):.4f}" for x, v in inner) if inner else ""
    else:
        path = ""
        for (left, right), value in zip(spans[: axis.numbers], values, strict=False):
            path += f"{'V' if path else f'M{x_of(left)} '}{height.at(value):.4f}H{x_of(right)}"
    for (left, right), value in zip(spans[axis.numbers :], values[axis.numbers :], strict=True):
        path += f"M{x_of(left + 0.012)} {height.at(value):.4f}H{x_of(right - 0.012)}"
    return path


def x_of(share: float) -> str:
    """The x of a share of the width."""
    return f"{LEFT + ACROSS * share:.5g}"


def _band(shown: Shown, scale: Scale, height: Heights) -> str:
    """Values ± one standard error."""
    if shown.error is None:
        return ""
    upper, lower = (shown.values + shown.error).tolist(), (shown.values - shown.error).tolist()
    spans, numbers = scale.spans(), scale.axis.numbers
    if scale.axis.kind == "points":
        xs = [x_of(scale.at(place)) for place in scale.axis.places]
        there = [f"{x} {height.at(v):.5g}" for x, v in zip(xs, upper, strict=False)]
        back = [f"{x} {height.at(v):.5g}" for x, v in zip(xs, lower, strict=False)][::-1]
        path = f"M{'L'.join(there + back)}Z" if xs else ""
    else:
        path = _boxes(spans[:numbers], upper[:numbers], lower[:numbers], height)
    path += _boxes([(a + 0.012, b - 0.012) for a, b in spans[numbers:]], upper[numbers:], lower[numbers:], height)
    return f"<path class='band' d='{path}'/>"


def _boxes(
    spans: Sequence[tuple[float, float]], upper: Sequence[float], lower: Sequence[float], height: Heights
) -> str:
    return "".join(
        f"M{x_of(left)} {height.at(high):.5g}H{x_of(right)}V{height.at(low):.5g}H{x_of(left)}Z"
        for (left, right), high, low in zip(spans, upper, lower, strict=True)
    )


def _density(shown: Shown, scale: Scale) -> str:
    """The density of the training rows: the area of a bar is their share."""
    spans, shares = scale.spans(), shown.curve.density.tolist()
    dense = [share / max(right - left, 1e-9) for (left, right), share in zip(spans, shares, strict=True)]
    most, bottom = max(dense) or 1.0, TOP + PLOT + BELOW + DENSE
    bars = "".join(
        f"M{x_of(left)} {bottom}V{bottom - max(DENSE * value / most, 0.8):.4g}H{x_of(right)}V{bottom}Z"
        for (left, right), value in zip(spans, dense, strict=True)
        if value > 0
    )
    return f"<path class='density' d='{bars}'/>"


def _axes(scale: Scale, low: float, high: float) -> str:
    bottom = TOP + PLOT + BELOW + DENSE + 14
    texts = "".join(
        f"<text class='tick' x='{x_of(share)}' y='{bottom}'>{escape(_minus(text))}</text>"
        for share, text in scale.ticks()
    )
    numbers = scale.axis.numbers
    for name, (left, right) in zip(scale.axis.labels, scale.spans()[numbers:], strict=True):
        most = max(int(ACROSS * (right - left) / 5.6), 3)
        short = name if len(name) <= most else f"{name[: most - 1]}…"
        texts += (
            f"<text class='tick' x='{x_of((left + right) / 2)}' y='{bottom}'>{escape(short)}"
            f"<title>{escape(name)}</title></text>"
        )
    for value in (low, 0.0, high):
        y = Heights(low, high).at(value)
        if value == 0 or min(abs(y - Heights(low, high).at(0)), PLOT) > 14:
            shown = "0" if value == 0 else _minus(f"{value:+.2g}" if abs(value) < 1e4 else f"{value:+.1e}")
            place = min(max(y + 4, TOP + 8), TOP + PLOT)
            texts += f"<text class='value' x='{LEFT - 5}' y='{place:.4g}'>{shown}</text>"
    return texts


def _mark(shown: Shown, scale: Scale, height: Heights) -> str:
    """A vertical line and a dot where the row is."""
    if not shown.places or (share := scale.where(shown.places[0])) is None:
        return ""
    value = value_at(shown)
    x, top, bottom = x_of(share), TOP, TOP + PLOT + BELOW + DENSE
    return (
        f"<g class='here'><line x1='{x}' x2='{x}' y1='{top}' y2='{bottom}'/>"
        f"<circle cx='{x}' cy='{height.at(value):.5g}' r='4.5'/></g>"
    )


def value_at(shown: Shown) -> float:
    """The value of a curve of one column at the place of the row; 0 if its axis has no such label."""
    axis, place = shown.curve.axes[0], shown.places[0]
    if place.number is None:
        found = axis.numbers + axis.labels.index(place.label) if place.label in axis.labels else None
        return 0.0 if found is None else float(shown.values[found])
    below = sum(edge <= place.number for edge in axis.places)
    if axis.kind == "steps":
        return float(shown.values[below])
    i = min(max(below, 1), len(axis.places) - 1)
    if len(axis.places) == 1:
        return float(shown.values[0])
    a, b = axis.places[i - 1], axis.places[i]
    share = min(max((place.number - a) / (b - a), 0.0), 1.0)
    return float(shown.values[i - 1] * (1 - share) + shown.values[i] * share)


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")
