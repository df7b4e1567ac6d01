"""The part of the input that a unit sees, with everything else faded; for series also the support of other units."""

from torch import Tensor

from zoo.core.explanation import Explanation, Term
from zoo.core.places import ALONE, seen_tokens
from zoo.core.regions import REGION
from zoo.domain import SeriesDomain, TableDomain, TextDomain
from zoo.views.markup import escape
from zoo.views.pictures import framed
from zoo.views.row import Row
from zoo.views.series import part
from zoo.views.words import written


def cut_out(row: Row, term: Term) -> str:
    """A figure of the part that a group or patch sees; for series also of the support of other units; else empty."""
    if row.explanation.support is None or row.explanation.inputs is None:
        return ""
    support = row.explanation.support[0, term.index].cpu()
    if isinstance(row.explanation.domain, SeriesDomain):
        return _of_series(row, row.explanation.domain, term, support)
    if term.unit.kind == REGION and isinstance(row.explanation.domain, TextDomain):
        return _of_text(row.explanation, row.explanation.domain, support)
    if term.unit.kind not in ALONE:
        return ""
    if row.picture is not None:
        return _of_image(row, term, support)
    if isinstance(row.explanation.domain, TextDomain):
        return _of_text(row.explanation, row.explanation.domain, support)
    if isinstance(row.explanation.domain, TableDomain):
        return _of_row(row.explanation.domain, support)
    return ""


def _of_image(row: Row, term: Term, support: Tensor) -> str:
    (height, width), (rows, columns) = row.size, support.shape
    patch = term.unit.source.get("patch", 0)
    high, wide = patch or -(-height // rows), patch or -(-width // columns)  # patches may extend beyond the border
    cells = "".join(f"M{column * wide} {r * high}h{wide}v{high}h-{wide}z" for r, column in support.nonzero().tolist())
    name = f"cut{row.key}{row.view}-{term.index}"
    picture = f"<use href='#input{row.key}'/>"
    content = (
        f"<clipPath id='{name}'><path d='{cells}'/></clipPath><g class='faded'>{picture}</g>"
        f"<g clip-path='url(#{name})'>{picture}</g>"
    )
    label = escape(f"the part that {term.unit.name} sees")
    return f"<figure class='wide'>{framed(content, (0, 0, height, width), None, label)}</figure>"


def _of_text(one: Explanation, domain: TextDomain, support: Tensor) -> str:
    if one.inputs is None:
        return ""
    tokens, _ = domain.tokens(one.inputs[0], one.texts[0] if one.texts else "")
    seen = seen_tokens(domain, one.inputs[0], support > 0)[: len(tokens)]
    return f"<figure class='wide words'>{written(tokens, seen=seen.tolist())}</figure>"


def _of_series(row: Row, domain: SeriesDomain, term: Term, support: Tensor) -> str:
    alone = term.unit.kind in ALONE
    label = escape(f"the part that {term.unit.name} sees" if alone else f"support of {term.unit.name}")
    cut, patch = f"cut{row.key}{row.view}-{term.index}" if alone else "", term.unit.source.get("patch", 0)
    return f"<figure class='wide series'>{part(support, domain, label, f'series{row.key}', cut, patch)}</figure>"


def _of_row(domain: TableDomain, support: Tensor) -> str:
    names = ", ".join(f"<bdi>{escape(name)}</bdi>" for name in domain.columns_of(support))
    return f"<figure class='wide words'>{names}</figure>"
