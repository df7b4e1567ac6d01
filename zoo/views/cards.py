"""The evidence of one input as cards: a unit each, what it saw and what that adds to the score."""

from html import escape
from zlib import crc32

from torch import tensor

from zoo.core.explanation import Explanation, Term
from zoo.utils.functional import region_around
from zoo.views import whatif
from zoo.views.cutouts import ALONE, cut_out
from zoo.views.matches import matched
from zoo.views.pictures import boxes_of, data_uri, framed, heat_uri, image_element, to_picture
from zoo.views.row import Row
from zoo.views.sums import decimals, factors_of, fixed, known_of, printed_sum, weight_of


def prepare(one: Explanation, number: int, top: int) -> Row:
    """Makes row `number` of a page ready; pictures are made of its `top` units only."""
    if one.contributions is not None:  # units that neither fire nor count would only fill the page
        top = min(top, max(1, int(((one.contributions != 0) | (one.activation != 0)).sum())))
    total = None if one.contributions is None else printed_sum(one, top)
    terms = one.top(top)[0] if total is None else total.terms
    picture, boxes, uri = to_picture(one.inputs, one.domain), [], ""
    if picture is not None:
        uri = data_uri(picture)
        whole = one.inputs is not None and picture.shape[-2:] == one.inputs.shape[-2:]  # no tiles of a stack
        soft = not any(term.unit.kind in ALONE for term in terms)
        if soft and whole and one.support is not None and one.support.ndim == 4:
            support = one.support[0, [term.index for term in terms]].cpu()
            boxes = boxes_of(support, (picture.shape[1], picture.shape[2]))
    mark = crc32(f"{one.target_names[0]} {one.scores[0].tolist()} {uri}".encode("utf-8", "replace"))
    return Row(one, terms, total, picture, uri, boxes, f"{mark:08x}-{number}")


def evidence(row: Row) -> str:
    """The list of cards, strongest first, and one for all units that are not shown."""
    pictured = any(term.unit.picture is not None or cut_out(row, term) for term in row.terms) or bool(row.boxes)
    cards = "".join(_card(row, place) for place in range(len(row.terms))) + _others_card(row)
    return f"<ol class='{'cards' if pictured else 'rows'}'>{cards}</ol>"


def number(value: float, digits: int) -> str:
    """A number with a typographic minus."""
    return fixed(value, digits).replace("-", "\u2212")


def signed(value: float, digits: int) -> str:
    """The same with a plus where there is no minus."""
    return fixed(value, digits, "+").replace("-", "\u2212")


def _card(row: Row, place: int) -> str:
    term = row.terms[place]
    unit = term.unit
    of = "" if unit.target is None else f" of <bdi>{escape(row.one.domain.classes[unit.target])}</bdi>"
    origin = unit.source.get("image")
    return (
        f"<li><div class='what'><h4><span class='rank'>{place + 1}</span> <bdi>{escape(unit.name)}</bdi></h4>"
        f"<p class='kind'>{escape(unit.kind)}{of}{_origin_of_labels(term)}</p></div>{_looks_like(row, place)}"
        f"<div class='how-much'>{_bar(row, place)}<p class='formula'>{_formula(row, place)}</p>"
        f"{_what_if(row, place)}{whatif.control(row, place)}</div>"
        + (f"<p class='kind origin'>from <bdi>{escape(str(origin))}</bdi></p>" if origin else "")
        + "</li>"
    )


def _looks_like(row: Row, place: int) -> str:
    if pairs := matched(row, row.terms[place]):
        return f"<div class='pair'>{pairs}</div>"
    unit, figures = row.terms[place].unit, cut_out(row, row.terms[place])
    if row.boxes and row.one.support is not None:
        view = region_around(tensor(row.boxes[place]), row.size).tolist()
        heat = heat_uri(row.one.support[0, row.terms[place].index], row.size)
        whole = f"<use href='#input{row.key}'/>{image_element(heat, row.size, kind='heat')}"
        label = escape(f"where {unit.name} fires in the input")
        figures += f"<figure>{framed(whole, view, row.boxes[place], label)}<figcaption>this</figcaption></figure>"
    if unit.picture is not None:
        view = unit.source.get("region") or [0, 0, unit.picture.shape[1], unit.picture.shape[2]]
        image = image_element(data_uri(unit.picture), (view[2] - view[0], view[3] - view[1]))
        moved = f"<g transform='translate({view[1]} {view[0]})'>{image}</g>"
        label = escape(f"the training patch behind {unit.name}")
        caption = "looks like that" if figures else "what it looks like"
        kind = ""
        if unit.picture.shape[2] > 2 * unit.picture.shape[1]:  # a row of pictures: a gallery
            caption, kind = "the training images in which it fires most", " class='wide'"
        caption = escape(str(unit.source.get("shows", caption)))
        drawn = framed(moved, view, unit.source.get("box"), label)
        figures += f"<figure{kind}>{drawn}<figcaption>{caption}</figcaption></figure>"
    return f"<div class='pair'>{figures}</div>" if figures else ""


def _bar(row: Row, place: int) -> str:
    if row.total is None:  # no parts of a score, so the bars show how strongly units fire
        values, side, room = [max(term.activation, 0.0) for term in row.terms], "level", 100
    else:
        values, room = row.total.shown, 50
        side = "down" if values[place] < 0 else "up"
    length = room * abs(values[place]) / (max(map(abs, values)) or 1.0)
    middle = " signed" if row.total is not None else ""
    return f"<div class='bar{middle}' aria-hidden='true'><span class='{side}' style='width:{length:.1f}%'></span></div>"


def _origin_of_labels(term: Term) -> str:
    who, group = term.unit.source.get("supervision"), term.unit.source.get("group")
    return (f", {escape(str(who))}" if who else "") + (f" · <bdi>{escape(str(group))}</bdi>" if group else "")


def _formula(row: Row, place: int) -> str:
    term = row.terms[place]
    if row.total is not None and (factors := factors_of(term, row.one)):
        shown = (f"<b>{number(value, decimals([value]))}</b> {name}" for name, value in factors.items())
        return f"{' × '.join(shown)} <span>= <b>{signed(row.total.shown[place], row.total.digits)}</b></span>"
    weight, known = weight_of(term, row.one), known_of(term, row.one)
    if known.probability is not None:
        text = f"<b>{known.probability:.1%}</b> probable"
    else:
        what = "similarity" if term.unit.kind == "prototype" else "activation"
        text = f"<b>{number(term.activation, decimals(t.activation for t in row.terms))}</b> {what}"
    if row.total is None:
        return text
    part = f"<b>{signed(row.total.shown[place], row.total.digits)}</b>"
    if weight is None:
        return f"{text}: {part}"
    fine = decimals(w for t in row.terms if (w := weight_of(t, row.one)) is not None)
    return f"{text} × <b>{signed(weight, fine)}</b> weight <span>= {part}</span>"


def _what_if(row: Row, place: int) -> str:
    """The score of the answer were this concept absent or present, and what else is known of it."""
    known = known_of(row.terms[place], row.one)
    texts = [
        f"{escape(name)} {value if isinstance(value, int) else number(value, decimals([value]))}"
        for name, value in known.others.items()
    ]
    if known.absent is not None and known.present is not None:
        digits = decimals([row.one.score.item()])
        texts.append(
            f"{row.one.space} if absent <b>{number(known.absent, digits)}</b>, "
            f"if present <b>{number(known.present, digits)}</b>"
        )
    return f"<p class='formula'>{' · '.join(texts)}</p>" if texts else ""


def _others_card(row: Row) -> str:
    if len(row.terms) == len(row.one.units):
        return ""
    count = len(row.one.units) - len(row.terms)
    name = f"{count} other unit{'' if count == 1 else 's'}"
    kind, formula = "weaker than these", ""
    if row.total is not None and row.one.contributions is not None:
        parts = row.one.contributions[0]
        shown = [term.contribution or 0.0 for term in row.terms]
        above = int((parts > 0).sum()) - sum(part > 0 for part in shown)
        below = int((parts < 0).sum()) - sum(part < 0 for part in shown)
        kind = f"{above} for, {below} against" if above or below else "without any weight; a rest of rounding"
        formula = f"<p class='formula'><b>{signed(row.total.rest, row.total.digits)}</b> together</p>"
    return (
        f"<li class='others'><div class='what'><h4>{name}</h4><p class='kind'>{kind}</p></div>"
        f"<div class='how-much'>{formula}{whatif.control(row, len(row.terms))}</div></li>"
    )
