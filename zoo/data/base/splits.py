"""The splits of data that the user provides, and the checks that training needs."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from zoo.utils.csv_files import TableRow

SPLITS = ("train", "val", "test")


def split_of(row: TableRow) -> str:
    """The split that a table's row names in the column split; "train" if there is no such column, or it is empty.

    Raises:
        ValueError: another name.
    """
    split = row.cells.get("split", "").strip() or "train"
    if split not in SPLITS:
        raise ValueError(f"{row.where}: split is '{split}'; expected train, val or test.")
    return split


def check_class_sizes(counts: Mapping[str, int], splits: Set[str], where: Path, noun: str) -> None:
    """Refuses fewer than two classes, or a class too small for every missing split to get an item of it.

    Args:
        counts: number of training items by class.
        splits: the splits that are given; the others are held out of the training items.
        where: file or folder, for the message.
        noun: of the items, such as "images".

    Raises:
        ValueError: too few classes or items.
    """
    if len(counts) < 2:
        raise ValueError(
            f"{where} has {len(counts)} class{'es' * (not counts)} to train on ({', '.join(counts) or 'none'}); a "
            "classifier needs two or more."
        )
    held = [split for split in ("val", "test") if split not in splits]
    needed = 1 + len(held)
    for label, count in sorted(counts.items()):
        if count < needed:
            raise ValueError(
                f"{where}: class '{label}' has only {count} training {noun}; {needed} are needed, because there is no "
                f"{' and no '.join(held)} split and one of every class is held out for each."
            )


def check_labels(labels: Mapping[str, Sequence[str]], where: Path) -> None:
    """Refuses a split that is empty, or has labels that the train split lacks.

    Args:
        labels: of all items by split.
        where: file or folder, for the message.

    Raises:
        ValueError: names the split.
    """
    known = set(labels["train"])
    for split, found in labels.items():
        if not found:
            raise ValueError(f"{where}: the {split} split is empty; fill it, or remove it to hold out a part of train.")
        if unknown := sorted(set(found) - known):
            raise ValueError(
                f"{where}: the {split} split has classes that the train split lacks: {', '.join(unknown[:5])}."
            )
