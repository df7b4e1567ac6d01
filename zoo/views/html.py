"""An explanation as a self-contained page: no server, no network, no script."""

from collections.abc import Sequence
from html import escape

from torch import Tensor, tensor

from zoo.explanation import Explanation, Term
from zoo.functional import region_around
from zoo.views.pictures import boxes_of, data_uri, framed, image_element, to_picture
from zoo.views.style import STYLE
from zoo.views.sums import Sum, printed_sum, weight_of

MINUS = "\u2212"
NUMBERED = 3  # the strongest units are marked in the input as well


def page(explanation: Explanation, titles: Sequence[str], top: int = 8, heading: str = "Why this answer?") -> str:
    """A page that explains every row of a batch.

    Args:
        explanation: of B inputs.
        titles: B names of the inputs.
        top: how many units to show for each.
        heading: of the page.

    Raises:
        ValueError: not one title for each row.
    """
    if len(titles) != len(explanation):
        raise ValueError(f"titles must name each of {len(explanation)} rows; got {len(titles)}.")
    bodies = [_article(one, title, i, top) for i, (one, title) in enumerate(zip(explanation, titles, strict=True))]
    return _document(heading, f"<h1>{escape(heading)}</h1>" + "".join(bodies))


def fragment(explanation: Explanation, top: int = 8) -> str:
    """The same to be shown inside another page, such as a notebook."""
    seed = id(explanation) % 10**6  # keeps the element names of several outputs of one notebook apart
    bodies = [_article(one, f"input {i}", seed + i, top) for i, one in enumerate(explanation)]
    return f"<div class='zoo'><style>{STYLE}</style>{''.join(bodies)}</div>"


def index_page(pages: Sequence[tuple[str, str]]) -> str:
    """A page of links: (file name, text) each."""
    links = "".join(
        f"<li><a href='{escape(name, quote=True)}'><bdi>{escape(text)}</bdi></a></li>" for name, text in pages
    )
    return _document("Explanations", f"<h1>Explanations</h1><ul class='index'>{links}</ul>")


def _document(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body class='zoo'><main>{body}</main></body></html>"
    )


def _article(one: Explanation, title: str, number: int, top: int) -> str:
    picture = to_picture(one.inputs, one.domain)
    terms = one.top(top)[0]
    boxes: list[list[int]] = []
    if picture is not None and one.support is not None and one.support.ndim == 4:
        boxes = boxes_of(
            one.support[0, [term.index for term in terms]].float().cpu(), (picture.shape[1], picture.shape[2])
        )
    if one.contributions is None:
        evidence = "".join(_card(t, i, None, 1.0, picture, boxes, number, one) for i, t in enumerate(terms))
        total = "<p class='sum'>Ranked by activation: this model's score is no sum of its units.</p>"
    else:
        shown = printed_sum(one, top)
        largest = max((abs(v) for v in shown.shown), default=1.0) or 1.0
        cards = zip(terms, shown.shown, strict=True)
        evidence = "".join(_card(t, i, v, largest, picture, boxes, number, one) for i, (t, v) in enumerate(cards))
        total = _sum_line(shown, one)
    return (
        f"<article aria-labelledby='t{number}'><header>{_input_figure(picture, boxes, number, title)}"
        f"<div>{_answer(one, title, number)}</div></header>"
        f"<h3>Evidence</h3><ol class='cards'>{evidence}</ol>{total}</article>"
    )


def _input_figure(picture: Tensor | None, boxes: list[list[int]], number: int, title: str) -> str:
    if picture is None:
        return ""
    height, width = picture.shape[1], picture.shape[2]
    unit = max(height, width) / 100
    marks = ""
    for i, (up, left, bottom, right) in reversed([*enumerate(boxes[:NUMBERED])]):  # the strongest on top
        place = f"x='{left}' y='{up}' width='{right - left}' height='{bottom - up}'"
        tag = (
            f"<text class='mark' x='{left + 1.5 * unit:.4g}' y='{up + 7 * unit:.4g}' "
            f"style='font-size:{7 * unit:.4g}px;stroke-width:{1.6 * unit:.4g}px'>{i + 1}</text>"
        )
        marks += f"<rect class='halo' {place}/><rect class='box' {place}/>{tag}"
    content = image_element(data_uri(picture), (height, width), f"input{number}") + marks
    return (
        "<figure "
        f"class='input'>{framed(content, (0, 0, height, width), None, escape(f'input {title}', quote=True))}</figure>"
    )


def _answer(one: Explanation, title: str, number: int) -> str:
    share = "" if one.probability is None else f"<span class='share'>{one.probability.item():.1%}</span>"
    rows = ""
    scores = one.scores[0].tolist()
    best = sorted(range(len(scores)), key=lambda c: -scores[c])[:5]
    if one.space in ("logit", "probability") and one.domain.task == "classification":
        shares = (one.scores.softmax(1) if one.space == "logit" else one.scores)[0].tolist()
        for c in best:
            mine = " class='chosen'" if c == one.target.item() else ""
            rows += (
                f"<tr{mine}><th scope='row'><bdi>{escape(one.domain.classes[c])}</bdi></th>"
                f"<td>{_number(scores[c], 2)}</td>"
                f"<td class='meter'><span style='width:{100 * shares[c]:.1f}%'></span></td>"
                f"<td>{shares[c]:.1%}</td></tr>"
            )
        rows = f"<table><caption>best {len(best)} of {len(scores)} classes: score, probability</caption>{rows}</table>"
    return (
        f"<p class='title'><bdi>{escape(title)}</bdi></p><h2 "
        f"id='t{number}'><bdi>{escape(one.target_names[0])}</bdi> {share}</h2>{rows}"
    )


def _card(
    term: Term,
    place: int,
    value: float | None,
    largest: float,
    picture: Tensor | None,
    boxes: list[list[int]],
    number: int,
    one: Explanation,
) -> str:
    name = escape(term.unit.name)
    pictures = _looks_like(term, picture, boxes[place], number) if picture is not None and boxes else ""
    weight = weight_of(term)
    formula = f"<b>{term.activation:.3f}</b> {'similarity' if term.unit.kind == 'prototype' else 'activation'}"
    if weight is not None and value is not None:
        formula += f" × <b>{_signed(weight)}</b> weight = <b>{_signed(value)}</b>"
    bar = ""
    if value is not None:
        side, length = ("up" if value >= 0 else "down"), 50 * abs(value) / largest
        bar = f"<div class='bar' aria-hidden='true'><span class='{side}' style='width:{length:.1f}%'></span></div>"
    of = "" if term.unit.target is None else f" · <bdi>{escape(one.domain.classes[term.unit.target])}</bdi>"
    source = term.unit.source.get("image")
    origin = f"<p class='origin'>from <bdi>{escape(str(source))}</bdi></p>" if source else ""
    return (
        f"<li><p class='name'><span class='rank'>{place + 1}</span> <bdi>{name}</bdi></p>"
        f"<p class='kind'>{escape(term.unit.kind)}{of}</p>{pictures}{bar}<p class='formula'>{formula}</p>{origin}</li>"
    )


def _looks_like(term: Term, picture: Tensor, box: list[int], number: int) -> str:
    size = (picture.shape[1], picture.shape[2])
    here = region_around(tensor(box), size).tolist()
    label = escape(f"where {term.unit.name} fires in the input", quote=True)
    whole = f"<use href='#input{number}'/>"
    figures = f"<figure>{framed(whole, here, box, label)}<figcaption>this</figcaption></figure>"
    if term.unit.picture is not None:
        crop, region, patch = term.unit.picture, term.unit.source.get("region"), term.unit.source.get("box")
        view = region or [0, 0, crop.shape[1], crop.shape[2]]
        image = image_element(data_uri(crop), (view[2] - view[0], view[3] - view[1]))
        moved = f"<g transform='translate({view[1]} {view[0]})'>{image}</g>"
        label = escape(f"the training patch behind {term.unit.name}", quote=True)
        figures += (
            "<span class='like'>looks "
            f"like</span><figure>{framed(moved, view, patch, label)}<figcaption>that</figcaption></figure>"
        )
    return f"<div class='pair'>{figures}</div>"


def _sum_line(shown: Sum, one: Explanation) -> str:
    parts = [f"<span>{_number(shown.bias)}<small>bias</small></span>"]
    parts += [f"<span>{_signed(v)}<small>{i + 1}</small></span>" for i, v in enumerate(shown.shown)]
    if shown.others or shown.rest:
        text = f"{shown.others} others" if shown.others else "rounding"
        parts.append(f"<span>{_signed(shown.rest)}<small>{text}</small></span>")
    total = (
        f"<span class='total'>= {_number(shown.score)}<small>{one.space} of "
        f"<bdi>{escape(one.target_names[0])}</bdi></small></span>"
    )
    return f"<p class='sum' aria-label='the sum of the evidence'>{''.join(parts)}{total}</p>"


def _signed(value: float) -> str:
    return ("" if value < 0 else "+") + _number(value)


def _number(value: float, digits: int = 3) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)  # + 0.0: no minus before a zero
