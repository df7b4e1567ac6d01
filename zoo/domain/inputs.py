"""Raw inputs as users name them: files, folders, rows of a table, texts in quotes."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from zoo.domain import Domain, TextDomain

LONGEST_STEM = 60  # characters, of up to four bytes each
ROW = re.compile(r" row \d+$")  # follows the path in the name of a row of a table


class Literal(str):
    """A text given on the command line instead of a file."""

    stem = "text"


@dataclass(frozen=True)
class Row:
    """One row of a file with several inputs.

    Attributes:
        path: of the file.
        number: of the row, from 1.
        raw: the input, as `Domain.preprocess` takes it.
    """

    path: Path
    number: int
    raw: Any = field(compare=False, repr=False)

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


Input = Path | Literal | Row


def inputs_of(inputs: Iterable[str], domain: Domain) -> Iterator[Input]:
    """Finds the inputs that paths and texts name; folders are searched for files that the domain reads.

    Raises:
        ValueError: for a domain whose inputs may be texts in quotes, a file of another kind.
    """
    for given in inputs:
        path = Path(given)
        if _is_dir(path):
            yield from chain.from_iterable(_rows(found, domain) for found in domain.files(path))
        elif domain.quoted and path.suffix.lower() not in domain.endings:
            # A single word with a dot inside is a file for a domain of texts, but may well be code.
            if " " not in given and (_is_file(path) or (isinstance(domain, TextDomain) and path.suffix)):
                endings = ", ".join(sorted(domain.endings))
                raise ValueError(
                    f"{given} looks like a file; {domain.noun} are read from {endings} files, or given in quotes."
                )
            yield Literal(given)
        else:
            yield from _rows(path, domain)


def _rows(path: Path, domain: Domain) -> Iterator[Input]:
    """The rows of a file with several; the path of any other file."""
    try:
        rows = domain.rows(path)
    except (OSError, ValueError):
        rows = []  # `domain.read` raises the error, for this input alone
    if len(rows) < 2:
        yield path
    else:
        yield from (Row(path, number, raw) for number, raw in enumerate(rows, 1))


class Reading(NamedTuple):
    """One input as it was read.

    Attributes:
        x: the input tensor, without batch dimension.
        text: as it was written; "" for other modalities.
        warnings: what makes the answer doubtful, see `Domain.warnings`.
    """

    x: Tensor
    text: str
    warnings: tuple[str, ...]


def read_input(file: Input, domain: Domain) -> Reading:
    """Reads a file, a row of one, or a text.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not fit the domain.
    """
    if isinstance(file, Literal) and not domain.quoted:
        raise ValueError(f"a domain of {domain.noun} does not read {file!r}; give it a file.")
    raw = file.raw if isinstance(file, Row) else str(file) if isinstance(file, Literal) else domain.raw(file)
    try:
        x = domain.preprocess(raw)
    except ValueError as error:
        raise (error if isinstance(file, Literal) else ValueError(f"{file}: {error}")) from None
    return Reading(x, raw if isinstance(raw, str) else "", tuple(domain.warnings(raw, x)))


def read(file: Input, domain: Domain) -> Tensor:
    """Reads a file, a row of one, or a text into an input tensor without batch dimension.

    Raises:
        OSError, ValueError: see `read_input`.
    """
    return read_input(file, domain).x


def modified(file: Input) -> int | None:
    """Time of a file's last change in nanoseconds; None if it is a text or does not exist."""
    try:
        path = file.path if isinstance(file, Row) else file
        return None if isinstance(path, Literal) else path.stat().st_mtime_ns
    except OSError:
        return None


def last_change(text: str) -> int | None:
    """Time of the last change of an input's file in nanoseconds, by the input's text `str(input)`; None if none."""
    return modified(Path(ROW.sub("", text)))


def unique_stems(files: Iterable[Input], taken: Mapping[str, str] | None = None) -> dict[Input, str]:
    """A file name, without ending, for each input's page.

    What is not printable is replaced by "_". A name so changed, or shortened because the longest file name has 255
    bytes, ends in a hash of the input; inputs of the same name get numbers.

    Args:
        files: the inputs.
        taken: names that inputs, by `str(input)`, got earlier: an input keeps its own, no other gets it.
    """
    stems: dict[Input, str] = {}
    earlier = dict(taken or {})
    used = {"index", *(stem.casefold() for stem in earlier.values())}
    for file in files:
        if (stem := earlier.get(str(file))) is None:
            short = _short(file)
            stem, n = short, 2
            while stem.casefold() in used:
                stem, n = f"{short}-{n}", n + 1
        used.add(stem.casefold())
        stems[file] = stem
    return stems


def _short(file: Input) -> str:
    stem = "".join(c if c.isprintable() else "_" for c in file.stem)
    if stem == file.stem and len(stem) <= LONGEST_STEM:
        return stem
    digest = hashlib.sha256(str(file).encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{stem[: LONGEST_STEM - 10]}-{digest}"


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
