"""The drawing of a unit's curve: over numbers, by levels, or a map of two columns."""

from zoo.views.additive.bars import bar_chart
from zoo.views.additive.chart import curve_chart
from zoo.views.additive.heat import heat_map
from zoo.views.additive.shown import Shown
from zoo.views.markup import escape


def drawing(shown: Shown, most: int | None = None) -> str:
    """An SVG element.

    Args:
        shown: the curve of one class.
        most: largest number of levels in a list; by default all.
    """
    label = escape(f"curve of {shown.curve.unit}")
    if len(shown.curve.axes) == 2:
        return heat_map(shown, label)
    if len(shown.curve.axes) > 2:
        return ""
    return bar_chart(shown, label, most) if shown.is_list else curve_chart(shown, label)


LOOK = """
.zoo .chart,.zoo .levels,.zoo .map{display:block;width:100%;max-width:460px;font-size:11px;
font-variant-numeric:tabular-nums}
.zoo .chart text,.zoo .levels text,.zoo .map text{fill:var(--soft)}
.zoo svg .tick,.zoo svg .axis{text-anchor:middle}
.zoo svg .value,.zoo svg .rate{text-anchor:end}
.zoo svg .curve{fill:none;stroke:var(--up);stroke-width:2;stroke-linejoin:round}
.zoo svg .band{fill:var(--up);opacity:.18}
.zoo svg .zero{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.zoo svg .density{fill:var(--soft);opacity:.45}
.zoo svg rect.up,.zoo .map path.up{fill:var(--up)}
.zoo svg rect.down,.zoo .map path.down{fill:var(--down)}
.zoo svg .whisker{stroke:var(--ink);stroke-width:1.2}
.zoo svg .back{fill:none}
.zoo svg .own .back{fill:color-mix(in srgb,var(--up) 16%,transparent)}
.zoo .levels .name,.zoo .levels .value{fill:var(--ink)}
.zoo .levels .own .name{font-weight:700}
.zoo svg .here line{stroke:var(--ink);stroke-width:1.4}
.zoo svg .here circle{fill:var(--ink);stroke:var(--paper);stroke-width:1.5}
.zoo .map .ground{fill:var(--ground)}
.zoo .map .pale{fill:var(--paper);opacity:.62}
.zoo .map .unsure{stroke:var(--soft);stroke-width:.7;opacity:.8;fill:none}
.zoo .here .halo{fill:none;stroke:var(--paper);stroke-width:4.5}
.zoo .here .frame{fill:none;stroke:var(--ink);stroke-width:2}
"""
