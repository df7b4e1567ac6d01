"""Explanations as self-contained pages: no server, no network; a script only for interventions."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from torch import Tensor

from zoo.core.curves import Curve
from zoo.core.explanation import Explanation
from zoo.core.places import ALONE
from zoo.core.places import PIXELS as PIXELS_OF_UNITS
from zoo.core.regions import REGION
from zoo.domain import AudioDomain, SeriesDomain, TableDomain
from zoo.views import whatif
from zoo.views.additive.columns_script import COLUMNS
from zoo.views.additive.data import curve_data
from zoo.views.additive.drawing import LOOK as CHARTS
from zoo.views.additive.fields import LOOK as FIELDS
from zoo.views.additive.fields import column_fields
from zoo.views.additive.shown import known
from zoo.views.additive.waterfall import LOOK as FALL
from zoo.views.additive.waterfall import waterfall
from zoo.views.cards import evidence, prepare
from zoo.views.distances import DETAIL, by_distance
from zoo.views.distances import LOOK as DISTANCES
from zoo.views.document import document
from zoo.views.forecast import HORIZON, forecast
from zoo.views.forecast import LOOK as FUTURE
from zoo.views.inputs import input_figure
from zoo.views.language import read_language
from zoo.views.law import COURSE, law
from zoo.views.law import LOOK as LAW
from zoo.views.linear_map import LOOK as MAPS
from zoo.views.linear_map import PIXELS, linear_map
from zoo.views.markup import escape
from zoo.views.path import path
from zoo.views.references import chooser, shared_pictures, views_of
from zoo.views.restoration import LOOK as RESTORED
from zoo.views.restoration import is_restored, restoration
from zoo.views.restoration_script import RESTORATION
from zoo.views.row import Row
from zoo.views.sentence import sentence
from zoo.views.style import STYLE
from zoo.views.sums import Sum, decimals, number, signed
from zoo.views.transformer import transformer
from zoo.views.whatif_script import SCRIPT

CLASSES = 5  # classes of highest score that are listed
FRAGMENT_ROWS = 10  # rows that a notebook displays


def page(
    explanation: Explanation,
    titles: Sequence[str],
    top: int = 8,
    heading: str = "Why this prediction?",
    curves: Sequence[Curve] = (),
    locale: str = "en",
    truth: Tensor | None = None,
) -> str:
    """A page that explains every row of a batch.

    Args:
        explanation: of B inputs.
        titles: names of the B inputs.
        top: number of units to show for each.
        heading: of the page.
        curves: of a model whose units are functions, `model.curves()`. Those of columns are shown beside the units, and
            columns can be changed on the page; those of concepts are in their cards.
        locale: language of the sentences, see `Explanation.sentence`.
        truth: (B, C) the true values, shown beside forecasts.

    Raises:
        ValueError: the number of titles is not B, or `truth` has another shape than the scores.
    """
    if len(titles) != len(explanation):
        raise ValueError(f"titles must have one entry for each of {len(explanation)} rows; got {len(titles)}.")
    if truth is not None and truth.shape != explanation.scores.shape:
        raise ValueError(f"truth must be {tuple(explanation.scores.shape)} as the scores; got {tuple(truth.shape)}.")
    own = {curve.unit: curve for curve in curves if [axis.column for axis in curve.axes] == [curve.unit]}
    curves = known(curves, explanation.domain) if isinstance(explanation.domain, TableDomain) else ()
    own = {} if curves else own
    known_values = [None] * len(explanation) if truth is None else list(truth)
    rows = (
        replace(prepare(one, i, top), curves=curves, own_curves=own, truth=known_values[i])
        for i, one in enumerate(explanation)
    )
    articles = "".join(_article(row, title, top, locale) for row, title in zip(rows, titles, strict=True))
    scripts = [SCRIPT] if explanation.effects is not None else []
    if curves and scripts and isinstance(explanation.domain, TableDomain):  # pages without effects have no controls
        articles += curve_data(curves, explanation.domain)
        scripts.append(COLUMNS)
    scripts += [RESTORATION] if is_restored(explanation) else []
    style = f"{CHARTS}{FALL}{FIELDS}" if curves else CHARTS if own else ""
    style += _look(explanation)
    return document(heading, f"<h1>{escape(heading)}</h1>{articles}", style, scripts)


def fragment(explanation: Explanation, top: int = 8) -> str:
    """The first rows, to be embedded in another page such as a notebook."""
    shown = explanation[:FRAGMENT_ROWS]
    articles = "".join(_article(prepare(one, i, top), f"input {i}", top) for i, one in enumerate(shown))
    more, look = len(explanation) - len(shown), _look(explanation)
    note = f"<p class='note'>… and {more} more rows; display one with explanation[i].</p>" if more else ""
    return f"<div class='zoo'><style>{STYLE}{look}</style>{articles}{note}</div>"


def _look(explanation: Explanation) -> str:
    """The style of charts that only some explanations have."""
    details = explanation.details
    charts = ((DETAIL, DISTANCES), (HORIZON, FUTURE), (COURSE, LAW), (PIXELS, MAPS))
    return "".join(look for name, look in charts if name in details) + (RESTORED if is_restored(explanation) else "")


def index_page(pages: Sequence[tuple[str, str]]) -> str:
    """A page of links (file name, text)."""
    links = "".join(f"<li><a href='{_link(name)}'><bdi>{escape(text)}</bdi></a></li>" for name, text in pages)
    return document("Explanations", f"<h1>Explanations</h1><ul class='index'>{links}</ul>")


def _link(name: str) -> str:
    """The URL of a file beside the page; "./" keeps a name such as "javascript:..." from being another scheme."""
    return escape(f"./{quote(name)}")


def _article(row: Row, title: str, top: int, locale: str = "en") -> str:
    views = views_of(row, top)
    return (
        f"<article aria-labelledby='t{row.key}'><header>{input_figure(row, title)}"
        f"<div><p class='title'><bdi>{escape(title)}</bdi></p>{_warnings(row.explanation)}"
        f"{_answer(row)}{_sentence(row.explanation, locale)}{_statement(row.explanation)}{_best(row.explanation)}</div>"
        f"</header>{path(row.explanation)}{transformer(row)}{by_distance(row)}{forecast(row)}{law(row)}{linear_map(row)}"
        f"{restoration(row)}"
        f"<h3>Evidence</h3>{chooser(views)}{shared_pictures(views)}"
        f"{''.join(_view(row) for row in views)}</article>"
    )


def _view(row: Row) -> str:
    """The evidence relative to one reference."""
    if row.curves and row.total is not None:
        why, fields = waterfall(row), column_fields(row)
    else:
        why = evidence(row) + ("" if row.total is None else _sum_line(row.total, row.explanation))
        fields = ""
    which = f" data-reference='{row.explanation.reference}'" if row.view else ""
    return f"<div class='view'{which}>{_legend(row)}{why}{whatif.panel(row, fields)}</div>"


def _warnings(one: Explanation) -> str:
    return "".join(f"<p class='warning'>{escape(text)}</p>" for text in (one.warnings[0] if one.warnings else ()))


def _answer(row: Row) -> str:
    one = row.explanation
    score = one.score.item()
    digits = decimals([score]) if row.total is None else row.total.digits
    share = "" if one.probability is None else f"{one.probability.item():.1%} · "
    head = (
        f"<h2 id='t{row.key}'><bdi>{escape(one.target_names[0])}</bdi> "
        f"<span class='share'>{share}{one.space} {number(score, digits)}</span></h2>"
    )
    if one.domain.task == "multilabel":
        return f"{head}<p class='note'>{_tags(one)}</p>"
    best = int(one.scores[0].argmax())
    if one.probability is None or one.scores[0, best] == score:
        return head
    return f"{head}<p class='note'>The model predicts <b><bdi>{escape(one.domain.classes[best])}</bdi></b>.</p>"


def _tags(one: Explanation) -> str:
    """The tags that the model predicts: those of positive logit."""
    names = [one.domain.classes[c] for c in (one.scores[0] > 0).nonzero()[:, 0].tolist()]
    listed = ", ".join(f"<b><bdi>{escape(name)}</bdi></b>" for name in names)
    return f"The model predicts {listed}." if names else "The model predicts none of the tags."


def _statement(one: Explanation) -> str:
    """The rule or sentence of a model that has one."""
    if not one.statements or not one.statements[0]:
        return ""
    return f"<p class='statement'><bdi>{escape(one.statements[0])}</bdi></p>"


def _sentence(one: Explanation, locale: str) -> str:
    """The explanation in words, in the language of the locale."""
    language = escape(read_language(locale).code)
    return f"<p class='sentence' lang='{language}'>{escape(sentence(one, locale))}</p>"


def _best(one: Explanation) -> str:
    """The classes of highest score, and the target."""
    if one.probabilities is None:
        return ""
    scores, target = one.scores[0].tolist(), int(one.target)
    shares = one.probabilities[0].tolist()
    best = sorted(range(len(scores)), key=lambda c: -scores[c])[:CLASSES]
    rows = ""
    for c in best if target in best else [*best, target]:
        chosen = " class='chosen'" if c == target else ""
        rows += (
            f"<tr{chosen}><th scope='row'><bdi>{escape(one.domain.classes[c])}</bdi></th>"
            f"{'' if one.space == 'probability' else f'<td>{number(scores[c], decimals(scores))}</td>'}"
            f"<td class='meter'><span style='width:{100 * shares[c]:.1f}%'></span></td><td>{shares[c]:.1%}</td></tr>"
        )
    what = "tags" if one.domain.task == "multilabel" else "classes"
    which = f"top {CLASSES} of {len(scores)} {what}" if len(scores) > CLASSES else f"{len(scores)} {what}"
    what = "probability" if one.space == "probability" else f"{one.space}, probability"
    return f"<table><caption>{which}: {what}</caption>{rows}</table>"


def _legend(row: Row) -> str:
    """How to read the cards."""
    one = row.explanation
    if row.total is None:
        by = "effect on the score" if "absent" in one.details else "activation"
        text = f"Units are ranked by {by}: this model is not additive, so they have no contributions."
    else:
        what = {"classification": "class", "multilabel": "tag"}.get(one.domain.task)
        up, down = (f"supports this {what}", "opposes it") if what else ("increases it", "lowers it")
        if one.reference == "runner-up" and one.runner_up is not None:
            names = (one.target_names[0], one.domain.classes[int(one.runner_up)])
            up, down = (f"speaks for <bdi>{escape(name)}</bdi>" for name in names)
        what = f"<bdi>{escape(one.explained[0])}</bdi>" if row.view else one.space
        text = f"Contributions to the {what}: <b class='up'>blue</b> {up}, <b class='down'>orange</b> {down}."
        if one.reference != "zero" and one.space == "logit":
            text += " What adds equally to all these scores is left out; it does not change the probabilities."
    if row.curves:
        text += (
            " Curves show the contribution of a unit by value, with this row marked; bars below them show where the "
        )
        text += "training rows are"
        text += ", shading ± one standard error." if any(curve.error is not None for curve in row.curves) else "."
    if any(term.unit.kind in ALONE for term in row.terms):
        text += " Each part was processed alone: faded areas did not affect its score."
    elif isinstance(one.domain, AudioDomain) and one.support is not None:
        text += " The chart below the picture has all contributions over time; numbers are ranks."
    elif isinstance(one.domain, SeriesDomain) and one.support is not None:
        motifs = any("motif" in term.unit.source for term in row.terms)
        text += " Motifs are drawn over the input." if motifs else " Shading shows where a unit is active."
    if not any(row.boxes):
        return f"<p class='note'>{text}</p>"
    if any(term.unit.kind == PIXELS_OF_UNITS for term in row.terms):
        return f"<p class='note'>{text} Boxes are the pixels of a unit.</p>"
    joined = any(term.unit.kind == REGION for term in row.terms)
    places = {term.unit.source.get("support") for term in row.terms}
    if joined:
        text += " Units that lie together are joined into regions; boxes mark the strongest 5 % of each."
    elif places == {"contributions"}:
        text += " Maps show what pixels contribute to a unit's activation; boxes mark the strongest 5 %."
    elif places == {"field"}:
        text += " Boxes mark the strongest 5 % of the pixels that a unit depends on."
    else:
        text += " Boxes mark the top 5 % of a unit's activation map; its receptive field is larger."
    checked = " checked" if joined or places == {"contributions"} else ""
    toggle = f"<label class='toggle'><input type='checkbox'{checked}> show activation maps</label>"
    return f"<p class='note'>{text}</p>{toggle}"


def _sum_line(total: Sum, one: Explanation) -> str:
    digits = total.digits
    parts = [f"<span>{number(total.bias, digits)}<small>bias</small></span>"]
    parts += [f"<span>{signed(v, digits)}<small>{i + 1}</small></span>" for i, v in enumerate(total.shown)]
    note = f"Rounded to {digits} decimals"
    if total.others or total.rest:
        text = f"{total.others} other{'' if total.others == 1 else 's'}" if total.others else "rounding"
        parts.append(f"<span>{signed(total.rest, digits)}<small>{text}</small></span>")
        note += "; the rounding error is included in the others" if total.others else ""
    parts.append(
        f"<span class='total'>= {number(total.score, digits)}<small><bdi>"
        f"{escape(one.explained[0])}</bdi></small></span>"
    )
    return f"<p class='sum' aria-label='the sum of the evidence'>{''.join(parts)}</p><p class='note'>{note}.</p>"
