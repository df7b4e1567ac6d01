"""Explanations as plain data, complete by themselves: no model, no other file is needed to understand them."""

from typing import TYPE_CHECKING, Any

from zoo.core.places import places_of
from zoo.domain import TableDomain

PICTURES = ("weights", "pixels")  # details of each pixel, which pages draw and `Explanation.save` keeps

if TYPE_CHECKING:
    from zoo.core.explanation import Explanation, Term


def explanation_dicts(explanation: "Explanation", top: int | None) -> list[dict[str, Any]]:
    """One JSON-ready dict for each row.

    Args:
        explanation: of B inputs.
        top: number of units of each row, the most important; None for all.
    """
    rows = explanation.top(len(explanation.units) if top is None else top)
    return [_row(one, terms) for one, terms in zip(explanation, rows, strict=True)]


def answer_of(one: "Explanation") -> str:
    """The explained class of one input, and its probability if there is one."""
    probability = "" if one.probability is None else f" ({one.probability.item():.1%})"
    return f"{one.target_names[0]}{probability}"


def _row(one: "Explanation", terms: "list[Term]") -> dict[str, Any]:
    row: dict[str, Any] = {"target": one.target_names[0], "score": one.score.item(), "space": one.space}
    if one.probability is not None:
        row["probability"] = one.probability.item()
    row["scores"] = dict(zip(one.domain.classes, one.scores[0].tolist(), strict=True))
    row |= _input(one)
    if one.statements:
        row["statement"] = one.statements[0]
    if one.bias is not None:
        row |= {"reference": one.reference, **_relative(one)}
        if len(one.references) > 1:
            row["references"] = {name: _relative(one.relative_to(name)) for name in one.references}
    details = {name: value[0].tolist() for name, value in one.details.items() if name not in PICTURES}
    row["evidence"] = [
        _term(term, one) | place | _source(term) | {name: value[term.index] for name, value in details.items()}
        for term, place in zip(terms, _places(one, terms), strict=True)
    ]
    return row


def _relative(one: "Explanation") -> dict[str, Any]:
    """What bias and contributions add up to, and the bias."""
    bias = 0.0 if one.bias is None else one.bias.item()
    return {"explained": one.explained[0], "explained_score": one.relative_score.item(), "bias": bias}


def _input(one: "Explanation") -> dict[str, Any]:
    """What was explained, where it is short: the text, or the values of a row; and warnings about it."""
    row: dict[str, Any] = {}
    if one.warnings and one.warnings[0]:
        row["warnings"] = list(one.warnings[0])
    if one.texts and one.texts[0]:
        row["text"] = one.texts[0]
    if isinstance(one.domain, TableDomain) and one.inputs is not None:
        row["values"] = one.domain.row(one.inputs[0])
    return row


def _term(term: "Term", one: "Explanation") -> dict[str, Any]:
    unit = term.unit
    row: dict[str, Any] = {"unit": unit.name, "kind": unit.kind, "activation": term.activation}
    if term.contribution is not None:
        row["contribution"] = term.contribution
        others = {name: parts[0, term.index].item() for name, parts in one.alternatives.items()}
        if others:
            row["contributions"] = {one.reference: term.contribution, **others}
    if unit.target is not None and one.space != "margin":  # whose classes are differences
        row["class"] = one.domain.classes[unit.target]
    return row


def _places(one: "Explanation", terms: "list[Term]") -> list[dict[str, Any]]:
    if one.support is None or one.inputs is None or not terms:
        return [{} for _ in terms]
    support = one.support[0, [term.index for term in terms]].cpu()
    text = one.texts[0] if one.texts else ""
    return places_of([term.unit for term in terms], support, one.domain, one.inputs[0].cpu(), text)


def _source(term: "Term") -> dict[str, Any]:
    return {"source": dict(term.unit.source)} if term.unit.source else {}
