"""The evidence of one input as cards: each unit with its support, its picture and its contribution."""

from collections.abc import Mapping
from zlib import crc32

from torch import tensor

from zoo.core.explanation import Explanation, Term
from zoo.core.places import ALONE, PIXELS, boxes_of, places_of
from zoo.domain import Column
from zoo.utils.functional import region_around
from zoo.views import whatif
from zoo.views.additive.drawing import drawing
from zoo.views.additive.scale import Place
from zoo.views.additive.shown import Shown, relative_of
from zoo.views.cutouts import cut_out
from zoo.views.markup import escape
from zoo.views.matches import matched
from zoo.views.motifs import lines_of
from zoo.views.naming import name_of
from zoo.views.pictures import (
    data_uri,
    framed,
    heat_uri,
    image_element,
    is_gallery,
    to_picture,
    unit_picture,
)
from zoo.views.row import Row
from zoo.views.subgraphs import subgraphs
from zoo.views.sums import Sum, decimals, factors_of, known_of, number, printed_sum, signed, weight_of
from zoo.views.waves import WAVE, wave_of


def prepare(one: Explanation, number: int, top: int) -> Row:
    """Prepares row `number` of a page, with its `top` units."""
    terms, total = shown_terms(one, top)
    picture = to_picture(one.inputs, one.domain)
    uri, size = ("", (0, 0)) if picture is None else (data_uri(picture), (picture.shape[1], picture.shape[2]))
    mark = crc32(f"{one.target_names[0]} {one.scores[0].tolist()} {uri}".encode("utf-8", "replace"))
    return Row(one, terms, total, picture, uri, boxes_for(one, terms, size), f"{mark:08x}-{number}")


def shown_terms(one: Explanation, top: int) -> tuple[list[Term], Sum | None]:
    """The units to show of an explanation of one row, and their sum.

    Trailing units whose contribution is printed as 0, or whose importance is 0 in models that are not additive, are
    counted with the others, except concepts, whose values can be changed on the page; at least one unit is shown.
    """
    if one.contributions is None:
        ranked, importance = one.top(top)[0], one.importance[0]
        used = [k for k, t in enumerate(ranked) if float(importance[t.index]) != 0 or t.unit.kind == "concept"]
        return ranked[: used[-1] + 1 if used else 1], None
    total = printed_sum(one, top)
    if top > 0:
        terms = zip(total.terms, total.shown, strict=True)
        used = [k for k, (term, value) in enumerate(terms) if value != 0 or term.unit.kind == "concept"]
        total = printed_sum(one, used[-1] + 1 if used else 1, total.digits)
    return total.terms, total


def boxes_for(one: Explanation, terms: list[Term], size: tuple[int, int]) -> list[list[int] | None]:
    """The box of each unit in a picture of `size`, None of a unit without a place; empty if no unit has a box in it."""
    single = one.inputs is not None and size == tuple(one.inputs.shape[-2:])  # not tiles of a stack
    alone = any(term.unit.kind in ALONE for term in terms)
    if alone or not single or one.support is None or one.support.ndim != 4:
        return []
    support = one.support[0, [term.index for term in terms]].cpu()
    if any(term.unit.kind == PIXELS for term in terms) and one.inputs is not None:
        found = places_of([term.unit for term in terms], support, one.domain, one.inputs[0].cpu())
        return [(place["boxes"] or [None])[0] for place in found]
    somewhere = support.flatten(1).any(1).tolist()
    return [box if has else None for box, has in zip(boxes_of(support, size), somewhere, strict=True)]


def evidence(row: Row) -> str:
    """The list of cards, most important first, and one card for all other units."""
    pictured = any(term.unit.picture is not None or cut_out(row, term) for term in row.terms) or any(row.boxes)
    pictured |= any(term.unit.source.get("subgraphs") for term in row.terms) or WAVE in row.explanation.details
    cards = "".join(_card(row, place) for place in range(len(row.terms))) + _others_card(row)
    return f"<ol class='{'cards' if pictured else 'rows'}'>{cards}</ol>"


def _card(row: Row, place: int) -> str:
    term = row.terms[place]
    unit = term.unit
    target = None if row.explanation.space == "margin" else unit.target  # the classes of a margin are differences
    of = "" if target is None else f" of <bdi>{escape(row.explanation.domain.classes[target])}</bdi>"
    origin, name = unit.source.get("image"), name_of(term, row.explanation)
    return (
        f"<li><div class='what'><h4><span class='rank'>{place + 1}</span> <bdi>{escape(name)}</bdi></h4>"
        f"<p class='kind'>{escape(unit.kind)}{of}{_origin_of_labels(term)}</p></div>{_looks_like(row, place)}"
        f"<div class='how-much'>{_bar(row, place)}<p class='formula'>{_formula(row, place)}</p>"
        f"{_curve(row, place)}{_what_if(row, place)}{whatif.control(row, place)}</div>"
        + (f"<p class='kind origin'>from <bdi>{escape(str(origin))}</bdi></p>" if origin else "")
        + "</li>"
    )


def _looks_like(row: Row, place: int) -> str:
    if parts := subgraphs(row.terms[place].unit):
        return parts
    if pairs := matched(row, row.terms[place]) or wave_of(row, row.terms[place]):
        return f"<div class='pair'>{pairs}</div>"
    unit, figures = row.terms[place].unit, cut_out(row, row.terms[place])
    if drawn := lines_of(row, row.terms[place]):  # a motif is drawn over its support, a pattern beside it
        return f"<div class='pair'>{'' if 'motif' in unit.source else figures}{drawn}</div>"
    box = row.boxes[place] if row.boxes else None
    if box is not None and row.explanation.support is not None:
        view = region_around(tensor(box), row.size).tolist()
        heat = heat_uri(row.explanation.support[0, row.terms[place].index], row.size)
        drawn = f"<use href='#input{row.key}'/>{image_element(heat, row.size, kind='heat')}"
        label, caption = (
            escape(f"location of {unit.name} in the input"),
            "this" if unit.picture is not None else "location",
        )
        figures += f"<figure>{framed(drawn, view, box, label)}<figcaption>{caption}</figcaption></figure>"
    if unit.picture is not None:
        caption, kind = "looks like that" if figures else "training example", ""
        if is_gallery(unit):
            caption, kind = "top-activating training images", " class='wide'"
        caption = escape(str(unit.source.get("shows", caption)))
        drawn = unit_picture(unit, f"training patch of {unit.name}", row.picture_of(row.terms[place]))
        figures += f"<figure{kind}>{drawn}<figcaption>{caption}</figcaption></figure>"
    return f"<div class='pair'>{figures}</div>" if figures else ""


def _bar(row: Row, place: int) -> str:
    if row.total is None:  # without contributions, bars show activations
        values, side, room = [max(term.activation, 0.0) for term in row.terms], "level", 100
    else:
        values, room = row.total.shown, 50
        side = "down" if values[place] < 0 else "up"
    length = room * abs(values[place]) / (max(map(abs, values)) or 1.0)
    middle = " signed" if row.total is not None else ""
    return f"<div class='bar{middle}' aria-hidden='true'><span class='{side}' style='width:{length:.1f}%'></span></div>"


def _origin_of_labels(term: Term) -> str:
    who, group = term.unit.source.get("supervision"), term.unit.source.get("group")
    text = (f", {escape(str(who))}" if who else "") + (f" · <bdi>{escape(str(group))}</bdi>" if group else "")
    if isinstance(named := term.unit.source.get("named"), Mapping):
        text += f" · named by attributes: IoU {named['iou']:.2f}, of shuffled ones {named['shuffled']:.2f}"
    return text


def _formula(row: Row, place: int) -> str:
    term = row.terms[place]
    if row.total is not None and (factors := factors_of(term, row.explanation)):
        shown = (f"<b>{number(value, decimals([value]))}</b> {name}" for name, value in factors.items())
        return f"{' × '.join(shown)} <span>= <b>{signed(row.total.shown[place], row.total.digits)}</b></span>"
    weight, known = weight_of(term, row.explanation), known_of(term, row.explanation)
    if known.probability is not None:
        text = f"probability <b>{known.probability:.1%}</b>"
    else:
        what = "similarity" if term.unit.kind == "prototype" else "activation"
        text = f"<b>{number(term.activation, decimals(t.activation for t in row.terms))}</b> {what}"
    if row.total is None:
        return text
    part = f"<b>{signed(row.total.shown[place], row.total.digits)}</b>"
    if weight is None:
        return f"{text}: {part}"
    what = "weight" if row.explanation.reference == "zero" else "relative weight"
    fine = decimals(w for t in row.terms if (w := weight_of(t, row.explanation)) is not None)
    return f"{text} × <b>{signed(weight, fine)}</b> {what} <span>= {part}</span>"


def _curve(row: Row, place: int) -> str:
    """The contribution of the unit by its activation, with this row marked."""
    term = row.terms[place]
    if (curve := row.own_curves.get(term.unit.name)) is None:
        return ""
    values, error = relative_of(curve, row.explanation)
    here = Place(term.activation, f"{term.activation:.3g}")
    return drawing(Shown(curve, values, error, (Column(name=curve.unit),), (here,)))


def _what_if(row: Row, place: int) -> str:
    """The score if this concept were absent or present, and further details of the unit."""
    known = known_of(row.terms[place], row.explanation)
    texts = [
        f"{escape(name)}: {value if isinstance(value, int) else number(value, decimals([value]))}"
        for name, value in known.others.items()
    ]
    if known.absent is not None and known.present is not None:
        digits = decimals([row.explanation.score.item()])
        reference = row.explanation.reference
        what = {"mean": "score \u2212 mean", "runner-up": "margin"}.get(reference, row.explanation.space)
        texts.append(
            f"{what} if absent <b>{number(known.absent, digits)}</b>, if present <b>{number(known.present, digits)}</b>"
        )
    return f"<p class='formula'>{' · '.join(texts)}</p>" if texts else ""


def _others_card(row: Row) -> str:
    if len(row.terms) == len(row.explanation.units):
        return ""
    count = len(row.explanation.units) - len(row.terms)
    name = f"{count} other unit{'' if count == 1 else 's'}"
    kind, formula = "ranked lower", ""
    if row.total is not None and row.explanation.contributions is not None:
        parts = row.explanation.contributions[0]
        shown = [term.contribution or 0.0 for term in row.terms]
        above = int((parts > 0).sum()) - sum(part > 0 for part in shown)
        below = int((parts < 0).sum()) - sum(part < 0 for part in shown)
        kind = f"{above} positive, {below} negative" if above or below else "no contribution; rounding only"
        formula = f"<p class='formula'><b>{signed(row.total.rest, row.total.digits)}</b> in total</p>"
    return (
        f"<li class='others'><div class='what'><h4>{name}</h4><p class='kind'>{kind}</p></div>"
        f"<div class='how-much'>{formula}{whatif.control(row, len(row.terms))}</div></li>"
    )
