"""Tables with one measurement in each row: a time, a value of each variable, and the series that they belong to."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from zoo.domain.series_files import number_of
from zoo.domain.series_gaps import TimedSeries
from zoo.domain.series_times import time_of
from zoo.utils.csv_files import Table, TableRow
from zoo.utils.errors import did_you_mean


class LongSeries(NamedTuple):
    """One series of a long table.

    Attributes:
        name: cell of the column of names.
        series: values (S, V) and their times; the times are 0, 1, ... without a column of times.
        rows: of the table, in the order of time.
    """

    name: str
    series: TimedSeries
    rows: list[TableRow]


def read_long(
    table: Table, variables: Sequence[str], name: str = "", time: str = "", unit: str = "step", gaps: bool = False
) -> list[LongSeries]:
    """The series of a long table, in the order of their first rows; rows of a series need not be together.

    Args:
        table: as it was read.
        variables: names of the V columns of values.
        name: of the column that tells which series a row belongs to; "" if the table is a single series.
        time: of the column of times; "" if rows are in order.
        unit: of time.
        gaps: read empty cells, "NA" and the like as NaN.

    Raises:
        ValueError: a column is missing, a cell is not a number or a time, or a series has two rows of the same time;
            names the line.
    """
    for column in (*variables, *filter(None, (name, time))):
        if column not in table.columns:
            raise ValueError(f"{table.path} has no column '{column}'; {did_you_mean(column, table.columns)}")
    groups: dict[str, list[tuple[float, TableRow]]] = {}
    for number, row in enumerate(table.rows):
        label = row.cells[name].strip() if name else ""
        if name and not label:
            raise ValueError(f"{row.where}: '{name}' is empty; it tells which series a row belongs to.")
        rows = groups.setdefault(label, [])
        rows.append((_time(row, time, unit) if time else float(number if not name else len(rows)), row))
    return [_series(label, rows, variables, time, gaps) for label, rows in groups.items()]


def _time(row: TableRow, column: str, unit: str) -> float:
    try:
        return time_of(row.cells[column], unit)
    except ValueError as error:
        raise ValueError(f"{row.where}: '{column}' {error}.") from None


def _series(
    name: str, rows: list[tuple[float, TableRow]], variables: Sequence[str], time: str, gaps: bool
) -> LongSeries:
    rows = sorted(rows, key=lambda entry: entry[0])
    for (before, _), (after, row) in pairwise(rows):
        if before == after:
            series = f"series '{name}'" if name else "the series"
            raise ValueError(f"{row.where}: {series} has two rows with the {time} '{row.cells[time]}'; keep one.")
    values = [[number_of(row, v, gaps) for v in variables] for _, row in rows]
    times = torch.tensor([t for t, _ in rows], dtype=torch.float64)
    series = TimedSeries(torch.tensor(values).view(len(rows), len(variables)), times)
    return LongSeries(name, series, [row for _, row in rows])
