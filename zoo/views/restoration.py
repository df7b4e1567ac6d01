"""A restored picture: what was removed, the widths of the filters, and controls that filter again on the page."""

import base64
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.domain import ImageDomain
from zoo.views.markup import escape
from zoo.views.pictures import data_uri
from zoo.views.row import Row

MOST = 1 << 16  # values of a picture that a page filters again
STRONGER = 3.0  # times: what was removed is small
LOOK = (
    ".zoo .restored{display:flex;flex-wrap:wrap;gap:16px;margin:8px 0}.zoo .restored figure{flex:0 1 230px}"
    ".zoo .restored img,.zoo .restored canvas{display:block;width:100%;image-rendering:pixelated;border-radius:6px}"
    ".zoo .restored canvas{cursor:crosshair}.zoo .restored figcaption{font-size:.85rem;color:var(--soft)}"
    ".zoo .restoration:not([data-worst]) .live{display:none}"
    ".zoo .widths{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center}"
)


def is_restored(one: Explanation) -> bool:
    """Whether an explanation is of a picture that filters with widths restored."""
    return isinstance(one.domain, ImageDomain) and one.domain.restored and any(u.kind == "width" for u in one.units)


def restoration(row: Row) -> str:
    """The pictures, and the data of the script; empty if nothing was restored."""
    one = row.explanation
    if not is_restored(one) or one.inputs is None or not isinstance(one.domain, ImageDomain):
        return ""
    domain = one.domain
    noisy = values_of(one.inputs[0].cpu(), domain)
    restored = one.scores[0].cpu().view(noisy.shape)
    removed = 0.5 + STRONGER * (noisy - restored)
    shown = (
        ("noisy", "noisy", noisy),
        ("clean", "restored; click a pixel, or move with the arrow keys", restored),
        ("removed", f"what was removed, {STRONGER:g} times as strong", removed),
    )
    figures = "".join(_figure(name, caption, values) for name, caption, values in shown)
    live = noisy.numel() <= MOST
    note = (
        "Paint patches of the width map (or press space on it) and move the slider: the picture is filtered again, "
        "exactly as the model would."
        if live
        else "The picture is too large to be filtered again on the page; `edit` does it in Python."
    )
    controls = "" if not live else f"{_controls(one.units)}<script type='application/json'>{_data(one, noisy)}</script>"
    return (
        f"<section class='restoration' aria-label='restored picture'><h3>The restored picture</h3>"
        f"<p class='note'>Each restored pixel is a weighted mean of noisy neighbours; widths decide on the weights."
        f"<span{' class=live' if live else ''}> {note}</span></p><div class='restored'>{figures}</div>{controls}"
        "</section>"
    )


def values_of(x: Tensor, domain: ImageDomain) -> Tensor:
    """An input (C, H, W) as values in [0, 1]."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (domain.mean, domain.std))
    return x.float() * std + mean


def _figure(name: str, caption: str, values: Tensor) -> str:
    uri = data_uri(values.mul(255).round().clamp(0, 255).to(torch.uint8))
    said = escape(caption)
    return f"<figure class='{name}'><img alt='{said}' src='{uri}'><figcaption>{said}</figcaption></figure>"


def _controls(units: Sequence[Unit]) -> str:
    kinds = list(dict.fromkeys((u.source["stage"], u.source["width"]) for u in units if u.kind == "width"))
    options = "".join(
        f"<option value='{i}'{' selected' if i == len(kinds) - 1 else ''}>stage {stage}, {escape(width)}</option>"
        for i, (stage, width) in enumerate(kinds)
    )
    return (
        f"<div class='widths live'><label>width <select>{options}</select></label>"
        "<label>times <input type='range' min='-3' max='3' step='0.05' value='0' aria-label='factor of the width'> "
        "<output>1.00</output></label><label><input type='checkbox' class='all' checked> of all patches</label>"
        "<button type='button'>Reset</button></div><p class='note said' aria-live='polite'></p>"
        "<div class='pixel' aria-live='polite'></div>"
    )


def _data(one: Explanation, noisy: Tensor) -> str:
    """What the script needs, as JSON; tensors are float32 in base64."""
    widths = [k for k, unit in enumerate(one.units) if unit.kind == "width"]
    first = one.units[widths[0]].source
    match = {one.units[k].source["stage"]: one.units[k].source["match"] for k in widths}
    data = {
        "shape": list(noisy.shape),
        "picture": _packed(noisy),
        "restored": _packed(one.scores[0].cpu()),
        "widths": _packed(one.activation[0, widths].cpu()),
        "stages": len(match),
        "match": [match[stage] for stage in sorted(match)],
        "target": int(one.target),
        "stronger": STRONGER,
        **{name: first[name] for name in ("radius", "patch")},
    }
    return json.dumps(data)


def _packed(values: Tensor) -> str:
    return base64.b64encode(values.float().contiguous().numpy().astype("<f4").tobytes()).decode()
