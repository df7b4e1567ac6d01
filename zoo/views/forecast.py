"""A forecast as SVG: the look-back, the future, and which past stretch moved which future step."""

from itertools import pairwise

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.domain import SeriesDomain
from zoo.views.markup import escape
from zoo.views.row import Row
from zoo.views.series import AXIS, MARGIN, WIDTH
from zoo.views.sums import decimals, number, signed

HORIZON = "horizon"  # detail (B, K, H): contributions to every future step of the unit's own variable
LINE, BARS, GAP, GRID = 150, 64, 10, 150  # heights of the chart, of the bars, of a gap, and of the grid at most
LEVELS = 10  # of the shades of the grid
TICKS = 6  # on the time axis at most
LOOK = (
    ".zoo .forecast .up{fill:var(--up)}.zoo .forecast .down{fill:var(--down)}"
    ".zoo .forecast .made{stroke:var(--down)}.zoo .forecast .truth{stroke:var(--soft);stroke-dasharray:4 3}"
    ".zoo .forecast .now{stroke:var(--soft);stroke-dasharray:2 3}.zoo .forecast circle{fill:var(--down)}"
    ".zoo .forecast .chosen{fill:none;stroke:var(--ink);stroke-width:1.4px}.zoo .forecast{max-width:860px}"
    ".zoo .forecast text{font-size:10px}"
)


def forecast(row: Row) -> str:
    """The charts of the variable that is explained; empty if the explanation is not of a forecast."""
    one = row.explanation
    if HORIZON not in one.details or not isinstance(one.domain, SeriesDomain) or one.inputs is None:
        return ""
    domain = one.domain
    variable, step = divmod(int(one.target), domain.horizon)
    name, name_of_step = domain.variables[variable], escape(one.target_names[0])
    chosen = [k for k, unit in enumerate(one.units) if unit.source.get("variable") == name]
    patches = [k for k in chosen if unit_steps(one, k)]
    spans = [unit_steps(one, k) for k in patches]
    every = one.details[HORIZON][0, patches].cpu()  # (P, H)
    level = sum(float(one.details[HORIZON][0, k, step]) for k in chosen if k not in patches)
    whole, frame = domain.length + domain.horizon, Frame(domain)
    top = LINE + GAP
    bars = _bars(every[:, step], spans, frame, top)
    tall = max(3.0, min(12.0, GRID / domain.horizon))
    grid = _grid(every, spans, step, frame, top + BARS + GAP, tall, one)
    below = top + BARS + GAP + tall * domain.horizon + 2
    label = escape(f"forecast of {name} and the contributions of the look-back")
    drawn = (
        f"<svg viewBox='0 0 {MARGIN + WIDTH} {below + AXIS + 2:g}' role='img' aria-label='{label}'>"
        f"{_lines(row, variable, step, frame)}{bars}{grid}{_axis(domain, whole, frame, below)}</svg>"
    )
    level_at = level + (0.0 if one.bias is None else float(one.bias))
    digits = decimals([float(one.scores[0, int(one.target)])])
    truth = "" if row.truth is None else (
        f" The true value was {number(float(row.truth[int(one.target)]), digits)}."
    )  # fmt: skip
    return (
        f"<h3>Forecast of <bdi>{escape(name)}</bdi></h3><p class='note'>Before any patch counts, the level of the "
        f"look-back gives {number(level_at, digits)}; the patches add {signed(float(every[:, step].sum()), digits)}."
        f"{truth} Top: the look-back, the forecast in <b class='down'>orange</b>"
        f"{'' if row.truth is None else ', and the true values dashed'}. Bars: what each stretch of the past adds to "
        f"<bdi>{name_of_step}</bdi>. Grid: the same for every future step, the first on top; one colour scale, "
        "<b class='up'>blue</b> raises, <b class='down'>orange</b> lowers.</p>"
        f"<figure class='series forecast'>{drawn}</figure>"
    )


def unit_steps(one: Explanation, k: int) -> list[int]:
    """First and last step of a unit; empty if it is not a stretch of the look-back."""
    return list(one.units[k].source.get("steps", ()))


class Frame:
    """Steps as x coordinates: 0 is the first of the look-back.

    Args:
        domain: of the forecast.
    """

    def __init__(self, domain: SeriesDomain) -> None:
        self.across = WIDTH / (domain.length + domain.horizon)

    def x(self, step: float) -> float:
        """The left edge of a step."""
        return MARGIN + step * self.across


def _lines(row: Row, variable: int, step: int, frame: Frame) -> str:
    one, domain = row.explanation, row.explanation.domain
    if not isinstance(domain, SeriesDomain) or one.inputs is None:
        return ""
    mine = slice(variable * domain.horizon, (variable + 1) * domain.horizon)
    past, made = domain.values(one.inputs[0]).cpu()[:, variable], one.scores[0, mine].cpu()
    truth = None if row.truth is None else row.truth[mine].cpu().float()
    shown = torch.cat([past, made, *([] if truth is None else [truth])])
    low, high = float(shown.min()), float(shown.max())
    scale = (LINE - 8) / ((high - low) or 1.0)

    def points(values: Tensor, first: int) -> str:
        return " ".join(
            f"{frame.x(first + i + 0.5):.5g},{LINE - 4 - (value - low) * scale:.4g}"
            for i, value in enumerate(values.tolist())
        )

    still = "vector-effect='non-scaling-stroke'"
    before, start = past[-1:], domain.length - 1  # lines of the future begin at the last value
    parts = f"<g><polyline {still} points='{points(past, 0)}'/>"
    if truth is not None:
        parts += f"<polyline class='truth' {still} points='{points(torch.cat([before, truth]), start)}'/>"
    parts += f"<polyline class='made' {still} points='{points(torch.cat([before, made]), start)}'/></g>"
    now = frame.x(domain.length)
    x, y = points(made[step : step + 1], domain.length + step).split(",")
    digits = decimals([low, high])
    return (
        f"<line class='now' x1='{now:.5g}' x2='{now:.5g}' y1='0' y2='{LINE + BARS + GAP}'/>{parts}"
        f"<circle cx='{x}' cy='{y}' r='3.2'/><text y='{LINE / 2 + 4:g}'>value</text>"
        f"<text class='range' x='{MARGIN - 3}' y='9'>{number(high, min(digits, 3))}</text>"
        f"<text class='range' x='{MARGIN - 3}' y='{LINE - 1}'>{number(low, min(digits, 3))}</text>"
    )


def _bars(values: Tensor, spans: list[list[int]], frame: Frame, top: float) -> str:
    """A bar for each patch, over the steps that no later patch has."""
    most, middle = float(values.abs().max()) or 1.0, top + BARS / 2
    drawn = f"<line x1='{MARGIN}' x2='{MARGIN + WIDTH}' y1='{middle:g}' y2='{middle:g}'/>"
    for value, (left, right) in zip(values.tolist(), edges(spans), strict=True):
        height = (BARS / 2 - 3) * abs(value) / most
        if height > 0.2:
            y, kind = middle - (height if value > 0 else 0), "up" if value > 0 else "down"
            x, wide = frame.x(left), (right - left) * frame.across * 0.94
            drawn += f"<path class='{kind}' d='M{x:.5g} {y:.4g}h{wide:.4g}v{height:.4g}h-{wide:.4g}z'/>"
    largest = number(most, min(decimals([most]), 4))
    return (
        f"{drawn}<text y='{middle + 4:g}'>adds</text>"
        f"<text class='range' x='{MARGIN - 3}' y='{top + 9:g}'>{largest}</text>"
        f"<text class='range' x='{MARGIN - 3}' y='{top + BARS - 1:g}'>\u2212{largest}</text>"
    )


def edges(spans: list[list[int]]) -> list[tuple[float, float]]:
    """Left and right edge of each patch where patches overlap: the middle of what two neighbours share."""
    middles = [(after[0] + before[1] + 1) / 2 for before, after in pairwise(spans)]
    return list(zip([spans[0][0], *middles], [*middles, spans[-1][1] + 1], strict=True))


def _grid(
    every: Tensor, spans: list[list[int]], step: int, frame: Frame, top: float, tall: float, one: Explanation
) -> str:
    """A cell for each patch and future step; cells of one shade are one path."""
    most = float(every.abs().max()) or 1.0
    level = (every / most * LEVELS).round().int()
    sides, drawn = edges(spans), ""
    for shade in range(1, LEVELS + 1):
        for kind, sign in (("up", 1), ("down", -1)):
            path = ""
            for p, h in (level == sign * shade).nonzero().tolist():
                left, right = sides[p]
                wide = (right - left) * frame.across
                path += f"M{frame.x(left):.5g} {top + h * tall:.5g}h{wide:.4g}v{tall:.4g}h-{wide:.4g}z"
            if path:
                drawn += f"<path class='{kind}' opacity='{shade / LEVELS:.2g}' d='{path}'/>"
    left, right = frame.x(sides[0][0]), frame.x(sides[-1][1])
    name = escape(one.target_names[0])
    return (
        f"<text y='{top + 10:g}'>1 ahead</text>"
        f"<text y='{top + tall * every.shape[1]:g}'>{every.shape[1]} ahead</text>{drawn}"
        f"<rect class='chosen' x='{left:.5g}' y='{top + step * tall:.5g}' width='{right - left:.5g}' "
        f"height='{tall:.4g}'><title>{name}</title></rect>"
    )


def _axis(domain: SeriesDomain, whole: int, frame: Frame, below: float) -> str:
    """Time from the last step of the look-back."""
    apart = next(s * 10**p for p in range(9) for s in (1, 2, 5) if whole / (s * 10**p) <= TICKS)
    ticks = ""
    marks = [t for t in range(-domain.length // apart * apart, domain.horizon, apart) if t > -domain.length]
    for t in [t for t in marks if t <= 0 or domain.horizon - t > whole / 12] + [domain.horizon]:
        x = frame.x(domain.length - 0.5 + t)
        text = "now" if t == 0 else f"{t * domain.step:+.6g}".replace("-", "\u2212")
        ticks += f"<text class='tick' x='{x:.5g}' y='{below + 12:g}'>{text}</text>"
    return f"<text y='{below + 12:g}'>{escape(domain.unit)}</text>{ticks}"
