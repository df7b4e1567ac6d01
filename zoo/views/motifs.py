"""Motifs over the series that they match, beside the training series that they come from; and patterns of windows."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Term
from zoo.domain import SeriesDomain
from zoo.views.markup import escape
from zoo.views.row import Row
from zoo.views.series import MARGIN, TALL, drawing, points, time_axis

FROM = "from step"  # detail (B, K): the first step of a match
FLAT = 1e-6  # deviation below which a window is drawn as a level


def lines_of(row: Row, term: Term) -> str:
    """Figures of a unit that is a motif, "motif" in its source, or a code of windows, "pattern"; empty for others."""
    domain, explanation = row.explanation.domain, row.explanation
    if not isinstance(domain, SeriesDomain):
        return ""
    if (motif := term.unit.source.get("motif")) and FROM in explanation.details and explanation.inputs is not None:
        values = domain.values(explanation.inputs[0]).cpu()[:, motif["variable"]]
        start = int(explanation.details[FROM][0, term.index])
        return _match(term.unit, motif, values, start, domain) + source_of(term.unit, domain)
    return source_of(term.unit, domain) if term.unit.source.get("pattern") else ""


def source_of(unit: Unit, domain: Any) -> str:
    """The training series of a motif, with the motif marked, or the shape of a pattern; empty for other units."""
    if not isinstance(domain, SeriesDomain):
        return ""
    if motif := unit.source.get("motif"):
        steps, start = motif["steps"], motif["start"]
        whole = torch.tensor(motif["values"])
        label = escape(f"training series of {unit.name}, with the motif marked")
        drawn = _chart(whole, [(whole[start : start + steps], start, "motif")], motif, domain, label)
        caption = f"the motif, steps {start} to {start + steps - 1} of <bdi>{escape(motif['series'])}</bdi>"
        return _figure(drawn, caption)
    if pattern := unit.source.get("pattern"):
        median, decoded = (torch.tensor(pattern[name]) for name in ("median", "decoded"))
        low, high = (float(edge) for edge in torch.cat([median, decoded]).aminmax())
        lines = _line(median, 0, len(median), low, high, "motif") + _line(decoded, 0, len(median), low, high, "decoded")
        label = escape(f"shape of {unit.name}: median of training windows, and the decoder's output")
        below = time_axis(len(median), domain.step, domain.unit, TALL)
        drawn = drawing(f"{below}{_range(low, high)}{lines}", TALL, label)
        count = pattern["windows"]
        caption = (
            f"median of nearest windows of {pattern['series']} training series, and decoded (dashed); {count:,} "
            f"training windows have it"
        )
        return _figure(drawn, caption)
    return ""


def _match(unit: Unit, motif: Mapping[str, Any], values: Tensor, start: int, domain: SeriesDomain) -> str:
    """The variable of the input with the motif over its best match, scaled to it if only shapes are compared."""
    steps = motif["steps"]
    shown = torch.tensor(motif["values"])[motif["start"] : motif["start"] + steps]
    how = ""
    if motif["kind"] == "shape":
        here, own = values[start : start + steps], shown.std(correction=0)
        shown = (shown - shown.mean()) / own.clamp_min(FLAT) * here.std(correction=0) + here.mean()
        how = ", scaled to it"
    label = escape(f"the input, with {unit.name} over its best match at step {start}")
    drawn = _chart(values, [(shown, start, "motif")], motif, domain, label)
    return _figure(drawn, f"the input, and the motif over its best match{how}: steps {start} to {start + steps - 1}")


def _chart(
    line: Tensor, over: Sequence[tuple[Tensor, int, str]], motif: Mapping[str, Any], domain: SeriesDomain, label: str
) -> str:
    low, high = (float(edge) for edge in torch.cat([line, *(part for part, _, _ in over)]).aminmax())
    lines = _line(line, 0, len(line), low, high, "under")
    lines += "".join(_line(part, start, len(line), low, high, kind) for part, start, kind in over)
    name = domain.variables[motif["variable"]]
    title = f"<title>{escape(name)}</title>" if len(domain.variables) > 1 else ""
    axis = time_axis(domain.length, domain.step, domain.unit, TALL)
    text = f"<text y='{TALL // 2 + 5}'>{escape(name[:11])}{title}</text>"
    return drawing(f"{axis}{text}{_range(low, high)}{lines}", TALL, label)


def _range(low: float, high: float) -> str:
    short = (f"{value:.3g}".replace("-", "\u2212") for value in (high, low))
    return "".join(
        f"<text class='range' x='{MARGIN - 3}' y='{y}'>{value}</text>"
        for y, value in zip((9, TALL - 1), short, strict=True)
    )


def _line(line: Tensor, start: int, total: int, low: float, high: float, kind: str) -> str:
    place = points(line, low, high, 2, TALL - 4, start, total)
    return f"<g class='{kind}'><polyline vector-effect='non-scaling-stroke' points='{place}'/></g>"


def _figure(drawn: str, caption: str) -> str:
    return f"<figure class='wide series'>{drawn}<figcaption>{caption}</figcaption></figure>"
