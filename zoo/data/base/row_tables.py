"""Tables of the user as rows of texts: from a CSV or TSV file, or from a data frame of pandas or polars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.utils.csv_files import Table, TableRow, read_table
from zoo.utils.paths import expand

FRAME = Path("the data frame")  # its name in messages


def table_of(source: Any, required: Sequence[str] = ()) -> Table:
    """Reads a table.

    Args:
        source: path of a CSV or TSV file, or a data frame of pandas or polars.
        required: columns that must be there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, lacks a column, or names one twice.
        TypeError: something else.
    """
    if isinstance(source, str | Path):
        return read_table(expand(source), required)
    columns = [str(name).strip() for name in getattr(source, "columns", ())]
    if not is_frame(source):
        raise TypeError(
            f"a table is the path of a CSV or TSV file, or a data frame of pandas or polars; got "
            f"{type(source).__name__}."
        )
    for name in (*required, *columns):
        if columns.count(name) != 1:
            many = "twice" if name in columns else f"not (found: {', '.join(columns) or 'nothing'})"
            raise ValueError(f"{FRAME} has the column '{name}' {many}; every column needs its own name.")
    records = source.iter_rows() if hasattr(source, "iter_rows") else source.itertuples(index=False, name=None)
    rows = [
        TableRow(FRAME, number, dict(zip(columns, map(_text, cells), strict=True)), "row")
        for number, cells in enumerate(records)
    ]
    return Table(FRAME, tuple(columns), rows)


def is_frame(source: Any) -> bool:
    """Whether something is a data frame of pandas or polars; imports neither."""
    return type(source).__module__.partition(".")[0] in ("pandas", "polars") and hasattr(source, "columns")


def name_of(source: Any) -> str:
    """Name of a table, for the names of its items."""
    return expand(source).name if isinstance(source, str | Path) else str(FRAME)


def _text(cell: Any) -> str:
    """A cell as a file has it; "" for null, NaN and NaT."""
    return "" if cell is None or cell != cell or str(cell) == "<NA>" else str(cell)
