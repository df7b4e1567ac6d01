"""An explanation as a self-contained page: no server, no network; a script only for what-ifs."""

from collections.abc import Sequence
from html import escape

from zoo.core.explanation import Explanation
from zoo.domain import CodeDomain, SeriesDomain, TableDomain, TextDomain
from zoo.views import whatif
from zoo.views.cards import evidence, number, prepare, signed
from zoo.views.code import code_prompt
from zoo.views.cutouts import ALONE
from zoo.views.path import path
from zoo.views.pictures import framed, image_element, outline
from zoo.views.row import Row
from zoo.views.series import plot
from zoo.views.style import STYLE
from zoo.views.sums import Sum, decimals

CORNERS = ((0, 0, "start"), (1, 0, "end"), (0, 1, "start"))  # of the strongest boxes, which the input shows numbered
CLASSES = 5
FEATURES = 12
FRAGMENT_ROWS = 10


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
    rows = (prepare(one, i, top) for i, one in enumerate(explanation))
    articles = "".join(_article(row, title) for row, title in zip(rows, titles, strict=True))
    script = f"<script>{whatif.SCRIPT}</script>" if any(one.effects is not None for one in explanation) else ""
    return _document(heading, f"<h1>{escape(heading)}</h1>{articles}{script}")


def fragment(explanation: Explanation, top: int = 8) -> str:
    """The first rows to be shown inside another page, such as a notebook."""
    shown = explanation[:FRAGMENT_ROWS]
    articles = "".join(_article(prepare(one, i, top), f"input {i}") for i, one in enumerate(shown))
    more = len(explanation) - len(shown)
    note = f"<p class='note'>… and {more} more rows; explanation[i] is the explanation of row i.</p>" if more else ""
    return f"<div class='zoo'><style>{STYLE}</style>{articles}{note}</div>"


def index_page(pages: Sequence[tuple[str, str]]) -> str:
    """A page of links: (file name, text) each."""
    links = "".join(f"<li><a href='{escape(name)}'><bdi>{escape(text)}</bdi></a></li>" for name, text in pages)
    return _document("Explanations", f"<h1>Explanations</h1><ul class='index'>{links}</ul>")


def _document(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body class='zoo'><main>{body}</main></body></html>"
    )


def _article(row: Row, title: str) -> str:
    total = "" if row.total is None else _sum_line(row.total, row.one)
    return (
        f"<article aria-labelledby='t{row.key}'><header>{_input_figure(row, title)}"
        f"<div><p class='title'><bdi>{escape(title)}</bdi></p>{_answer(row)}{_statement(row.one)}{_best(row.one)}</div>"
        "</header>"
        f"{path(row.one)}<h3>Evidence</h3>{_legend(row)}{evidence(row)}{total}{whatif.panel(row)}</article>"
    )


def _input_figure(row: Row, title: str) -> str:
    if row.picture is None:
        return _input_words(row) or _input_code(row) or _input_values(row) or _input_series(row, title)
    height, width = row.size
    unit = max(height, width) / 100
    marks = ""
    for i in reversed(range(len(row.boxes[: len(CORNERS)]))):  # the strongest on top
        up, left, bottom, right = row.boxes[i]
        x, y, anchor = CORNERS[i]  # a corner for each number, so that boxes at one place keep theirs apart
        marks += outline(row.boxes[i]) + (
            f"<text class='mark' x='{left + 1.5 * unit if x == 0 else right - 1.5 * unit:.4g}' "
            f"y='{up + 7 * unit if y == 0 else bottom - 2 * unit:.4g}' text-anchor='{anchor}' "
            f"style='font-size:{7 * unit:.4g}px;stroke-width:{1.6 * unit:.4g}px'>{i + 1}</text>"
        )
    content = image_element(row.uri, row.size, f"input{row.key}") + marks
    return f"<figure class='input'>{framed(content, (0, 0, height, width), None, escape(f'input {title}'))}</figure>"


def _input_words(row: Row) -> str:
    """A text as the model read it: its words, those that it does not know marked."""
    domain = row.one.domain
    if not isinstance(domain, TextDomain) or row.one.inputs is None:
        return ""
    text = " ".join(f"<bdi>{escape(word)}</bdi>" for word in domain.words(row.one.inputs[0]) if word)
    return f"<blockquote class='text'>{text}</blockquote>"


def _input_code(row: Row) -> str:
    domain = row.one.domain
    return (
        code_prompt(domain, row.one.inputs[0]) if isinstance(domain, CodeDomain) and row.one.inputs is not None else ""
    )


def _input_values(row: Row) -> str:
    """A row of a table: its features and their values."""
    domain = row.one.domain
    if not isinstance(domain, TableDomain) or row.one.inputs is None:
        return ""
    values = domain.values(row.one.inputs[0]).tolist()
    shown = "".join(
        f"<tr><th scope='row'><bdi>{escape(name)}</bdi></th><td>{number(value, decimals([value]))}</td></tr>"
        for name, value in zip(domain.features[:FEATURES], values, strict=False)
    )
    more = len(values) - FEATURES
    note = f"<caption>the first {FEATURES} of {len(values)} features</caption>" if more > 0 else ""
    return f"<table class='input'>{note}{shown}</table>"


def _input_series(row: Row, title: str) -> str:
    """Series over time, a line for each variable."""
    domain = row.one.domain
    if not isinstance(domain, SeriesDomain) or row.one.inputs is None:
        return ""
    drawn = plot(domain.values(row.one.inputs[0]).cpu(), domain, escape(f"input {title}"), f"series{row.key}")
    return f"<figure class='input series'>{drawn}</figure>"


def _answer(row: Row) -> str:
    one = row.one
    score = one.score.item()
    digits = decimals([score]) if row.total is None else row.total.digits
    share = "" if one.probability is None else f"{one.probability.item():.1%} · "
    head = (
        f"<h2 id='t{row.key}'><bdi>{escape(one.target_names[0])}</bdi> "
        f"<span class='share'>{share}{one.space} {number(score, digits)}</span></h2>"
    )
    best = int(one.scores[0].argmax())
    if one.probability is None or one.scores[0, best] == score:
        return head
    return f"{head}<p class='note'>The model itself answers <b><bdi>{escape(one.domain.classes[best])}</bdi></b>.</p>"


def _statement(one: Explanation) -> str:
    """What the model says in words."""
    if not one.statements or not one.statements[0]:
        return ""
    return f"<p class='statement'><bdi>{escape(one.statements[0])}</bdi></p>"


def _best(one: Explanation) -> str:
    """The best classes and, if it is not among them, the target."""
    if one.probability is None:
        return ""
    scores, target = one.scores[0].tolist(), int(one.target)
    shares = (one.scores.softmax(1) if one.space == "logit" else one.scores)[0].tolist()
    best = sorted(range(len(scores)), key=lambda c: -scores[c])[:CLASSES]
    rows = ""
    for c in best if target in best else [*best, target]:
        chosen = " class='chosen'" if c == target else ""
        rows += (
            f"<tr{chosen}><th scope='row'><bdi>{escape(one.domain.classes[c])}</bdi></th>"
            f"<td>{number(scores[c], decimals(scores))}</td>"
            f"<td class='meter'><span style='width:{100 * shares[c]:.1f}%'></span></td><td>{shares[c]:.1%}</td></tr>"
        )
    which = f"best {CLASSES} of {len(scores)} classes" if len(scores) > CLASSES else f"all {len(scores)} classes"
    return f"<table><caption>{which}: {one.space}, probability</caption>{rows}</table>"


def _legend(row: Row) -> str:
    """How to read the cards, in the words that these cards need."""
    if row.total is None:
        by = "how much the score depends on them" if "absent" in row.one.details else "activation"
        text = f"Ranked by {by}: this model's score is no sum of its units."
    else:
        text = (
            f"What adds up to the {row.one.space}: <b class='up'>blue speaks for</b> the answer, "
            "<b class='down'>orange against</b> it."
        )
    if any(term.unit.kind in ALONE for term in row.terms):
        text += " Each part was seen alone: what is faded had no say in its score."
    elif isinstance(row.one.domain, SeriesDomain) and row.one.support is not None:
        text += " Shaded is where the unit fires, the stronger the more."
    if not row.boxes:
        return f"<p class='note'>{text}</p>"
    text += " A box holds the strongest 5 % of where the unit fires, not all that it sees."
    toggle = "<label class='toggle'><input type='checkbox'> show where each unit fires</label>"
    return f"<p class='note'>{text}</p>{toggle}"


def _sum_line(total: Sum, one: Explanation) -> str:
    digits = total.digits
    parts = [f"<span>{number(total.bias, digits)}<small>bias</small></span>"]
    parts += [f"<span>{signed(v, digits)}<small>{i + 1}</small></span>" for i, v in enumerate(total.shown)]
    note = f"Rounded to {digits} decimals"
    if total.others or total.rest:
        text = f"{total.others} other{'' if total.others == 1 else 's'}" if total.others else "rounding"
        parts.append(f"<span>{signed(total.rest, digits)}<small>{text}</small></span>")
        note += "; what rounding leaves over is counted with the others" if total.others else ""
    parts.append(
        f"<span class='total'>= {number(total.score, digits)}<small>{one.space} of "
        f"<bdi>{escape(one.target_names[0])}</bdi></small></span>"
    )
    return f"<p class='sum' aria-label='the sum of the evidence'>{''.join(parts)}</p><p class='note'>{note}.</p>"
