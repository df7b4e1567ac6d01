"""Atoms of spectral dictionaries: what one gives to the predicted token by position, and the tokens that it reads."""

from typing import Any

from torch import Tensor

from zoo.core.explanation import Term
from zoo.domain import CodeDomain
from zoo.views.markup import escape
from zoo.views.row import Row
from zoo.views.sums import decimals, signed

WAVE = "wave"  # detail (B, K, T): what a unit gives to the target at each position, for an activation of 1
WIDTH, HEIGHT, LEFT = 270, 84, 50  # of the drawing, and of the room for its scale
SLOW = 10  # windows of a period from which an atom hardly turns
FEWEST = 0.05  # support from which a token is shown


def wave_of(row: Row, term: Term) -> str:
    """Figures of a unit with a wave: the tokens that it reads, and the wave; empty for other units."""
    one = row.explanation
    if WAVE not in one.details or not isinstance(one.domain, CodeDomain) or one.inputs is None:
        return ""
    x, wave = one.inputs[0].cpu(), one.details[WAVE][0, term.index].cpu()
    here = int(one.domain.lengths(x[None])) - 1
    read = "" if one.support is None else _read(one.domain, x, one.support[0, term.index].cpu())
    return f"{read}{_wave(wave, here, term, one.target_names[0])}"


def _read(domain: CodeDomain, x: Tensor, support: Tensor) -> str:
    """The last tokens, underlined by how much they move the unit's activation."""
    tokens = domain.tokens(x)
    first = int((support >= FEWEST).nonzero().min()) if bool((support >= FEWEST).any()) else len(tokens) - 1
    shown = "".join(
        f"<span style='border-bottom:3px solid rgba(31,111,180,{share:.2f})'>{escape(visible(text))}</span>"
        for text, share in zip(tokens[first:], support[first : len(tokens)].tolist(), strict=True)
    )
    return (
        f"<figure class='wide words'><code style='white-space:pre-wrap'>{'…' if first else ''}{shown}</code>"
        "<figcaption>reads; lines by how much each token moves the activation</figcaption></figure>"
    )


def visible(text: str) -> str:
    """A token with a visible end of line."""
    return text.replace("\n", "⏎")


def _wave(wave: Tensor, here: int, term: Term, target: str) -> str:
    low, high = min(float(wave.min()), 0.0), max(float(wave.max()), 0.0)
    room = (high - low) or 1.0
    x = lambda t: LEFT + (WIDTH - LEFT - 8) * (t + 0.5) / len(wave)  # noqa: E731
    y = lambda v: 6 + (HEIGHT - 12) * (high - v) / room  # noqa: E731
    line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in enumerate(wave.tolist()))
    at, digits = float(wave[here]), decimals([low, high])
    scale = "".join(
        f"<text x='{LEFT - 6}' y='{y(v) + 4:.1f}' text-anchor='end' font-size='11' fill='var(--soft)'>"
        f"{signed(v, digits)}</text>"
        for v in {low, high} - {0.0}
    )
    drawn = (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' style='width:100%;max-width:{WIDTH}px' "
        f"aria-label='{escape(f'{term.unit.name} by position')}'>{scale}"
        f"<line x1='{LEFT}' x2='{WIDTH - 8}' y1='{y(0):.1f}' y2='{y(0):.1f}' stroke='var(--line)'/>"
        f"<line x1='{x(here):.1f}' x2='{x(here):.1f}' y1='4' y2='{HEIGHT - 4}' stroke='var(--soft)' "
        "stroke-dasharray='3 3'/>"
        f"<polyline points='{line}' fill='none' stroke='var(--up)' stroke-width='2'/>"
        f"<circle cx='{x(here):.1f}' cy='{y(at):.1f}' r='4' fill='var(--up)'/></svg>"
    )
    caption = (
        f"to <bdi>{escape(target)}</bdi> for an activation of 1, by position 1 to {len(wave)}; here, at {here + 1}, "
        f"<b>{signed(at, digits)}</b>{_period(term.unit.source, len(wave))}"
    )
    return f"<figure class='wide'>{drawn}<figcaption>{caption}</figcaption></figure>"


def _period(source: Any, steps: int) -> str:
    """The period of an atom, if it has one."""
    if source.get("period") is None:
        return ""
    slow = ", so that it hardly turns" if source["period"] > SLOW * steps else ""
    return f"; period {source['period']:,.0f} tokens{slow}"
