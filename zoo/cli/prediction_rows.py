"""The columns of a table of predictions.

For classes: item, label, prediction, score, and p(CLASS) of every class. For tags: item, labels and predictions joined
by "; ", and p(TAG) of every tag. For values: item, label(NAME) and value(NAME) of every value. With explanations also
what is `explained`, such as the margin of a class over the runner-up or one of the values, and unit and contribution of
the strongest units.
"""

from collections.abc import Iterable, Iterator

from torch import Tensor

from zoo.core.explanation import Explanation, Term
from zoo.domain import Domain


def header(domain: Domain, top: int) -> list[str]:
    """Names of the columns.

    Args:
        domain: of the model.
        top: number of units in each row.
    """
    if domain.task == "classification":
        columns = ["label", "prediction", "score", *(f"p({name})" for name in domain.classes)]
    elif domain.task == "multilabel":
        columns = ["labels", "predictions", *(f"p({name})" for name in domain.classes)]
    else:
        columns = [f"{what}({name})" for what in ("label", "value") for name in domain.classes]
    units = [name for i in range(1, top + 1) for name in (f"unit {i}", f"contribution {i}")]
    return ["item", *columns, *(["explained"] if top else []), *units]


def labels_of(target: Tensor | None, count: int, domain: Domain) -> Iterator[list[str]]:
    """The cells with the label of each of `count` rows, empty without labels."""
    if target is None:
        width = len(domain.classes) if domain.task == "regression" else 1
        yield from ([""] * width for _ in range(count))
    elif domain.task == "classification":
        yield from ([domain.classes[c] if 0 <= c < len(domain.classes) else ""] for c in target.tolist())
    elif domain.task == "multilabel":
        yield from ([tags_of(row, domain)] for row in target > 0.5)
    else:
        yield from map(numbers, target.float().reshape(count, -1).tolist())


def rows_of(prediction: Explanation | Tensor, domain: Domain, top: int) -> Iterator[list[str]]:
    """The cells with the prediction of each row.

    Args:
        prediction: explanations, or scores (B, C) of a black box, whose units are left empty.
        domain: of the model.
        top: number of units in each row.
    """
    explained = isinstance(prediction, Explanation)
    scores = (prediction.scores if explained else prediction).float().cpu()
    empty = [""] * (2 * top + (top > 0))
    units = unit_cells(prediction, top) if explained and top else (empty for _ in scores)
    space = prediction.space if explained else "logit"
    known = domain.probabilities(scores, space)
    shown = (scores if known is None else known).tolist()
    if domain.task == "multilabel":
        for row, values, cells in zip(scores, shown, units, strict=True):
            yield [tags_of(row > 0, domain), *numbers(values), *cells]
        return
    if domain.task != "classification":
        yield from (numbers(row) + cells for row, cells in zip(shown, units, strict=True))
        return
    best, target = scores.max(1)
    for c, score, row, cells in zip(target.tolist(), best.tolist(), shown, units, strict=True):
        yield [domain.classes[c], f"{score:.6f}", *numbers(row), *cells]


def tags_of(present: Tensor, domain: Domain) -> str:
    """Names of the tags that are present (C,), joined by "; "."""
    return "; ".join(domain.classes[c] for c in present.nonzero()[:, 0].tolist())


def unit_cells(explanation: Explanation, top: int) -> Iterator[list[str]]:
    """What is explained, and name and contribution of the `top` units of each row."""
    values = explanation.domain.task == "regression"
    for name, terms in zip(
        explanation.target_names if values else explanation.explained, explanation.top(top), strict=True
    ):
        cells = [cell for term in terms for cell in term_cells(term)]
        yield [name, *cells, *[""] * (2 * top - len(cells))]  # a model may have fewer units


def term_cells(term: Term) -> tuple[str, str]:
    """Name and contribution of a unit; models that are not additive have no contributions."""
    return term.unit.name, "" if term.contribution is None else f"{term.contribution:.6f}"


def numbers(values: Iterable[float]) -> list[str]:
    """Numbers as text."""
    return [f"{value:.6f}" for value in values]
