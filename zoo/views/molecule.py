"""Molecules as chemists draw them: places of the atoms by RDKit, the extra `chem`, and lines for orders of bonds."""

from importlib.util import find_spec

import numpy as np
import torch

from zoo.domain import GraphDomain
from zoo.domain.graph import Graph
from zoo.domain.smiles import ORDERS, molecule
from zoo.utils.optional import need

ANGSTROM = 36.0  # pixels of a drawing, at most
APART = 2.6  # pixels from the middle of a double bond to each of its lines
LINES = {  # of an order: how far from the middle, and dashes
    "single": ((0.0, ""),),
    "double": ((-1.0, ""), (1.0, "")),
    "triple": ((-1.6, ""), (0.0, ""), (1.6, "")),
    "aromatic": ((-1.0, ""), (1.0, " stroke-dasharray='3 3'")),
}
ORDER = "bond"  # the feature of edges with names of orders


def atom_places(domain: GraphDomain, text: str, side: float) -> np.ndarray | None:
    """Places (n, 2) of the atoms of a SMILES in a square of `side` pixels; None for other graphs, or without RDKit."""
    if not domain.smiles or not text or find_spec("rdkit") is None:
        return None
    found = molecule(text)
    need("rdkit.Chem.rdDepictor", "chem").Compute2DCoords(found)
    places = np.array(found.GetConformer().GetPositions())[:, :2] * (1, -1)
    span = np.ptp(places, 0)
    scale = min(side / max(float(span.max()), 1e-9), ANGSTROM)
    return (places - places.min(0) - span / 2) * scale + side / 2


def bond_orders(domain: GraphDomain, graph: Graph) -> list[str]:
    """The order of each edge, one of `ORDERS`; "single" where it is not a feature of the edges."""
    columns = [(order, f"{ORDER} = {order}") for order in ORDERS]
    known = [(order, domain.edge_features.index(name)) for order, name in columns if name in domain.edge_features]
    if not known:
        return ["single"] * len(graph.ends)
    values = graph.attributes[:, [column for _, column in known]] > 0.5
    values = torch.cat([values, torch.ones(len(values), 1, dtype=torch.bool)], 1)  # of an order without a column
    names = [*(order for order, _ in known), "single"]
    return [names[int(row.int().argmax())] for row in values]


def strokes(start: list[float], end: list[float], order: str) -> list[tuple[float, float, float, float, str]]:
    """The lines of a bond: two ends, and an attribute of SVG for dashes."""
    x, y = end[0] - start[0], end[1] - start[1]
    length = max((x * x + y * y) ** 0.5, 1e-9)
    right, down = -y / length * APART, x / length * APART
    return [
        (start[0] + s * right, start[1] + s * down, end[0] + s * right, end[1] + s * down, dash)
        for s, dash in LINES[order]
    ]
