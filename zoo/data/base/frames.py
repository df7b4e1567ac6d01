"""The user's tables as polars data frames: CSV, TSV and Parquet files, and data frames of pandas and polars."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zoo.domain.columns import NOT_A_NUMBER
from zoo.utils.csv_files import Record, columns_and_records, delimiter_of
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need
from zoo.utils.paths import check_file, expand

if TYPE_CHECKING:
    import polars as pl

LARGE = 1 << 20  # bytes of a file, from which it is first tried to read it at once
CHUNK = 20_000  # rows of a file that are held as Python texts at a time


class Frame(NamedTuple):
    """A table of texts with the place of each row.

    Attributes:
        cells: (N, columns) texts without surrounding blanks, "" for null and NaN; names are unique.
        name: of the file or files, for messages.
        lines: number of each row's first line in its file, for messages; of a data frame, its place from 0.
        files: number of each row's file in `names`.
        names: of the files.
        noun: what a number of `lines` is called.
    """

    cells: "pl.DataFrame"
    name: str
    lines: "np.ndarray"
    files: "np.ndarray"
    names: tuple[str, ...]
    noun: str = "line"

    def where(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.names[self.files[row]]}, {self.noun} {self.lines[row]}"

    def column(self, name: str) -> "pl.Series":
        """A column by name.

        Raises:
            ValueError: there is none; the message has the closest name.
        """
        if name not in self.cells.columns:
            raise ValueError(f"{self.name} has no column '{name}'; {did_you_mean(name, self.cells.columns)}")
        return self.cells[name]


def read_frame(source: Any) -> Frame:
    """Reads a table.

    Args:
        source: the path of a CSV, TSV or Parquet file, a list of paths whose files have the same columns, or a data
            frame of polars or pandas.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file cannot be read, has no rows, names a column twice, or has other columns than the first.
        TypeError: something else.
        ImportError: polars is not installed (the extra `table`).
    """
    if isinstance(source, str | Path | list | tuple):
        paths = [expand(p) for p in (source if isinstance(source, list | tuple) else [source])]
        if not paths:
            raise ValueError("no table was given; give the path of a file.")
        parquet = [path.suffix.lower() == ".parquet" for path in paths]
        frames = [_parquet(p) if is_parquet else _text_file(p) for p, is_parquet in zip(paths, parquet, strict=True)]
        return frames[0] if len(frames) == 1 else joined(frames)
    cells = _from_data_frame(source)
    return _checked(Frame(cells, "the data frame", *_rows(len(cells), 0), ("the data frame",), "row"))


def joined(frames: Sequence[Frame]) -> Frame:
    """Several tables as one, with the columns of the first.

    Raises:
        ValueError: a table lacks a column of the first.
    """
    pl = need("polars", "table")
    first = frames[0]
    for frame in frames[1:]:
        if missing := [name for name in first.cells.columns if name not in frame.cells.columns]:
            raise ValueError(f"{frame.name} has no column '{missing[0]}', which {first.name} has.")
    starts = np.cumsum([0, *(len(frame.names) for frame in frames[:-1])])
    return Frame(
        pl.concat([frame.cells.select(first.cells.columns) for frame in frames]),
        ", ".join(dict.fromkeys(frame.name for frame in frames)),
        np.concatenate([frame.lines for frame in frames]),
        np.concatenate([frame.files + start for frame, start in zip(frames, starts, strict=True)]),
        tuple(name for frame in frames for name in frame.names),
        first.noun,
    )


def frame_of(
    path: Path, columns: list[str], records: Iterator[Record], clean: Callable[[list[str]], list[str]] = list
) -> Frame:
    """The records of a file as a table, read in chunks.

    Args:
        path: of the file.
        columns: their names.
        records: with one cell for each column.
        clean: changes the cells of a row.

    Raises:
        ValueError: no records, or a column without a name.
    """
    pl = need("polars", "table")
    parts: list[Any] = []
    lines: list[int] = []
    while chunk := list(islice(records, CHUNK)):
        cells = zip(*(clean(record.cells) for record in chunk), strict=True)
        parts.append(pl.DataFrame({n: _stripped(pl.Series(c)) for n, c in zip(columns, cells, strict=True)}))
        lines += [record.line for record in chunk]
    if not parts:
        raise ValueError(f"{path} has no rows below its first line.")
    rows = len(lines)
    return _checked(Frame(pl.concat(parts), str(path), np.array(lines), np.zeros(rows, dtype=int), (str(path),)))


def _text_file(path: Path) -> Frame:
    columns, records = columns_and_records(path)
    simple = _simple_file(path, columns) if path.stat().st_size >= LARGE else None
    return frame_of(path, columns, records) if simple is None else simple


def _simple_file(path: Path, columns: list[str]) -> Frame | None:
    """A file without quotes, whose lines all have one cell for each column, read at once; None for any other file."""
    pl = need("polars", "table")
    content, separator = path.read_bytes(), delimiter_of(path, "table")
    if any(mark in content for mark in (b'"', b"\0")) or b"\r" in content.replace(b"\r\n", b"\n"):
        return None
    try:
        lines = pl.Series(content.decode("utf-8-sig").removesuffix("\n").split("\n"))
    except UnicodeDecodeError:
        return None
    if len(columns) < 2 or not bool((lines.str.count_matches(separator, literal=True) == len(columns) - 1).all()):
        return None
    rows = len(lines) - 1
    del lines
    cells = pl.read_csv(content, separator=separator, infer_schema=False, quote_char=None, new_columns=columns)
    if cells.shape != (rows, len(columns)):
        return None
    stripped = pl.DataFrame({name: _stripped(cells[name].fill_null("")) for name in columns})
    if bool(stripped.select(pl.all_horizontal(pl.all() == "").any()).item()):  # empty lines are skipped
        return None
    return _checked(Frame(stripped, str(path), *_rows(rows, 2), (str(path),)))


def _parquet(path: Path) -> Frame:
    pl = need("polars", "table")
    check_file(path, "table")
    try:
        cells = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from error
    return _checked(Frame(_texts(cells), str(path), *_rows(len(cells), 1), (str(path),), "row"))


def _rows(count: int, start: int) -> tuple["np.ndarray", "np.ndarray"]:
    return np.arange(start, start + count), np.zeros(count, dtype=int)


def _checked(frame: Frame) -> Frame:
    """Refuses a table without rows, or with a column without a name."""
    if not len(frame.cells):
        raise ValueError(f"{frame.name} has no rows.")
    if "" in frame.cells.columns:
        raise ValueError(f"{frame.name} has a column without a name; name it, or remove it.")
    return frame


def _stripped(text: "pl.Series") -> "pl.Series":
    text = text.str.strip_chars()
    return text.set(text.str.to_lowercase() == NOT_A_NUMBER, "")


def _texts(cells: "pl.DataFrame") -> "pl.DataFrame":
    """All columns as texts.

    Raises:
        ValueError: two columns of the same name, or cells that are lists or other things.
    """
    pl = need("polars", "table")
    columns = {}
    for column in cells.get_columns():
        name = column.name.strip()
        if name in columns:
            raise ValueError(f"the column '{name}' is named twice; every column needs its own name.")
        if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
            raise ValueError(f"column '{name}' has cells of type {column.dtype}; give numbers, texts or dates.")
        if column.dtype.is_float():
            numbers = column.fill_nan(None).drop_nulls().to_numpy()
            if len(numbers) and (numbers == numbers.round()).all() and np.abs(numbers).max() < 1e15:
                column = column.fill_nan(None).cast(pl.Int64)  # what a data frame with missing cells has as 1.0
        columns[name] = _stripped(column.cast(pl.String).fill_null(""))
    return pl.DataFrame(columns)


def _from_data_frame(source: Any) -> "pl.DataFrame":
    pl = need("polars", "table")
    if isinstance(source, pl.DataFrame):
        return _texts(source)
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        names = [str(name).strip() for name in source.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the column '{twice}' is named twice; every column needs its own name.")
        return _texts(pl.DataFrame({name: _from_pandas(source.iloc[:, i]) for i, name in enumerate(names)}))
    raise TypeError(
        f"a table is the path of a CSV, TSV or Parquet file, a list of paths, or a data frame of pandas or polars; got "
        f"{type(source).__name__}."
    )


def _from_pandas(column: Any) -> "pl.Series":
    """A column, without the need of pyarrow: numbers as they are, all else as texts."""
    pl = need("polars", "table")
    if column.dtype.kind in "iuf" and not hasattr(column.dtype, "na_value"):
        return pl.Series(column.to_numpy())
    cells = [None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]
    return pl.Series(cells, dtype=pl.String)
