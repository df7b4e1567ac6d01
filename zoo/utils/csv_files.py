"""Reading CSV and TSV files: every error names the file and the line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.utils.numbers import to_float
from zoo.utils.paths import check_file

LONGEST = 1 << 24  # characters of a cell; the csv module's own limit of 131,072 is below the length of a long text
TABLES = frozenset({".csv", ".tsv"})  # endings
DELIMITERS = (",", ";", "\t")
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        line: number of its first line, from 1.
        cells: its cells.
    """

    line: int
    cells: list[str]


class TableRow(NamedTuple):
    """One row of a table.

    Attributes:
        path: of the file.
        line: number of its first line, from 1.
        cells: by name of the column.
        noun: what a number of a `line` is called.
    """

    path: Path
    line: int
    cells: dict[str, str]
    noun: str = "line"

    @property
    def where(self) -> str:
        """File and line, for error messages."""
        return f"{self.path}, {self.noun} {self.line}"

    @property
    def name(self) -> str:
        """File name and line, as the name of an item."""
        return f"{self.path.name}, {self.noun} {self.line}"

    def number(self, column: str) -> float:
        """The number in a column.

        Raises:
            ValueError: it is not a finite 32-bit float; names the file, the line and the column.
        """
        try:
            return to_float(self.cells[column])
        except ValueError as error:
            raise ValueError(f"{self.where}: '{column}' {error}.") from None


class Table(NamedTuple):
    """A file whose first line names its columns.

    Attributes:
        path: of the file.
        columns: names of the columns in order; "" for a column without a name.
        rows: all further lines that are not empty.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[TableRow]


def read_table(path: Path, required: Sequence[str] = (), what: str = "table") -> Table:
    """Reads a CSV or TSV file whose first line names the columns.

    Cells are separated by tabs if the name ends in .tsv; otherwise by whatever separates the names in the first line:
    commas, semicolons or tabs. The text is UTF-8, or UTF-16 with a byte order mark. Empty lines are skipped.

    Args:
        path: of the file.
        required: columns that must be there.
        what: the expected content, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not regular, is not such a text, lacks a column, names a column twice, or has a line
            with more or fewer cells than the first.
    """
    columns, records = columns_and_records(path, required, what)
    rows = [TableRow(path, line, dict(zip(columns, cells, strict=True))) for line, cells in records]
    return Table(path, tuple(columns), rows)


def columns_and_records(
    path: Path, required: Sequence[str] = (), what: str = "table"
) -> tuple[list[str], Iterator[Record]]:
    """The names of the columns of a file, and its further records, which are read one after the other.

    Args:
        path: of the file.
        required: columns that must be there.
        what: the expected content, for messages.

    Raises:
        FileNotFoundError, ValueError: see `read_table`.
    """
    records = read_records(path, delimiter_of(path, what), what=what)
    first = next(records, None)
    columns = [] if first is None else [cell.strip() for cell in first.cells]
    for name in required:
        if name not in columns:
            raise ValueError(
                f"{path} has no column '{name}' (found: {', '.join(columns) or 'nothing'}); the first line must name "
                "the columns."
            )
    for name in columns:
        if name and columns.count(name) > 1:
            raise ValueError(f"{path}, line 1 names the column '{name}' twice; every column needs its own name.")
    return columns, _checked(records, path, len(columns))


def _checked(records: Iterator[Record], path: Path, count: int) -> Iterator[Record]:
    for record in records:
        if len(record.cells) != count:
            raise ValueError(
                f"{path}, line {record.line} has {len(record.cells)} cells; expected {count}, as in the first line. "
                "Put cells that contain the separator in double quotes."
            )
        yield record


def columns_of(path: Path, what: str = "table") -> list[str]:
    """The cells of the first line that is not empty, without surrounding blanks; none if the file is empty.

    Raises:
        FileNotFoundError, ValueError: see `read_table`.
    """
    first = next(read_records(path, delimiter_of(path, what), what=what), None)
    return [] if first is None else [cell.strip() for cell in first.cells]


def read_records(path: Path, delimiter: str, quotes: bool = True, what: str = "table") -> Iterator[Record]:
    """The records of a file that are not empty, in order.

    Args:
        path: of the file, in UTF-8, or UTF-16 with a byte order mark.
        delimiter: the character between two cells.
        quotes: whether double quotes around a cell protect delimiters and line breaks in it.
        what: the expected content, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not regular, or not such a text; the message names the line.
    """
    check_file(path, what)
    with path.open("rb") as opened:
        encoding = BYTE_ORDER_MARKS.get(opened.read(2), "utf-8-sig")
    with path.open(newline="", encoding=encoding) as opened:
        reader = csv.reader(
            opened,
            delimiter=delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            quotechar='"' if quotes else None,
        )
        while True:
            line = reader.line_num + 1
            limit = csv.field_size_limit(LONGEST)
            try:
                cells = next(reader, None)
            except UnicodeDecodeError as error:
                place = f"{path}, line {_line_of(path, encoding)}"
                raise ValueError(f"{place} is not UTF-8 text ({error.reason}); save the file as UTF-8.") from error
            except csv.Error as error:
                raise ValueError(
                    f"{path}, line {line} cannot be read ({error}); check its double quotes: a quote inside a quoted "
                    "cell is written twice."
                ) from error
            finally:
                csv.field_size_limit(limit)
            if cells is None:
                return
            if "\0" in "".join(cells):
                raise ValueError(f"{path}, line {line} contains NUL characters; save the file as UTF-8 text.")
            if any(cell.strip() for cell in cells):
                yield Record(line, cells)


def delimiter_of(path: Path, what: str) -> str:
    """What separates the names in the first line."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    for delimiter in DELIMITERS:
        try:
            first = next(read_records(path, delimiter, what=what), None)
        except ValueError:  # such as '"a,b";c', which commas do not separate; reading the table reports other errors
            continue
        if first is not None and len(first.cells) > 1:
            return delimiter
    return DELIMITERS[0]


def _line_of(path: Path, encoding: str) -> int:
    """Number of the line with the first bytes that are not text in this encoding."""
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        return content[: error.start].count(b"\n") + 1
    return 1
