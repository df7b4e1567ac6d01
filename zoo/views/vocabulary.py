"""The vocabulary of a model as a page: every unit with its picture, source and class weights."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from zoo.core.curves import Curve
from zoo.core.evidence import Unit
from zoo.domain import Column, Domain
from zoo.views.additive.drawing import LOOK as CHARTS
from zoo.views.additive.drawing import drawing
from zoo.views.additive.shown import Shown, contribution_of
from zoo.views.circuits.graph import LOOK as GRAPH
from zoo.views.distances import LOOK as DISTANCES
from zoo.views.document import document
from zoo.views.markup import escape
from zoo.views.motifs import source_of
from zoo.views.pictures import data_uri, is_gallery, unit_picture
from zoo.views.subgraphs import subgraphs
from zoo.views.sums import decimals, number, signed
from zoo.views.tree import LOOK as TREE

CLASSES = 3  # classes of largest positive and of largest negative weight
# Entries of a unit's source that a card lists.
SHOWN = ("phrase", "rule", "text", "image", "group", "merged", "supervision", "layer", "index")
LOOK = """
.zoo h2{font-size:1.15rem;margin:0 0 8px;overflow-wrap:anywhere}
.zoo .strip{display:flex;gap:6px;list-style:none;margin:4px 0 8px;padding:0}
.zoo .strip li{flex:1 1 0;min-width:0;text-align:center}
.zoo .strip img{display:block;width:100%;border-radius:6px}
.zoo [hidden]{display:none}
.zoo #find{font:inherit;width:100%;max-width:420px;padding:8px 12px;border:1px solid var(--line);border-radius:8px;
background:var(--paper);color:inherit;margin:8px 0 16px}
"""
SEARCH = """
(function () {
  var field = document.querySelector('#find'), none = document.querySelector('#none');
  var cards = Array.prototype.slice.call(document.querySelectorAll('.cards > li'));
  field.addEventListener('input', function () {
    var word = field.value.toLowerCase(), left = 0;
    cards.forEach(function (card) {
      var fits = card.textContent.toLowerCase().indexOf(word) >= 0;
      card.hidden = !fits;
      left += fits;
    });
    document.querySelectorAll('section').forEach(function (section) {
      section.hidden = !section.querySelector('.cards > li:not([hidden])');
    });
    none.hidden = left > 0;
  });
})();
"""


def vocabulary_page(
    title: str,
    units: Sequence[Unit],
    domain: Domain,
    weights: Tensor | None = None,
    numbers: Mapping[str, float] | None = None,
    drawings: Sequence[tuple[str, str]] = (),
    strips: Sequence[Sequence[tuple[Tensor, str, float]]] = (),
    curves: Sequence[Curve] = (),
) -> str:
    """A self-contained page with a search field.

    Args:
        title: of the page.
        units: the K units of the model.
        domain: with the class names.
        weights: (K, C) weights of the units, if the readout is linear.
        numbers: metrics of the model by name.
        drawings: (title, HTML) of drawings of the model, such as a tree or a circuit.
        strips: for each unit its top-activating inputs as (picture (C, H, W), name, activation).
        curves: for each unit what it contributes by its activation, if that is a curve; the page shows it for the class
            on which it has the largest effect.

    Raises:
        ValueError: weights of another shape.
    """
    if weights is not None and weights.shape != (len(units), len(domain.classes)):
        raise ValueError(
            f"expected weights ({len(units)}, {len(domain.classes)}), units by classes; got {tuple(weights.shape)}."
        )
    groups: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        if unit.source.get("pruned"):
            continue
        of = domain.classes[unit.target] if unit.target is not None else str(unit.source.get("group", ""))
        groups.setdefault(of, []).append(i)
    sections = "".join(
        f"<section><article>{f'<h2><bdi>{escape(name)}</bdi></h2>' if name else ''}<ol class='cards'>"
        + "".join(
            _card(
                units[i], None if weights is None else weights[i], domain, strips[i] if strips else (), curves[i:][:1]
            )
            for i in members
        )
        + "</ol></article></section>"
        for name, members in groups.items()
    )
    kinds, shown = {unit.kind for unit in units}, sum(map(len, groups.values()))
    about = f"{shown:,} units ({', '.join(sorted(kinds))}), {len(domain.classes):,} classes"
    about += f"; {len(units) - shown:,} more units were pruned" if shown < len(units) else ""
    measured = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{number(value, 3)}</td></tr>"
        for name, value in (numbers or {}).items()
    )
    table = f"<table><caption>test metrics</caption>{measured}</table>" if measured else ""
    whole = "".join(f"<article><h2><bdi>{escape(name)}</bdi></h2>{drawing}</article>" for name, drawing in drawings)
    body = (
        f"<h1>{escape(title)}</h1><p class='note'>{escape(about)}</p>{table}{whole}"
        "<input id='find' type='search' placeholder='search units' aria-label='search units'>"
        f"<p id='none' class='note' hidden>no matching units</p>{sections}"
    )
    return document(title, body, f"{TREE}{GRAPH}{DISTANCES}{CHARTS if curves else ''}{LOOK}", [SEARCH])


def _card(
    unit: Unit,
    weights: Tensor | None,
    domain: Domain,
    strip: Sequence[tuple[Tensor, str, float]],
    curves: Sequence[Curve],
) -> str:
    source = " · ".join(f"{name} {_told(unit.source[name])}" for name in SHOWN if unit.source.get(name) is not None)
    return (
        f"<li><h4><bdi>{escape(unit.name)}</bdi></h4><p class='kind'>{escape(unit.kind)}</p>"
        f"{_picture(unit)}{subgraphs(unit)}{source_of(unit, domain)}{_strip(strip)}{_weights(weights, domain)}"
        f"{''.join(_curve(c, domain) for c in curves)}"
        f"<p class='kind origin'><bdi>{escape(source)}</bdi></p></li>"
    )


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _picture(unit: Unit) -> str:
    if unit.picture is None:
        return ""
    caption = str(unit.source.get("shows", "training patch"))
    if is_gallery(unit):
        caption = "top-activating training images"
    drawn = unit_picture(unit, f"training patch of {unit.name}")
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _strip(strip: Sequence[tuple[Tensor, str, float]]) -> str:
    """The top-activating inputs of a unit, side by side."""
    if not strip:
        return ""
    shown = "".join(
        f"<li><img src='{data_uri(picture)}' alt='{escape(name)}' title='{escape(name)}'>"
        f"<small>{number(activation, 3)}</small></li>"
        for picture, name, activation in strip
    )
    return f"<p class='kind'>top-activating inputs</p><ol class='strip'>{shown}</ol>"


def _curve(curve: Curve, domain: Domain) -> str:
    """The curve for the class whose score it changes most."""
    target = int((curve.values.amax(0) - curve.values.amin(0)).argmax())
    drawn = drawing(Shown(curve, *contribution_of(curve, target), (Column(name=curve.unit),)))
    return f"<p class='kind'>contribution to <bdi>{escape(domain.classes[target])}</bdi></p>{drawn}"


def _weights(weights: Tensor | None, domain: Domain) -> str:
    """The classes of largest positive and of largest negative weight."""
    if weights is None:
        return ""
    values = weights.tolist()
    order = sorted(range(len(values)), key=lambda c: -values[c])
    chosen = [c for c in order[:CLASSES] if values[c] > 0]
    chosen += [c for c in order[::-1][:CLASSES][::-1] if values[c] < 0 and c not in chosen]
    digits = decimals(values)
    rows = "".join(
        f"<tr><th scope='row'><bdi>{escape(domain.classes[c])}</bdi></th><td>{signed(values[c], digits)}</td></tr>"
        for c in chosen
    )
    return f"<table><caption>class weights</caption>{rows}</table>" if rows else ""
