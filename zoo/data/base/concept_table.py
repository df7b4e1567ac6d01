"""Concepts annotated by the user: a CSV with a row for each image, and optionally groups of concepts."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.base.concept_groups import read_groups
from zoo.utils.csv_files import TableRow, read_table
from zoo.utils.errors import did_you_mean

RESERVED = ("path", "label", "split")  # columns that are not concepts, so that one file may list images and concepts
SHOWN = 5  # mistakes of a kind that a message lists


class Annotated(NamedTuple):
    """The concepts of one image.

    Attributes:
        line: number of its line in the table.
        text: the path as written.
        file: the path of the image.
        values: k values in {0, 1, NaN}.
    """

    line: int
    text: str
    file: Path
    values: list[float]


class Concepts(NamedTuple):
    """Concepts of N images.

    Attributes:
        names: of the k concepts.
        groups: names of the concepts of each group.
        labels: (N, k) in {0, 1, NaN}, NaN where not annotated.
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
    """Reads the concepts of images from a CSV with the column path, and one column per concept with 1, 0 or nothing.

    Columns named label or split are ignored, and so are rows of existing images that are not among `files`.

    Args:
        path: of the CSV.
        root: folder to which the paths in it are relative.
        files: the N images.
        groups: concepts by group, or a CSV with the columns concept and group.
        exclusive: groups of which exactly one concept is present in every annotated image.

    Raises:
        FileNotFoundError: no such CSV, or it lists images that do not exist.
        ValueError: anything else that is wrong with it; the message names the file, the line and the remedy.
    """
    names, rows = _read_rows(path, root)
    lost = [f"line {row.line}: {row.text}" for row in rows.values() if not row.file.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{path} lists {_some(lost, 'image')} not in {root}. Correct the paths, or remove those rows."
        )
    bare = [str(_inside(file, root)) for file in files if _normal(file) not in rows]
    if bare:
        raise ValueError(
            f"{path} has no row for {_some(bare, 'image')} in {root}. Add rows (with empty cells where not annotated), "
            "or remove those images."
        )
    members = read_groups(groups, names, path)
    for group in exclusive:
        if group not in members:
            raise ValueError(f"exclusive names '{group}', which is not a concept group; {did_you_mean(group, members)}")
        columns = [names.index(name) for name in members[group]]
        for row in rows.values():
            _check_exclusive(path, row, group, [row.values[column] for column in columns])
    labels = torch.tensor([rows[_normal(file)].values for file in files]).view(len(files), len(names))
    return Concepts(names, members, labels)


def warn_of_constants(path: Path, names: Sequence[str], labels: Tensor) -> None:
    """Warns of concepts with a single value in all training labels (N, k): they cannot be learned."""
    absent, present = (labels == 0).any(0), (labels == 1).any(0)
    for name, zero, one in zip(names, absent.tolist(), present.tolist(), strict=True):
        if not (zero and one):
            what = "0 in every training image" if zero else "1 in every training image" if one else "not annotated"
            warnings.warn(f"{path}: concept '{name}' is {what}; it cannot be learned.", stacklevel=2)


def _read_rows(path: Path, root: Path) -> tuple[tuple[str, ...], dict[Path, Annotated]]:
    """The names of the concepts, and the rows by image file."""
    table = read_table(path, ["path"], "concept table")
    names = tuple(name for name in table.columns if name not in RESERVED)
    if not names:
        raise ValueError(f"{path} has no concepts; add a column for each, with 1, 0 or nothing in it.")
    if "" in names:
        raise ValueError(f"{path}, line 1: a column without a name; every concept needs its own name.")
    rows: dict[Path, Annotated] = {}
    for row in table.rows:
        text = row.cells["path"].strip()
        if not text:
            raise ValueError(f"{row.where}: path is empty; name the image, or remove the row.")
        found = Annotated(row.line, text, _normal(root / text), [_value(row, name) for name in names])
        if (before := rows.setdefault(found.file, found)) is not found:
            raise ValueError(f"{path}, lines {before.line} and {row.line} are both of {text}; keep one of them.")
    return names, rows


def _value(row: TableRow, name: str) -> float:
    try:
        value = float(row.cells[name].strip() or "nan")
    except ValueError:
        value = math.inf
    if value not in (0.0, 1.0) and not math.isnan(value):
        raise ValueError(
            f"{row.where}: concept '{name}' is '{row.cells[name]}'; expected 1 (present), 0 (absent) or an empty cell "
            "(not annotated)."
        )
    return value


def _check_exclusive(path: Path, row: Annotated, group: str, values: Sequence[float]) -> None:
    """Refuses an image with several concepts of an exclusive group, or with none although all are annotated."""
    present = values.count(1.0)
    if present > 1 or (present == 0 and not any(map(math.isnan, values))):
        raise ValueError(
            f"{path}, line {row.line}: {present} concepts of the exclusive group '{group}' are present; "
            "expected exactly one. Correct the row, or remove the group from exclusive."
        )


def _normal(file: Path) -> Path:
    """The path without "..", so that two ways to write it are equal."""
    return Path(os.path.normpath(file))


def _inside(file: Path, root: Path) -> Path:
    return file.relative_to(root) if file.is_relative_to(root) else file


def _some(found: Sequence[str], noun: str) -> str:
    """The number of mistakes and the first of them, such as "2 images (line 3: a.png; line 9: b.png)"."""
    more = "; ..." if len(found) > SHOWN else ""
    return f"{len(found)} {noun}{'s' * (len(found) > 1)} ({'; '.join(found[:SHOWN])}{more})"
