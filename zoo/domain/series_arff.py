"""Series in Weka's ARFF, the other format of the UCR and UEA archives."""

import csv
import re
from pathlib import Path

from torch import Tensor

from zoo.domain.series_files import Labelled, joined, label_text, same_variables
from zoo.utils.paths import read_text

ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
LINES = re.compile(r"\\n|\n")  # between the variables of a relational cell


def read_arff(path: Path, gaps: bool = False) -> Labelled:
    r"""Reads one series per line: a number for each step, or one cell of several variables, and the label last.

    Series of several variables are a relational attribute: a quoted cell, its variables separated by "\n". A "?" is a
    missing value; at the end it shortens the series.

    Args:
        path: of the file.
        gaps: read missing values inside of a series as NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no data or no label as its last attribute, is sparse, a line has another number of
            cells than there are attributes, or a value is not a number or is missing; names the line.
    """
    series: list[Tensor] = []
    labels: list[str] = []
    attributes: list[str] = []
    depth, data, relational = 0, False, False
    for number, line in enumerate(read_text(path, "file of series").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        if data:
            where = f"{path}, line {number}"
            one, label = _line(text, len(attributes), relational, where, gaps)
            series.append(same_variables(one, series, where))
            labels.append(label)
        elif text.lower().startswith("@data"):
            data = True
            if len(attributes) < 2 or (relational and len(attributes) != 2):
                raise ValueError(
                    f"{path} has {len(attributes)} attributes; expected one for each step, or one relational "
                    "attribute, and the label as the last."
                )
        elif text.lower().startswith("@end"):
            depth -= 1
        elif found := ATTRIBUTE.match(text):
            is_relation = found[2].strip().lower() == "relational"
            if depth == 0:
                attributes.append(found[1].strip("'\""))
                relational |= is_relation
            depth += is_relation
    if not series:
        raise ValueError(f"{path} has no series after a line '@data'.")
    return series, labels


def _line(text: str, attributes: int, relational: bool, where: str, gaps: bool) -> tuple[Tensor, str]:
    if text.startswith("{"):
        raise ValueError(f"{where} is in the sparse format; write all values.")
    quote = text[0] if text[0] in "'\"" else "'"
    try:
        cells = next(csv.reader([text], quotechar=quote, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"{where} cannot be read ({error}); check its quotes.") from None
    if len(cells) != attributes:
        raise ValueError(f"{where} has {len(cells)} cells; expected {attributes}, one per attribute.")
    columns = [line.split(",") for line in LINES.split(cells[0])] if relational else [cells[:-1]]
    return joined(columns, where, gaps), label_text(cells[-1].strip().strip("'\""))
