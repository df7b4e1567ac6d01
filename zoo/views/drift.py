"""A page about the drift of reasons between two periods."""

from collections.abc import Sequence
from typing import Any

from zoo.views.document import document
from zoo.views.markup import escape
from zoo.views.wide_table import STYLE, wide_table

LISTED = 50  # quantities on the page
WIDTH, HEIGHT = 120, 34  # of a chart of shares
MEANS = ("mean before", "mean after", "listed before", "listed after")
NUMBERS = ("drifted", "shares", *MEANS, "stability index", "p", "adjusted p")
LOOK = (
    ".zoo tr.drifted td{font-weight:600}.zoo .shares{display:block;width:120px;height:34px;margin-left:auto}"
    ".zoo .shares .old{fill:var(--soft)}.zoo .shares .new{fill:var(--down)}"
)


def drift_page(drift: Any, names: tuple[str, str]) -> str:
    """The page.

    Args:
        drift: see `zoo.audit.drift.Drift`.
        names: of the old and the new period.
    """
    found = drift.drifted
    many = f"{len(found)} of {len(drift.changes)}"
    rows = "".join(_row(change) for change in drift.changes[:LISTED])
    rest = len(drift.changes) - LISTED
    more = f"<p class='note'>… and {rest} more in drift.csv.</p>" if rest > 0 else ""
    body = (
        f"<h1>Drift of reasons</h1><article><p class='title'>before: <bdi>{escape(names[0])}</bdi>, {drift.before:,} "
        f"explanations<br>after: <bdi>{escape(names[1])}</bdi>, {drift.after:,} explanations</p>"
        f"<h2>{many} <span class='share'>quantities drifted</span></h2><p class='note'>At most {drift.rate:.0%} of "
        "such alarms are expected to be chance (Benjamini-Hochberg). The stability index says how large a change is: "
        "from about 0.1 it is usually called moderate, from 0.25 large. Contributions of units that are not listed "
        "count as 0. Charts: share of the explanations by size of the contribution, smallest first, "
        "in deciles of the old period (grey: before, orange: after).</p></article>"
        f"<article>{wide_table(('quantity',), NUMBERS, rows)}{more}</article>"
    )
    return document("Drift of reasons", body, STYLE + LOOK)


def _row(change: Any) -> str:
    unit = change.kind == "unit"
    name = escape(change.name) if unit else {"answer": "which classes", "score": "score"}[change.kind]
    means = ("", "") if change.kind == "answer" else (f"{change.before:.4g}", f"{change.after:.4g}")
    listed = (f"{change.listed_before:.1%}", f"{change.listed_after:.1%}") if unit else ("", "")
    cells = "".join(f"<td>{text}</td>" for text in (*means, *listed))
    return (
        f"<tr class='{'drifted' if change.drifted else ''}'><td class='name'><bdi>{name}</bdi></td>"
        f"<td>{'yes' if change.drifted else 'no'}</td><td>{_chart(change.shares)}</td>{cells}"
        f"<td>{change.stability:.3f}</td><td>{change.p:.2g}</td><td>{change.q:.2g}</td></tr>"
    )


def _chart(shares: tuple[Sequence[float], Sequence[float]]) -> str:
    """Pairs of bars, one pair for each bin."""
    count, most = len(shares[0]), max(*shares[0], *shares[1])
    step = WIDTH / count
    bars = "".join(
        f"<rect class='{kind}' x='{(i + (0.1 if kind == 'old' else 0.5)) * step:.1f}' "
        f"y='{HEIGHT * (1 - share / most):.1f}' width='{0.4 * step:.1f}' height='{HEIGHT * share / most:.1f}'/>"
        for kind, side in zip(("old", "new"), shares, strict=True)
        for i, share in enumerate(side)
    )
    text = "; ".join(f"{a:.0%} to {b:.0%}" for a, b in zip(*shares, strict=True))
    return f"<svg class='shares' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{text}'>{bars}</svg>"
