"""Where in the input a unit fires, as plain data: words, boxes, segments or features."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.domain import (
    AudioDomain,
    CodeDomain,
    Domain,
    GraphDomain,
    ImageDomain,
    SeriesDomain,
    TableDomain,
    TextDomain,
)
from zoo.domain.graph import Graph
from zoo.utils.functional import high_activation_box, upsample

ALONE = ("group", "patch")  # kinds of units that see exactly their support
PIXELS = "pixels"  # kind of units that are exactly the pixels of their support
Place = dict[str, Any]
MOST = 50  # boxes of activation maps in a row: finding one takes a millisecond


def places_of(
    units: Sequence[Unit], support: Tensor, domain: Domain, x: Tensor, text: str = ""
) -> list[dict[str, Any]]:
    """Where each of n units fires: at least half as strongly as at its strongest place.

    Args:
        units: the kind of one says whether it sees only its support, and its source may have the size of a "patch".
        support: (n, *S) in [0, 1].
        domain: of the input.
        x: the input, without batch dimension.
        text: of which the input was made, for the words as they were written.

    Returns:
        For each unit, of a text: "words" and their "positions" among the tokens, from 0; of an image: "boxes", each
        (top, left, bottom, right) in pixels of the model's input, of the first 50 units or of all that see only their
        support; of a series: "segments", each with its variables, its first and last "steps" from 0, and their "time";
        of a clip: "segments", each with its first and last "frames" and their "time" in seconds; of a table:
        "features", the names of raw columns; of a graph: the names of "nodes", and "edges" as pairs of them. Empty for
        other supports.
    """
    if (
        isinstance(domain, ImageDomain)
        and support.ndim == 3
        and not any(unit.kind in (*ALONE, PIXELS) for unit in units)
    ):
        boxes = boxes_of(support[:MOST], domain.size)
        return [{"boxes": [box]} for box in boxes] + [{} for _ in units[MOST:]]
    seen = (support >= support.flatten(1).amax(1).view(-1, *[1] * (support.ndim - 1)) / 2) & (support > 0)
    if isinstance(domain, TextDomain):
        words = [token.text for token in domain.tokens(x, text)[0]]
        return [_words(words, seen_tokens(domain, x, one)) for one in seen]
    if isinstance(domain, CodeDomain) and support.shape[1:] == domain.shape:
        return [_words(domain.tokens(x), one) for one in seen]
    if isinstance(domain, ImageDomain) and support.ndim == 3:
        return [{"boxes": _cells(one, domain.size, unit.source)} for unit, one in zip(units, seen, strict=True)]
    if isinstance(domain, SeriesDomain):
        return [{"segments": _segments(one, domain, unit.source)} for unit, one in zip(units, seen, strict=True)]
    if isinstance(domain, AudioDomain):
        return [{"segments": _moments(one, domain)} for one in seen]
    if isinstance(domain, TableDomain) and support.shape[1:] == domain.shape:
        return [{"features": domain.columns_of(one)} for one in seen]
    if isinstance(domain, GraphDomain) and support.shape[1:] == domain.shape[:1]:
        graph = domain.graph(x, text)
        return [_of_graph(one, graph, domain.nodes) for one in seen]
    return [{} for _ in units]


def boxes_of(support: Tensor, size: tuple[int, int]) -> list[list[int]]:
    """The box around the top 5 % of each support map (N, h, w), in pixels of an input of `size`."""
    return high_activation_box(upsample(support, size)).tolist() if len(support) else []


def seen_tokens(domain: TextDomain, x: Tensor, seen: Tensor) -> Tensor:
    """Tokens (T,) bool that a unit sees, from the tokens or sentences (L,) of its support; all see the question.

    Args:
        domain: of the text.
        x: token numbers (T,).
        seen: (L,) bool.
    """
    x, seen = x.cpu()[None], seen.cpu()
    if seen.shape[-1] != domain.length:
        where = domain.sentences(x)[0].clamp_max(seen.shape[-1] - 1)
        seen = seen[where.clamp_min(0)]
    return seen | domain.question(x)[0]


def _words(words: Sequence[str], seen: Tensor) -> dict[str, Any]:
    positions = [i for i, (_, s) in enumerate(zip(words, seen.tolist(), strict=False)) if s]  # without padding
    return {"words": [words[i] for i in positions], "positions": positions}


def _of_graph(seen: Tensor, graph: Graph, edges_from: int) -> dict[str, Any]:
    names, ends = graph.names, zip(graph.edges, graph.ends, strict=True)
    return {
        "nodes": [name for name, i in zip(names, graph.nodes, strict=True) if seen[i]],
        "edges": [[names[a], names[b]] for j, (a, b) in ends if seen[edges_from + j]],
    }


def _cells(seen: Tensor, size: tuple[int, int], source: Mapping[str, Any]) -> list[list[int]]:
    """The cells (h, w) as boxes in an image, those beside each other as one."""
    (height, width), (rows, columns) = size, seen.shape
    patch = source.get("patch", 0)
    high, wide = patch or -(-height // rows), patch or -(-width // columns)
    return [
        [row * high, start * wide, min((row + 1) * high, height), min(end * wide, width)]
        for row in range(rows)
        for start, end in _runs(seen[row])
    ]


def _segments(seen: Tensor, domain: SeriesDomain, source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stretches of time; cells (T',) are of all variables, cells (T', V) of one each."""
    size = source.get("patch", 0) or -(-domain.length // len(seen))
    columns = [(domain.variables, seen)]
    if seen.ndim == 2:
        columns = [((name,), seen[:, v]) for v, name in enumerate(domain.variables)]
    segments = []
    for variables, column in columns:
        for start, end in _runs(column):
            steps = [start * size, min(end * size, domain.length) - 1]
            segments.append({"variables": list(variables), "steps": steps, "time": [s * domain.step for s in steps]})
    return segments


def _moments(seen: Tensor, domain: AudioDomain) -> list[dict[str, Any]]:
    """Stretches of time from cells (T',) or (T', bands), as first and last frame and as seconds."""
    line = seen if seen.ndim == 1 else seen.any(1)
    size, moments = -(-domain.shape[0] // len(line)), []
    for start, end in _runs(line):
        frames = [start * size, min(end * size, domain.shape[0]) - 1]
        moments.append({"frames": frames, "time": [frame * domain.step for frame in frames]})
    return moments


def _runs(chosen: Tensor) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of True in (N,)."""
    padded = torch.nn.functional.pad(chosen.int(), (1, 1))
    edges = padded.diff().nonzero().flatten().tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
