"""Raw inputs as people name them: files, folders, rows of a table, texts in quotes."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from zoo.domain import Domain
from zoo.domain.image import ENDINGS

ENDINGS_OF = {"image": ENDINGS, "text": {".txt"}, "code": {".py", ".txt"}, "table": {".csv"}}
ENDINGS_OF |= {"series": {".csv", ".npy"}}
ROW = re.compile(r" row \d+$")  # what names a row of a table, after the path


class Literal(str):
    """A text given on the command line instead of a file."""

    stem = "text"


@dataclass(frozen=True)
class TableRow:
    """One row of a table of several; rows count from 1, as people do."""

    path: Path
    number: int
    values: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return f"{self.path} row {self.number}"

    @property
    def stem(self) -> str:
        """Name of its page."""
        return f"{self.path.stem}-row-{self.number}"

    @property
    def name(self) -> str:
        """What it is called on its page."""
        return f"{self.path.name} row {self.number}"


Input = Path | Literal | TableRow


def inputs_of(inputs: Iterable[str], domain: Domain) -> Iterator[Input]:
    """What is named by paths and texts, one by one; folders are searched for what the domain reads.

    Raises:
        ValueError: a file of another kind where a text may be meant.
    """
    for given in inputs:
        path = Path(given)
        if _is_dir(path):
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS_OF[domain.modality])
            yield from chain.from_iterable(map(_rows, found)) if domain.modality == "table" else found
        elif domain.modality in ("text", "code") and path.suffix.lower() not in ENDINGS_OF[domain.modality]:
            # A word with a dot inside is no text, but may well be code.
            if " " not in given and (_is_file(path) or (domain.modality == "text" and path.suffix)):
                endings = " and ".join(sorted(ENDINGS_OF[domain.modality]))
                raise ValueError(
                    f"{given} looks like a file; {domain.noun} are read from {endings} files, or given in quotes."
                )
            yield Literal(given)
        elif domain.modality == "table":
            yield from _rows(path)
        else:
            yield path


def _rows(path: Path) -> Iterator[Input]:
    """The rows of a table with several; a table of one is read as a file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            rows = [tuple(row.items()) for row in csv.DictReader(opened)]
    except (OSError, UnicodeDecodeError):
        rows = []  # reading it as a file says what is wrong
    if len(rows) < 2:
        yield path
    else:
        yield from (TableRow(path, number, values) for number, values in enumerate(rows, 1))


def read(file: Input, domain: Domain) -> Tensor:
    """The input that a file, a row of one, or a text is.

    Raises:
        OSError, ValueError: it cannot be read, or does not fit the domain.
    """
    if isinstance(file, Path):
        return domain.read(file)
    if isinstance(file, Literal):
        return domain.preprocess(str(file))  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return domain.preprocess(dict(file.values))  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def modified(file: Input) -> int | None:
    """When a file was last changed, in nanoseconds; None of a text."""
    try:
        path = file.path if isinstance(file, TableRow) else file
        return None if isinstance(path, Literal) else path.stat().st_mtime_ns
    except OSError:  # no file, such as a text that an earlier call was given
        return None


def unique_stems(files: list[Input]) -> dict[Input, str]:
    """A name for each input's page; inputs of one name from different folders get numbers."""
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


def last_change(text: str) -> int | None:
    """When the file of an input named `text`, as `str` gives it, was last changed; None if there is no file."""
    return modified(Path(ROW.sub("", text)))
