"""Concepts that the user annotated: a CSV with a row for each image, and perhaps groups of concepts."""

import csv
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean

RESERVED = ("path", "label", "split")  # so that one file may list images and concepts
SHOWN = 5  # mistakes of a kind that a message spells out


class Row(NamedTuple):
    """One line of the table: its number, the path as written, the file that it means, and the concepts."""

    line: int
    text: str
    file: Path
    values: list[float]


class Concepts(NamedTuple):
    """Concepts of N images.

    Attributes:
        names: of the k concepts.
        groups: names of the concepts of each group.
        labels: (N, k) in {0, 1, NaN}, NaN where nobody annotated.
    """

    names: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    labels: Tensor


def read_concepts(
    path: Path,
    root: Path,
    files: Sequence[Path],
    groups: Path | Mapping[str, Sequence[str]] | None = None,
    exclusive: Sequence[str] = (),
) -> Concepts:
    """Reads the concepts of images from a CSV: the column path, and one for each concept with 1, 0 or nothing.

    Columns named label or split are no concepts. Rows of images that are there but not among `files` do not count.

    Args:
        path: of the CSV.
        root: folder that the paths in it are relative to.
        files: the N images.
        groups: concepts by group, or a CSV with the columns concept and group.
        exclusive: groups of which exactly one concept is present in every image that is annotated.

    Raises:
        FileNotFoundError: no such CSV, or it lists images that are not there.
        ValueError: anything else that is wrong with it; the message names the file, the line and the remedy.
    """
    names, rows = _read_rows(path, root)
    lost = [f"line {row.line}: {row.text}" for row in rows.values() if not row.file.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{path} lists {_some(lost, 'image')} not in {root}. Correct the paths, or remove those rows."
        )
    bare = [str(_inside(file, root)) for file in files if _plain(file) not in rows]
    if bare:
        raise ValueError(
            f"{path} has no row for {_some(bare, 'image')} in {root}. Add rows (empty cells where nobody annotated), "
            "or remove those images."
        )
    members = _read_groups(groups, names, path)
    _check_exclusive(path, names, members, exclusive, rows.values())
    labels = torch.tensor([rows[_plain(file)].values for file in files]).view(len(files), len(names))
    return Concepts(names, members, labels)


def warn_of_constants(path: Path, names: Sequence[str], labels: Tensor) -> None:
    """Warns of concepts that have one value only in all labels (N, k) to train on: nothing can be learned of them."""
    absent, present = (labels == 0).any(0), (labels == 1).any(0)
    for name, zero, one in zip(names, absent.tolist(), present.tolist(), strict=True):
        if not (zero and one):
            what = "0 in every training image" if zero else "1 in every training image" if one else "not annotated"
            warnings.warn(f"{path}: concept '{name}' is {what}; nothing can be learned of it.", stacklevel=2)


def _read_rows(path: Path, root: Path) -> tuple[tuple[str, ...], dict[Path, Row]]:
    """The names of the concepts, and the rows by image file."""
    lines = _lines(path)
    header = [cell.strip() for cell in next(lines, (0, []))[1]]
    if "path" not in header:
        raise ValueError(
            f"{path} has no column path (found: {', '.join(header) or 'nothing'}); its first line must name the "
            "columns: path and one for each concept, separated by commas."
        )
    columns = {i: name for i, name in enumerate(header) if name not in RESERVED}
    names = tuple(columns.values())
    if not names:
        raise ValueError(f"{path} has no concepts; add a column for each, with 1, 0 or nothing in it.")
    if "" in names or len(set(header)) < len(header):
        twice = next(name for name in header if not name or header.count(name) > 1)
        problem = f"the column '{twice}' twice" if twice else "a column without a name"
        raise ValueError(f"{path}, line 1: {problem}; every concept needs a name of its own.")
    rows: dict[Path, Row] = {}
    for line, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {line} has {len(cells)} cells; expected {len(header)}, as the first line has. Put names "
                "with commas in double quotes."
            )
        text = cells[header.index("path")].strip()
        if not text:
            raise ValueError(f"{path}, line {line}: path is empty; name the image, or remove the row.")
        row = Row(line, text, _plain(root / text), [_value(path, line, columns[i], cells[i]) for i in columns])
        if (before := rows.setdefault(row.file, row)) is not row:
            raise ValueError(f"{path}, lines {before.line} and {line} are both of {text}; keep one of them.")
    return names, rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV that are not empty, with their numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"no concept table at {path}.")
    with path.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.reader(opened)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is no CSV in UTF-8 ({error}); save it as one.") from error


def _value(path: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell.strip() or "nan")
    except ValueError:
        value = math.inf
    if value not in (0.0, 1.0) and not math.isnan(value):
        raise ValueError(
            f"{path}, line {line}: concept '{name}' is '{cell}'; expected 1 (present), 0 (absent) or an empty cell "
            "(not annotated)."
        )
    return value


def _read_groups(
    groups: Path | Mapping[str, Sequence[str]] | None, names: Sequence[str], table: Path
) -> dict[str, tuple[str, ...]]:
    """Concepts by group, checked against the names of `table`."""
    where = "concept_groups"
    if isinstance(groups, Mapping):
        listed = [("", group, name) for group, members in groups.items() for name in members or [""]]
    elif groups is not None:
        where, listed = str(groups), _group_rows(groups)
    else:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    group_of: dict[str, str] = {}
    for place, group, name in listed:
        at = f"{where}{place}"
        if not name:
            raise ValueError(f"{at}: group '{group}' names no concept; name some of {table}, or remove the group.")
        if name not in names:
            raise ValueError(
                f"{at}: group '{group}' names '{name}', no concept of {table}; {did_you_mean(name, names)}"
            )
        if name in group_of:
            again = "twice" if group_of[name] == group else f"and in group '{group_of[name]}'"
            raise ValueError(f"{at}: concept '{name}' is in group '{group}' {again}; leave it in one of them, once.")
        group_of[name] = group
        found[group] = (*found.get(group, ()), name)
    return found


def _group_rows(path: Path) -> list[tuple[str, str, str]]:
    """Place in the file, group and concept of each row."""
    lines = _lines(path)
    header = [cell.strip() for cell in next(lines, (0, []))[1]]
    if sorted(header) != ["concept", "group"]:
        raise ValueError(
            f"{path} must have the columns concept and group, a row for each concept; found: "
            f"{', '.join(header) or 'nothing'}."
        )
    rows = []
    for line, cells in lines:
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if len(cells) != 2 or not row["group"]:
            raise ValueError(f"{path}, line {line}: expected a concept and its group; got '{', '.join(cells)}'.")
        rows.append((f", line {line}", row["group"], row["concept"]))
    return rows


def _check_exclusive(
    path: Path, names: Sequence[str], groups: Mapping[str, Sequence[str]], exclusive: Sequence[str], rows: Iterable[Row]
) -> None:
    for group in exclusive:
        if group not in groups:
            raise ValueError(f"exclusive names '{group}', which is not a concept group; {did_you_mean(group, groups)}")
    columns = {group: [names.index(name) for name in groups[group]] for group in exclusive}
    for row in rows:
        for group, members in columns.items():
            values = [row.values[i] for i in members]
            present = values.count(1.0)
            if present > 1 or (present == 0 and not any(map(math.isnan, values))):
                raise ValueError(
                    f"{path}, line {row.line}: {present} concepts of the exclusive group '{group}' are present; "
                    "expected exactly one. Correct the row, or take the group out of exclusive."
                )


def _plain(file: Path) -> Path:
    """The path without "..", so that two ways to write it are the same file."""
    return Path(os.path.normpath(file))


def _inside(file: Path, root: Path) -> Path:
    return file.relative_to(root) if file.is_relative_to(root) else file


def _some(found: Sequence[str], noun: str) -> str:
    r"""E.g. "2 images (line 3: a.png; line 9: b.png)": how many, and the first of them."""
    more = "; ..." if len(found) > SHOWN else ""
    return f"{len(found)} {noun}{'s' * (len(found) > 1)} ({'; '.join(found[:SHOWN])}{more})"
