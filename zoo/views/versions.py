"""A page about two versions of a model: the inputs and the units that changed most."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from zoo.views.document import document
from zoo.views.markup import escape
from zoo.views.wide_table import STYLE, wide_table

UNITS = 30  # that are listed
NAMES, UNIT_NAMES = ("input", "before", "after"), ("unit before", "unit after", "matched by")
LOOK = (
    ".zoo td.moved{font-weight:600}"
    ".zoo tr.changed td.answer,.zoo tr.changed .answer a{color:var(--down);font-weight:600}"
)


def versions_page(
    summary: Mapping[str, Any],
    names: tuple[str, str],
    rows: Sequence[Mapping[str, Any]],
    verdicts: Sequence[str] = (),
    note: str = "",
) -> str:
    """The page.

    Args:
        summary: `Comparison.to_dict()` of `zoo.audit.versions`.
        names: of the two models.
        rows: of inputs, the most changed first: "input", "before" and "after" (answers), "overlap", "changed", and
            "page", the file name of the pages in the folders before/ and after/, or "".
        verdicts: sentences about thresholds that were exceeded.
        note: a sentence below the number of changed answers.
    """
    shares = [f"{share:.1%}" if share else "None" for share in (summary["answers changed"], summary["reasons changed"])]
    warned = "".join(f"<p class='warning'>{escape(text)}</p>" for text in verdicts)
    body = (
        f"<h1>What changed between two versions</h1><article><p class='title'>before: <bdi>{escape(names[0])}</bdi>"
        f"<br>after: <bdi>{escape(names[1])}</bdi></p>{warned}"
        f"<h2>{shares[0]} <span class='share'>of {summary['inputs']:,} answers changed</span></h2>"
        f"{f'<p>{escape(note)}</p>' if note else ''}"
        f"<h2>{shares[1]} <span class='share'>kept the answer for other reasons</span></h2>"
        f"<p class='note'>Reasons are the shares of the units in an answer. They count as changed if both versions "
        f"have less than {summary['least overlap']:.0%} of them in common; the mean is {summary['mean overlap']:.1%}."
        f"</p></article>{_inputs(rows)}{_units(summary['units'])}"
    )
    return document("What changed between two versions", body, STYLE + LOOK)


def _inputs(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = "".join(
        f"<tr class='{'changed' if row['changed'] else ''}'><td class='name'><bdi>{escape(row['input'])}</bdi></td>"
        f"{_answer(row, 'before')}{_answer(row, 'after')}<td>{row['overlap']:.1%}</td></tr>"
        for row in rows
    )
    return (
        "<article><h3>Inputs that changed most</h3><p class='note'>Changed answers are orange; they come first. A link "
        f"opens the explanation by that version.</p>{wide_table(NAMES, ('reasons in common',), lines)}</article>"
    )


def _answer(row: Mapping[str, Any], side: str) -> str:
    text = f"<bdi>{escape(row[side])}</bdi>"
    link = f"<a href='{escape(f'./{side}/' + quote(row['page']))}'>{text}</a>" if row["page"] else text
    return f"<td class='name answer'>{link}</td>"


def _units(units: Sequence[Mapping[str, Any]]) -> str:
    lines = "".join(
        f"<tr><td class='name'><bdi>{escape(unit['first'] or '–')}</bdi></td><td class='name'>"
        f"<bdi>{escape(unit['second'] or '–')}</bdi></td><td class='name'>{_how(unit)}</td>"
        f"<td>{unit['before']:.4g}</td><td>{unit['after']:.4g}</td><td class='moved'>{unit['moved']:.4g}</td></tr>"
        for unit in units[:UNITS]
    )
    more = f"<p class='note'>… and {len(units) - UNITS} more in units.csv.</p>" if len(units) > UNITS else ""
    return (
        "<article><h3>Units that moved most</h3><p class='note'>Mean size of the contribution (of the importance, if a "
        "version is not additive) over all inputs, and mean size of its change.</p>"
        f"{wide_table(UNIT_NAMES, ('size before', 'size after', 'change'), lines)}{more}</article>"
    )


def _how(unit: Mapping[str, Any]) -> str:
    if not unit["how"]:
        return "only after" if not unit["first"] else "only before"
    return f"similarity {unit['similarity']:.2f}" if unit["how"] == "similarity" else unit["how"]
