"""The input of an explanation as HTML, by modality."""

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.domain import AudioDomain, CodeDomain, GraphDomain, SeriesDomain, TableDomain, TextDomain
from zoo.views.audio import clip_drawing
from zoo.views.code import code_prompt
from zoo.views.graph import graph_drawing
from zoo.views.markup import escape
from zoo.views.pictures import framed, image_element, outline
from zoo.views.row import Row
from zoo.views.series import part, plot
from zoo.views.words import written

CORNERS = ((0, 0, "start"), (1, 0, "end"), (0, 1, "start"))  # places of the numbers of the first boxes
FEATURES = 16  # columns of a table


def input_figure(row: Row, title: str) -> str:
    """The input as the model reads it: a picture with boxes, a text, a prompt, a table, a series, a clip or a graph."""
    if row.picture is None:
        return _input_words(row) or _input_code(row) or _input_values(row) or _input_sequence(row, title)
    height, width = row.size
    unit = max(height, width) / 100
    marks = ""
    for i, box in reversed(list(enumerate(row.boxes[: len(CORNERS)]))):  # the most important box on top
        if box is None:
            continue
        up, left, bottom, right = box
        x, y, anchor = CORNERS[i]  # different corners, so that the numbers of overlapping boxes do not collide
        marks += outline(box) + (
            f"<text class='mark' x='{left + 1.5 * unit if x == 0 else right - 1.5 * unit:.4g}' "
            f"y='{up + 7 * unit if y == 0 else bottom - 2 * unit:.4g}' text-anchor='{anchor}' "
            f"style='font-size:{7 * unit:.4g}px;stroke-width:{1.6 * unit:.4g}px'>{i + 1}</text>"
        )
    content = image_element(row.uri, row.size, f"input{row.key}") + marks
    return f"<figure class='input'>{framed(content, (0, 0, height, width), None, escape(f'input {title}'))}</figure>"


def _input_words(row: Row) -> str:
    """A text as it was written, if that is known; unknown words are marked, those that a selector hides are faded."""
    one = row.explanation
    if not isinstance(one.domain, TextDomain) or one.inputs is None:
        return ""
    tokens, rest = one.domain.tokens(one.inputs[0], one.texts[0] if one.texts else "")
    read = _read(one)
    seen = None if read is None else (read[: len(tokens)] > 0.5).tolist()
    return f"<blockquote class='text'>{written(tokens, rest, seen)}</blockquote>"


def _input_code(row: Row) -> str:
    """A code prompt, token by token."""
    domain, x = row.explanation.domain, row.explanation.inputs
    return code_prompt(domain, x[0]) if isinstance(domain, CodeDomain) and x is not None else ""


def _input_values(row: Row) -> str:
    """The raw columns and values of a row of a table."""
    domain = row.explanation.domain
    if not isinstance(domain, TableDomain) or row.explanation.inputs is None:
        return ""
    cells = domain.cells(row.explanation.inputs[0])
    shown = "".join(
        f"<tr><th scope='row'><bdi>{escape(name)}</bdi></th><td><bdi>{escape(value)}</bdi></td></tr>"
        for name, value in list(cells.items())[:FEATURES]
    )
    more = len(cells) - FEATURES
    note = f"<caption>the first {FEATURES} of {len(cells)} columns</caption>" if more > 0 else ""
    return f"<table class='input'>{note}{shown}</table>"


def _input_sequence(row: Row, title: str) -> str:
    """A time series, one line for each variable, a clip of sound, or a graph."""
    domain = row.explanation.domain
    if row.explanation.inputs is None:
        return ""
    if isinstance(domain, AudioDomain):
        drawn = clip_drawing(row, domain, row.explanation.inputs[0], escape(f"input {title}"))
        return f"<figure class='input series audio'>{drawn}</figure>"
    if isinstance(domain, GraphDomain):
        return (
            f"<figure class='input graph'>{graph_drawing(row.explanation, domain, escape(f'input {title}'))}</figure>"
        )
    if not isinstance(domain, SeriesDomain):
        return ""
    drawn = plot(domain.values(row.explanation.inputs[0]).cpu(), domain, escape(f"input {title}"), f"series{row.key}")
    return f"<figure class='input series'>{drawn}{_selected(row, domain, title)}</figure>"


def _selected(row: Row, domain: SeriesDomain, title: str) -> str:
    """The series again with what a selector read of it shaded; empty for other models."""
    if (read := _read(row.explanation)) is None:
        return ""
    label = escape(f"selected of {title}")
    patch = row.explanation.units[0].source.get("patch", 0)
    return f"<figcaption>selected</figcaption>{part(read, domain, label, f'series{row.key}', patch=patch)}"


def _read(one: Explanation) -> Tensor | None:
    """How much of each place of the input a selector reads, in [0, 1]; None for other models."""
    if one.contributions is not None or one.support is None or {unit.kind for unit in one.units} != {"feature"}:
        return None
    return torch.einsum("k,k...->...", one.activation[0].clamp(0, 1), one.support[0])
