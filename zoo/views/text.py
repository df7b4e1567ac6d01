"""An explanation as a table of text, for a terminal."""

from zoo.explanation import Explanation
from zoo.views.sums import printed_sum, weight_of


def table(explanation: Explanation, top: int = 8) -> str:
    """One block a row: the answer, its largest terms by name, and the sum."""
    return "\n\n".join(_block(one, top) for one in explanation)


def _block(one: Explanation, top: int) -> str:
    share = "" if one.probability is None else f", probability {one.probability.item():.1%}"
    head = f"{one.target_names[0]}: {one.space} {one.score.item():.3f}{share}"
    if one.contributions is None:
        rows = [(term.unit.name, f"{term.activation:.3f}") for term in one.top(top)[0]]
        note = "  (ranked by activation: this model's score is no sum of its units)"
        return "\n".join([head, *_aligned([("unit", "activation"), *rows]), note])
    shown = printed_sum(one, top)
    rows = [("unit", "activation", "weight", "contribution")]
    for term, contribution in zip(shown.terms, shown.shown, strict=True):
        weight = weight_of(term)
        rows.append(
            (
                term.unit.name,
                f"{term.activation:.3f}",
                "" if weight is None else f"{weight:+.3f}",
                f"{contribution:+.3f}",
            )
        )
    if shown.others:
        rows.append((f"{shown.others} other units", "", "", f"{shown.rest:+.3f}"))
    elif shown.rest:
        rows.append(("rounding", "", "", f"{shown.rest:+.3f}"))
    rows.append(("bias", "", "", f"{shown.bias:+.3f}"))
    rows.append(("score", "", "", f"{shown.score:+.3f}"))
    return "\n".join([head, *_aligned(rows)])


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + row[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
