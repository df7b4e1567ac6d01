"""The logical combination of attributes that describes best when a unit fires, for all units at once.

Mu, Andreas: "Compositional Explanations of Neurons", NeurIPS 2020, arXiv 2006.14032; with one attribute: Bau, Zhou,
Khosla, Oliva, Torralba: "Network Dissection", CVPR 2017, arXiv 1704.05796.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.utils.checks import check_at_least

MEMORY = 1 << 26  # numbers of the largest tensor of a block of units
MOST_ROWS = 1 << 24  # whole numbers that fp32 tells apart
SPARE = 3  # candidates for each place of the beam, of which equal ones are dropped
OPERATIONS = ("AND", "AND NOT", "OR", "OR NOT")


@dataclass(frozen=True)
class Compositions:
    """A formula for each of U units: up to L attributes, combined from left to right.

    Attributes:
        terms: (U, L) numbers of attributes, -1 where the formula has ended.
        operations: (U, L) numbers in `OPERATIONS`; of the first term 0, or 1 for NOT.
        iou: (U,) intersection over union with the rows where the unit fires, in the rows of the search.
    """

    terms: Tensor
    operations: Tensor
    iou: Tensor

    def holds(self, attributes: Tensor) -> Tensor:
        """(N, U) bool: where the formula of each unit is true, for attributes (N, A); an empty one is false."""
        mask = torch.zeros(len(attributes), len(self.terms), dtype=torch.bool, device=attributes.device)
        for place in range(self.terms.shape[1]):
            term, operation = self.terms[:, place], self.operations[:, place]
            literal = attributes.bool()[:, term.clamp_min(0)] ^ (operation % 2 == 1)
            joined = torch.where(operation < 2, mask & literal, mask | literal) if place else literal
            mask = torch.where(term >= 0, joined, mask)
        return mask

    def texts(self, names: Sequence[str]) -> list[str]:
        """Each formula in words, such as "(red AND NOT round) OR large"; "" for an empty one."""
        formulas = torch.stack([self.terms, self.operations], 2).tolist()  # (U, L, 2)
        return [_text([(str(names[t]), int(o)) for t, o in formula if t >= 0]) for formula in formulas]


def _text(literals: Sequence[tuple[str, int]]) -> str:
    text, last = "", ""
    for name, operation in literals:
        word = OPERATIONS[operation]
        if not text:
            text = f"NOT {name}" if operation else name
            continue
        joiner = word.split()[0]
        text = f"({text})" if last and last != joiner else text
        text, last = f"{text} {word} {name}", joiner
    return text


def intersection_over_union(fired: Tensor, holds: Tensor) -> Tensor:
    """(U,) of two sets of rows (N, U) bool for each unit; 0 where both are empty."""
    both, either = (fired & holds).sum(0), (fired | holds).sum(0)
    return both / either.clamp_min(1)


@torch.no_grad()
def compose(fired: Tensor, attributes: Tensor, length: int = 3, beam: int = 20, gain: float = 0.02) -> Compositions:
    """Finds the formula of highest intersection over union with each unit by beam search.

    The first beam has the best attributes and negations; each step joins one more by AND, AND NOT, OR or OR NOT. All
    units, formulas and attributes of a step are counted by two matrix products: of the formulas with the attributes,
    and of their intersections with the unit. With `length` 1 and no negation it is the score of Network Dissection.

    What no step of a beam reaches is not found: "(a AND b) OR c" needs "a AND b" to be among the best pairs.

    Differs from the published code: a longer formula must be better by `gain`, equal formulas of the beam count once,
    and a formula may begin with a negation.

    Args:
        fired: (N, U) bool, the rows in which each unit fires.
        attributes: (N, A) bool. Those that are the same in all rows are not used.
        length: largest number of attributes of a formula.
        beam: formulas that are kept in each step.
        gain: of the intersection over union, that a further attribute must bring.

    Raises:
        ValueError: other shapes or types, no rows or too many, or a number out of range.
    """
    check_at_least(1, length=length, beam=beam)
    check_at_least(0, gain=gain)
    for name, value in (("fired", fired), ("attributes", attributes)):
        if value.ndim != 2 or value.dtype != torch.bool:
            raise ValueError(f"{name} must be bool of shape (rows, {name}); got {value.dtype} {tuple(value.shape)}.")
    rows = len(fired)
    if not 0 < rows < MOST_ROWS or len(attributes) != rows:
        raise ValueError(f"expected the same 1 to {MOST_ROWS:,} rows of both; got {rows:,} and {len(attributes):,}.")
    varies = (attributes.any(0) & ~attributes.all(0)).nonzero()[:, 0]
    units = fired.shape[1]
    found = Compositions(
        torch.full((units, length), -1, device=fired.device),
        torch.zeros(units, length, dtype=torch.long, device=fired.device),
        torch.zeros(units, device=fired.device),
    )
    if not len(varies):
        return found
    known = attributes[:, varies].float()
    block = max(MEMORY // max(beam * rows, 4 * beam * len(varies)), 1)
    for start in range(0, units, block):
        here = slice(start, start + block)
        terms, operations, iou = _search(fired[:, here].T.float(), known, length, beam, gain)
        found.terms[here] = torch.where(terms >= 0, varies[terms.clamp_min(0)], -1)
        found.operations[here], found.iou[here] = operations, iou
    return found


def _search(fires: Tensor, known: Tensor, length: int, beam: int, gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """Terms, operations and intersection over union of units that fire in some rows (u, N), by attributes (N, A)."""
    rows = fires.shape[1]
    size, count = fires.sum(1)[:, None], known.sum(0)  # (u, 1), (A,)
    shared = fires @ known  # (u, A)
    inner = torch.stack([shared, size - shared], 1).flatten(1)
    whole = torch.stack([count, rows - count]).flatten().expand_as(inner)
    chosen, best = _beam(inner, whole, size, beam)
    width = known.shape[1]
    terms, operations = (chosen % width)[..., None], (chosen // width)[..., None]  # (u, k, 1)
    masks = known.T[terms[..., 0]]  # (u, k, N)
    masks = torch.where(operations == 1, 1 - masks, masks)
    result = (terms[:, 0], operations[:, 0], best[:, 0])
    for _ in range(1, length):
        area, hit = masks.sum(2)[..., None], (masks * fires[:, None]).sum(2)[..., None]  # (u, k, 1)
        both = masks @ known  # (u, k, A)
        all_three = (masks * fires[:, None]) @ known
        inner = (all_three, hit - all_three, hit + shared[:, None] - all_three, (size - shared)[:, None] + all_three)
        whole = (both, area - both, area + count - both, rows - count + both)
        inner, whole = (torch.stack(parts, 2).flatten(1) for parts in (inner, whole))  # (u, k 4 A)
        chosen, best = _beam(inner, whole, size, beam)
        parent, operation, term = chosen // (4 * width), chosen // width % 4, chosen % width
        of = parent[..., None]
        literal = torch.where((operation % 2 == 1)[..., None], 1 - known.T[term], known.T[term])
        old = masks.gather(1, of.expand(-1, -1, rows))
        masks = torch.where((operation < 2)[..., None], old * literal, torch.maximum(old, literal))
        terms = torch.cat([terms.gather(1, of.expand(-1, -1, terms.shape[2])), term[..., None]], 2)
        operations = torch.cat([operations.gather(1, of.expand(-1, -1, operations.shape[2])), operation[..., None]], 2)
        better = best[:, 0] > result[2] + gain
        result = tuple(
            torch.where(better[:, None] if new.ndim == 2 else better, new, padded)
            for new, padded in (
                (terms[:, 0], torch.nn.functional.pad(result[0], (0, 1), value=-1)),
                (operations[:, 0], torch.nn.functional.pad(result[1], (0, 1))),
                (best[:, 0], result[2]),
            )
        )
    silent = size[:, 0] == 0
    return result[0].masked_fill(silent[:, None], -1), result[1], result[2]


def _beam(inner: Tensor, whole: Tensor, size: Tensor, beam: int) -> tuple[Tensor, Tensor]:
    """Numbers and values (u, k) of the candidates of highest intersection over union, best first.

    Args:
        inner: (u, n) rows where the candidate is true and the unit fires.
        whole: (u, n) rows where the candidate is true.
        size: (u, 1) rows where the unit fires.
        beam: k, at most n.
    """
    iou = inner / (size + whole - inner).clamp_min(1)
    value, place = iou.sort(dim=1, descending=True, stable=True)
    value, place = value[:, : SPARE * beam], place[:, : SPARE * beam]
    pair = torch.stack([inner.gather(1, place), whole.gather(1, place)], -1)
    same = (pair[:, :, None] == pair[:, None]).all(-1).tril(-1).any(-1)  # true in as many rows as a better one
    order = same.long().argsort(dim=1, stable=True)[:, : min(beam, place.shape[1])]
    return place.gather(1, order), value.gather(1, order)
