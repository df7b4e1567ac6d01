"""Groups of concepts given by the user, as a mapping or as a CSV."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.utils.csv_files import read_table
from zoo.utils.errors import did_you_mean


class Membership(NamedTuple):
    """A concept in a group.

    Attributes:
        where: where it is given, for error messages.
        group: name of the group.
        concept: name of the concept; "" if the group is empty.
    """

    where: str
    group: str
    concept: str


def read_groups(
    groups: Path | Mapping[str, Sequence[str]] | None, names: Sequence[str], table: Path
) -> dict[str, tuple[str, ...]]:
    """Concepts by group.

    Args:
        groups: concepts by group, or a CSV with the columns concept and group.
        names: of all concepts.
        table: where the concepts are annotated, for error messages.

    Raises:
        FileNotFoundError: no such CSV.
        ValueError: an empty group, an unknown concept, a concept in two groups, or other columns.
    """
    found: dict[str, tuple[str, ...]] = {}
    group_of: dict[str, str] = {}
    for where, group, name in _memberships(groups):
        if not name:
            raise ValueError(f"{where}: group '{group}' names no concept; name some of {table}, or remove the group.")
        if name not in names:
            raise ValueError(
                f"{where}: group '{group}' names '{name}', no concept of {table}; {did_you_mean(name, names)}"
            )
        if name in group_of:
            again = "twice" if group_of[name] == group else f"and in group '{group_of[name]}'"
            raise ValueError(f"{where}: concept '{name}' is in group '{group}' {again}; leave it in one of them, once.")
        group_of[name] = group
        found[group] = (*found.get(group, ()), name)
    return found


def _memberships(groups: Path | Mapping[str, Sequence[str]] | None) -> Iterable[Membership]:
    if groups is None:
        return
    if isinstance(groups, Mapping):
        for group, members in groups.items():
            yield from (Membership("concept_groups", group, name) for name in members or [""])
        return
    table = read_table(groups, what="table of concept groups")
    if sorted(table.columns) != ["concept", "group"]:
        raise ValueError(
            f"{groups} must have the columns concept and group, a row for each concept; found: "
            f"{', '.join(table.columns) or 'nothing'}."
        )
    for row in table.rows:
        group, concept = row.cells["group"].strip(), row.cells["concept"].strip()
        if not group:
            raise ValueError(f"{row.where}: the group of concept '{concept}' is empty; name it, or remove the row.")
        yield Membership(row.where, group, concept)
