"""Raw inputs as users name them: files, folders, rows of a table, texts in quotes."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from zoo.domain import CodeDomain, Domain, TableDomain, TextDomain

ROW = re.compile(r" row \d+$")  # follows the path in the name of a row of a table


class Literal(str):
    """A text given on the command line instead of a file."""

    stem = "text"


@dataclass(frozen=True)
class TableRow:
    """One row of a table with several.

    Attributes:
        path: of the table.
        number: of the row, from 1.
        values: name and text of each cell.
    """

    path: Path
    number: int
    values: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return f"{self.path} row {self.number}"

    @property
    def stem(self) -> str:
        """Name of its page's file, without the ending."""
        return f"{self.path.stem}-row-{self.number}"

    @property
    def name(self) -> str:
        """Title of its page."""
        return f"{self.path.name} row {self.number}"


Input = Path | Literal | TableRow


def inputs_of(inputs: Iterable[str], domain: Domain) -> Iterator[Input]:
    """Finds the inputs that paths and texts name; folders are searched for files that the domain reads.

    Raises:
        ValueError: for a domain of texts, a file of another kind.
    """
    for given in inputs:
        path = Path(given)
        if _is_dir(path):
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in domain.endings)
            yield from chain.from_iterable(map(_rows, found)) if isinstance(domain, TableDomain) else found
        elif isinstance(domain, TextDomain | CodeDomain) and path.suffix.lower() not in domain.endings:
            # A single word with a dot inside is a file for a domain of texts, but may well be code.
            if " " not in given and (_is_file(path) or (isinstance(domain, TextDomain) and path.suffix)):
                endings = " and ".join(sorted(domain.endings))
                raise ValueError(
                    f"{given} looks like a file; {domain.noun} are read from {endings} files, or given in quotes."
                )
            yield Literal(given)
        elif isinstance(domain, TableDomain):
            yield from _rows(path)
        else:
            yield path


def _rows(path: Path) -> Iterator[Input]:
    """The rows of a table with several; the path of a table with one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            rows = [tuple(row.items()) for row in csv.DictReader(opened)]
    except (OSError, UnicodeDecodeError):
        rows = []  # `domain.read` raises the error
    if len(rows) < 2:
        yield path
    else:
        yield from (TableRow(path, number, values) for number, values in enumerate(rows, 1))


def read(file: Input, domain: Domain) -> Tensor:
    """Reads a file, a row of a table, or a text into an input tensor without batch dimension.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not fit the domain.
    """
    if isinstance(file, Literal) and isinstance(domain, TextDomain | CodeDomain):
        return domain.preprocess(str(file))
    if isinstance(file, Path):
        return domain.read(file)
    if not isinstance(file, TableRow) or not isinstance(domain, TableDomain):
        raise ValueError(f"a domain of {domain.noun} does not read {file!r}; give it a file.")
    try:
        return domain.preprocess(dict(file.values))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def modified(file: Input) -> int | None:
    """Time of a file's last change in nanoseconds; None if it is a text or does not exist."""
    try:
        path = file.path if isinstance(file, TableRow) else file
        return None if isinstance(path, Literal) else path.stat().st_mtime_ns
    except OSError:
        return None


def last_change(text: str) -> int | None:
    """Time of the last change of an input's file in nanoseconds, by the input's text `str(input)`; None if none."""
    return modified(Path(ROW.sub("", text)))


def unique_stems(files: list[Input]) -> dict[Input, str]:
    """A file name, without ending, for each input's page; inputs of the same name get numbers."""
    stems: dict[Input, str] = {}
    taken: set[str] = {"index"}
    for file in files:
        stem, n = file.stem, 2
        while stem in taken:
            stem, n = f"{file.stem}-{n}", n + 1
        taken.add(stem)
        stems[file] = stem
    return stems


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a text may be longer than any path
        return False
