"""Curves of a section as small multiples: a column for each axis, a row for each measure, both scales logarithmic."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73")  # Okabe and Ito: told apart by the colour-blind, and in grey
MARKS = ("o", "s", "^")


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draws the rows that have a curve; tells whether it could: matplotlib is optional."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path.name} is not drawn: matplotlib is not installed (the extra `plot`).", file=sys.stderr)
        return False
    curves = [row["curve"] for row in rows if "curve" in row]
    slopes = [row["value"] for row in rows if "curve" in row]
    axes, measures = (list(dict.fromkeys(curve[key] for curve in curves)) for key in ("axis", "measure"))
    figure = Figure(figsize=(2.65 * len(axes), 2.6 * len(measures)), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(measures), len(axes), squeeze=False)
    for i, measure in enumerate(measures):
        for j, axis in enumerate(axes):
            here = [(c, s) for c, s in zip(curves, slopes, strict=True) if (c["axis"], c["measure"]) == (axis, measure)]
            _panel(panels[i][j], here)
            panels[i][j].set_xlabel(axis if i == len(measures) - 1 else "", fontsize=9)
            panels[i][j].set_ylabel(measure if j == 0 else "", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True


def _panel(panel: Any, curves: Sequence[tuple[Mapping[str, Any], float]]) -> None:
    """One panel: each curve, its name and exponent above, and a grey line of slope 1 beside."""
    if not curves:
        panel.axis("off")
        return
    sizes = curves[0][0]["sizes"]
    panel.set(xscale="log", yscale="log")
    values = [v for curve, _ in curves for v in curve["values"]]
    start = min(values)
    panel.plot(sizes, [start * n / sizes[0] for n in sizes], color="0.7", linewidth=1, zorder=0)
    end = start * sizes[-1] / sizes[0]
    if all(abs(math.log(curve["values"][-1] / end)) > 0.7 for curve, _ in curves):  # else the word would lie on a curve
        panel.annotate(
            "linear", (sizes[-1], end), (-4, 4), textcoords="offset points", ha="right", fontsize=7, color="0.5"
        )
    for k, (curve, slope) in enumerate(curves):
        panel.plot(curve["sizes"], curve["values"], color=COLOURS[k], marker=MARKS[k], markersize=4, linewidth=1.4)
        name, place = f"{curve['series']}: $n^{{{slope:.2f}}}$", (0.04, 0.96 - 0.11 * k)
        panel.text(*place, name, transform=panel.transAxes, va="top", fontsize=8, color=COLOURS[k])
    top = max(max(values), start * sizes[-1] / sizes[0])
    spread = max(top / start, 10.0)
    panel.set_ylim(start / 1.5, start * spread ** (1 + 0.17 * (len(curves) + 1)))
    panel.set_xticks(sizes, [f"{n:,.0f}" for n in sizes], fontsize=7)
    panel.minorticks_off()
    panel.tick_params(axis="y", labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
