"""The tables of all curves as JSON, for the scripts of a page."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.curves import Axis, Curve
from zoo.domain import TableDomain
from zoo.utils.printable import printable
from zoo.views.additive import chart, heat
from zoo.views.additive.bars import ACROSS, NAME
from zoo.views.additive.scale import GAP, scale_of

GEOMETRY = {
    "chart": {"left": chart.LEFT, "across": chart.ACROSS, "top": chart.TOP, "plot": chart.PLOT},
    "map": {"left": heat.LEFT, "across": heat.ACROSS, "top": heat.TOP, "down": heat.DOWN},
    "bars": {"left": NAME, "across": ACROSS},
}


def curve_data(curves: Sequence[Curve], domain: TableDomain, density: bool = False) -> str:
    """A script element of data with the id "curve-data".

    Args:
        curves: of a model.
        domain: of its inputs.
        density: with the density of the training rows.
    """
    names = [column.name for column in domain.layout]
    two = len(domain.classes) == 2 and all(curve.values[..., 0].equal(-curve.values[..., 1]) for curve in curves)
    data = {
        "classes": [printable(name) for name in domain.classes],
        "weights": [-1, 1] if two else None,  # of the one number of each entry in the scores
        "columns": [printable(name) for name in names],
        "gap": GAP,
        "geometry": GEOMETRY,
        "curves": [
            {
                "unit": curve.unit,
                "columns": [names.index(axis.column) for axis in curve.axes],
                "axes": [_axis(axis) for axis in curve.axes],
                "values": encoded(curve.values[..., 1:] if two else curve.values),
            }
            | ({"density": encoded(curve.density)} if density else {})
            for curve in curves
        ],
    }
    return json_element(data, "id='curve-data'")


def json_element(data: Mapping[str, Any], attributes: str) -> str:
    """A script element of data that no browser runs."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"<script type='application/json' {attributes}>{text}</script>"


def encoded(values: Tensor) -> str:
    """Base64 of the numbers as float32 in little-endian order, which every browser's machine has."""
    numbers = values.detach().cpu().to(torch.float32).contiguous().numpy().astype("<f4")
    return base64.b64encode(numbers.tobytes()).decode()


def _axis(axis: Axis) -> dict[str, Any]:
    scale = scale_of(axis)
    return {
        "kind": axis.kind,
        "places": [float(f"{place:.12g}") for place in axis.places],
        "numbers": axis.numbers,
        "labels": list(axis.labels),
        "knots": [[float(f"{value:.9g}"), round(share, 6)] for value, share in scale.knots],
        "room": round(scale.room, 6),
        "slot": round(scale.slot, 6),
    }
