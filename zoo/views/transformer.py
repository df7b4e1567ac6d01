"""What the parts of a transformer contribute, as a grid of heads and MLPs, and which class each token is read as."""

import math

import torch
from torch import Tensor

from zoo.domain import ImageDomain, TextDomain
from zoo.views.curves import Line, svg
from zoo.views.markup import escape
from zoo.views.pictures import data_uri, framed, image_element
from zoo.views.row import Row
from zoo.views.sums import decimals, signed

SOURCES = "sources"  # detail (B, K, T): contributions by token, of units whose source has "layer" and maybe "head"
IDENTIFIABILITY = "identifiability"  # detail (B, K, 1 + L) of tokens: 1 - rank / C of the class after each layer
UP, DOWN = (31, 111, 180), (194, 98, 10)
PAPER = 246  # grey of a contribution of 0
TOKENS = 5  # curves of single tokens
CELL = "padding:.3em .6em;vertical-align:top;text-align:left"
WORDS = 2  # tokens that are named for a head


def transformer(row: Row) -> str:
    """The grid and the curves of one explanation; empty if the model is no transformer of such units."""
    details = row.explanation.details
    return (heads(row) if SOURCES in details else "") + (lens(row) if IDENTIFIABILITY in details else "")


def heads(row: Row) -> str:
    """A table of layers by heads and MLP; each cell has the contribution and the tokens that it comes from."""
    one = row.explanation
    sources = one.details[SOURCES][0].cpu()
    values = sources.sum(1).tolist()
    placed = sources if one.support is None else sources[:, -one.support[0, 0].numel() :]  # without class token
    digits, largest = decimals(values), float(placed.abs().max()) or 1.0
    cells: dict[int, str] = {}
    for k, unit in enumerate(one.units):
        name = unit.name.removeprefix(f"layer {unit.source.get('layer')} ")
        drawn = _tokens(row, sources[k], largest, unit.name)
        layer = int(unit.source.get("layer", 0))
        colour = _colour(values[k], max(map(abs, values)) or 1.0)
        cells[layer] = cells.get(layer, "") + (
            f"<td style='{CELL}'><bdi>{escape(name)}</bdi><br><b style='border-bottom:3px solid {colour}'>"
            f"{signed(values[k], digits)}</b>{drawn}</td>"
        )
    rows = "".join(
        f"<tr><th scope='row'>{f'layer {layer}' if layer else 'outside of layers'}</th>{cells[layer]}</tr>"
        for layer in sorted(cells)
    )
    return (
        f"<h3>Heads and MLPs</h3><p class='note'>Contributions to the score of "
        f"<bdi>{escape(one.target_names[0])}</bdi> and the tokens that they come from: blue for, orange against. "
        "All maps have one scale. A head's tokens are where it reads, an MLP's are where it writes.</p>"
        f"<div style='overflow-x:auto'><table style='max-width:none'>{rows}</table></div>"
    )


def lens(row: Row) -> str:
    """Curves of how each token is read after each layer, and of images a map for each number of layers."""
    one = row.explanation
    found = one.details[IDENTIFIABILITY][0].cpu()  # (K, 1 + L)
    here = one.activation[0].cpu() > 0
    size = one.activation[0] if one.contributions is None else one.contributions[0]
    best = size.abs().cpu().argsort(descending=True)[: min(TOKENS, int(here.sum()))].tolist()
    lines = [Line(f"mean of {int(here.sum())} tokens", found[here].mean(0).tolist())] if bool(here.any()) else []
    lines += [Line(_name(row, k), found[k].tolist()) for k in best]
    if not lines:
        return ""
    name = one.target_names[0]
    maps = ""
    if isinstance(one.domain, ImageDomain) and one.support is not None:
        shape = one.support.shape[2:]
        fine = math.isqrt(shape.numel() // len(found))  # cells of the support for each side of a patch
        grid = [side // fine for side in shape]
        maps = "".join(
            f"<figure style='display:inline-block;width:7em;margin:.3em'>{_map(after.view(*grid), name)}"
            f"<figcaption>after {layer} layers</figcaption></figure>"
            for layer, after in enumerate(found.T)
        )
    return (
        f"<h3>Tokens by layer</h3><p class='note'>Identifiability: 1 − rank / {len(one.domain.classes)} of "
        f"<bdi>{escape(name)}</bdi> by the head's scores of a token's state after each layer; at 100 % the token is "
        f"read as that class. Curves of the tokens of largest contribution.</p>{maps}"
        f"<div style='max-width:38em'>{svg({f'tokens read as {name}': lines}, 'layers', 'identifiability')}</div>"
    )


def _tokens(row: Row, values: Tensor, largest: float, name: str) -> str:
    """The tokens of a unit: of an image a map, of a text the strongest words."""
    one = row.explanation
    if isinstance(one.domain, ImageDomain) and one.support is not None:
        grid = one.support.shape[2:]
        before = values[: len(values) - grid.numel()]
        text = f"<br>class token {signed(float(before.sum()), decimals(values.tolist()))}" if before.any() else ""
        placed = values[len(before) :].view(grid) / largest
        return text + (f"<div style='width:5.5em'>{_map(placed, f'tokens of {name}')}</div>" if placed.any() else "")
    first = 0 if one.support is None else len(values) - one.support[0, 0].numel()  # special tokens
    words = [k for k in values.abs().argsort(descending=True)[:WORDS].tolist() if values[k]]
    names = [_name(row, k - first) if k >= first else f"special token {k + 1}" for k in words]
    digits = decimals(values.tolist())
    return "".join(f"<br>{name} {signed(float(values[k]), digits)}" for name, k in zip(names, words, strict=True))


def _name(row: Row, token: int) -> str:
    """A token as it stands in the text, or its place in an image."""
    one = row.explanation
    if isinstance(one.domain, TextDomain) and one.inputs is not None:
        tokens = one.domain.tokens(one.inputs[0].cpu(), one.texts[0] if one.texts else "")[0]
        return escape(tokens[token].text) if token < len(tokens) else f"token {token + 1}"
    return escape(one.units[token].name)


def _map(values: Tensor, label: str) -> str:
    """Values (h, w) in [-1, 1] as a picture, blue above 0 and orange below."""
    size = (len(values), values.shape[1])
    share = values.abs().clamp(0, 1)[None]
    end = torch.where(values[None] > 0, *(torch.tensor(c, dtype=values.dtype)[:, None, None] for c in (UP, DOWN)))
    pixels = (PAPER + share * (end - PAPER)).round().to(torch.uint8)
    return framed(image_element(data_uri(pixels), size), (0, 0, *size), None, escape(label))


def _colour(value: float, largest: float) -> str:
    return f"rgba({','.join(map(str, UP if value > 0 else DOWN))},{min(abs(value) / largest, 1):.2f})"
