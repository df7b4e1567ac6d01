"""A graph as SVG: nodes by their contributions, edges by how much of them is used."""

from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.domain import GraphDomain
from zoo.domain.graph import Graph
from zoo.views.graph_layout import layout
from zoo.views.markup import escape
from zoo.views.molecule import atom_places, bond_orders, strokes

SIDE, MARGIN, RADIUS = 420, 22, 9  # of the drawing, around it, and of a node
LARGEST = 250  # nodes that are drawn
NAMED = 60  # nodes up to which all names are drawn; of larger graphs those of the strongest
NEAREST = 80  # nodes that are drawn of larger surroundings of a node that is asked about
STRONG = 12  # nodes that are named in larger graphs
FAINTEST = 0.12  # opacity of an edge that is not used


def graph_drawing(one: Explanation, domain: GraphDomain, label: str) -> str:
    """The graph of an explanation of one input, with a caption that says how to read it.

    Args:
        one: the explanation of one input.
        domain: of the graph.
        label: alternative text; already escaped.
    """
    assert one.inputs is not None
    text = one.texts[0] if one.texts else ""
    graph = domain.graph(one.inputs[0], text)
    graph, left_out = _nearest(graph) if domain.radius is not None else (graph, 0)
    names, count = graph.names, len(graph.names)
    if not 0 < count <= LARGEST:
        return f"<p class='note'>A graph of {count} nodes and {len(graph.ends)} edges; up to {LARGEST} are drawn.</p>"
    values, used = node_values(one, domain), edge_values(one, domain)
    shown = [0.0] * count if values is None else [float(values[i]) for i in graph.nodes]
    room, atoms = SIDE - 2 * MARGIN, atom_places(domain, text, SIDE - 2 * MARGIN)
    placed = layout(count, graph.ends) * room if atoms is None else atoms[list(graph.nodes)]
    places = (MARGIN + placed).tolist()
    top, below = min(y for _, y in places) - MARGIN, max(y for _, y in places) + MARGIN
    bonds = zip(graph.edges, graph.ends, bond_orders(domain, graph), strict=True)
    edges = "".join(
        _edge(places[a], places[b], 1.0 if used is None else float(used[j]), f"{names[a]} – {names[b]}", order)
        for j, (a, b), order in bonds
    )
    most, exact = max(map(abs, shown)) or 1.0, of_nodes(one) or "by node" in one.details
    named = sorted(range(count), key=lambda i: -abs(shown[i]))[: count if count <= NAMED else STRONG]
    asked = 0 if domain.radius is not None else -1
    nodes = "".join(
        _node(places[i], shown[i], most, names[i], i in named, values is not None, graph.nodes[i] == asked)
        for i in range(count)
    )
    return (
        f"<svg class='graph' viewBox='0 {top:.1f} {SIDE} {below - top:.1f}' role='img' aria-label='{label}'>"
        f"{edges}{nodes}</svg>{_caption(values, used, exact, asked == 0, left_out)}"
    )


def _nearest(graph: Graph) -> tuple[Graph, int]:
    """The part of a large graph that is nearest to node 0: the first nodes; and how many are left out."""
    count = len(graph.names)
    if count <= LARGEST and len(graph.ends) <= LARGEST:
        return graph, 0
    kept = [j for j, ends in enumerate(graph.ends) if max(ends) < NEAREST]
    part = Graph(
        graph.names[:NEAREST],
        graph.nodes[:NEAREST],
        graph.features[:NEAREST],
        tuple(graph.edges[j] for j in kept),
        tuple(graph.ends[j] for j in kept),
        graph.attributes[kept],
    )
    return part, count - len(part.names)


def node_values(one: Explanation, domain: GraphDomain) -> Tensor | None:
    """(n,) contributions of the nodes to what an explanation of one input is about; None if they are not known.

    Those of other units are spread over the nodes of their supports.
    """
    if one.contributions is not None and of_nodes(one):
        return one.contributions[0].cpu()
    if (by_node := one.details.get("by node")) is not None:
        return by_node[0].sum(0).cpu() if one.reference == "zero" else None
    if one.contributions is None or one.support is None or one.support.shape[2:] != domain.shape[:1]:
        return None
    return one.attribution()[0, : domain.nodes].cpu()


def of_nodes(one: Explanation) -> bool:
    """Whether the units are the nodes, so that supports of edges are gates."""
    return {unit.kind for unit in one.units} == {"node"}


def edge_values(one: Explanation, domain: GraphDomain) -> Tensor | None:
    """(m,) in [0, 1] how much of each edge is used; None without gates, or if all edges are used completely."""
    if one.support is None or one.support.shape[2:] != domain.shape[:1] or one.inputs is None or not of_nodes(one):
        return None
    used = one.support[0, :, domain.nodes :].amax(0).cpu()
    there = one.inputs[0, domain.nodes :, 0].cpu() > 0
    return used if bool(used.any()) and bool((used[there] < 1).any()) else None


def _edge(start: list[float], end: list[float], used: float, name: str, order: str) -> str:
    style = f"opacity:{FAINTEST + (1 - FAINTEST) * used:.2f};stroke-width:{0.8 + 2.2 * used:.2f}"
    return "".join(
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'{dash} style='{style}'>"
        f"<title>{escape(name)}: {used:.2f}</title></line>"
        for x1, y1, x2, y2, dash in strokes(start, end, order)
    )


def _node(place: list[float], value: float, most: float, name: str, named: bool, known: bool, asked: bool) -> str:
    """A circle if the value is positive or not known, a square if it is negative; the fuller, the larger the value."""
    x, y = place
    side = "up" if value > 0 else "down" if value < 0 else "none"
    fill = f"style='fill-opacity:{abs(value) / most:.2f}'"
    if value < 0:
        half = RADIUS * 0.9
        mark = f"<rect x='{x - half:.1f}' y='{y - half:.1f}' width='{2 * half:.1f}' height='{2 * half:.1f}' {fill}/>"
    else:
        mark = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{RADIUS}' {fill}/>"
    text = f"<text x='{x:.1f}' y='{y + 3.5:.1f}'>{escape(name[:6])}</text>" if named else ""
    tip = f"{escape(name)}: {value:+.3g}" if known else escape(name)
    tip += " (asked about)" if asked else ""
    ground = f"<circle class='ground' cx='{x:.1f}' cy='{y:.1f}' r='{RADIUS}'/>"  # hides the ends of edges
    ground += f"<circle class='asked' cx='{x:.1f}' cy='{y:.1f}' r='{RADIUS + 4}'/>" if asked else ""
    return f"<g class='{side}'><title>{tip}</title>{ground}{mark}{text}</g>"


def _caption(values: Tensor | None, used: Tensor | None, exact: bool, asked: bool, left_out: int) -> str:
    parts = ["The node in a second circle is asked about."] if asked else []
    if left_out:
        parts.append(f"The {NEAREST} nodes nearest to it are drawn; {left_out} more are not.")
    if values is not None:
        parts.append("Circles support the answer, squares oppose it; the fuller, the larger the contribution.")
    if values is not None and not exact:
        parts.append("Contributions of units are spread over the nodes where each unit is.")
    if used is not None:
        parts.append("The bolder an edge, the more of it is used; these gates are not contributions.")
    return f"<figcaption>{' '.join(parts)}</figcaption>" if parts else ""
