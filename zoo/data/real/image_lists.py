"""Which images a data set consists of: folders by class, or a CSV that lists them."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zoo.data.base.splits import SPLITS, check_class_sizes, check_labels, split_of
from zoo.domain import ImageDomain, fault_of
from zoo.utils.csv_files import read_table
from zoo.utils.paths import find_files

SHOWN = 5  # faults that a message lists


class LabelledImage(NamedTuple):
    """One image of a data set.

    Attributes:
        path: of the file.
        label: name of its class.
        where: where it is listed, for error messages.
    """

    path: Path
    label: str
    where: str


ImagesBySplit = dict[str, list[LabelledImage]]


def read_folders(root: Path) -> ImagesBySplit:
    """The images of root/<split>/<class>/ or root/<class>/, by split, sorted by path. Links are followed.

    Raises:
        ValueError: a class folder without images, or val/ or test/ without train/.
    """
    splits = {name: root / name for name in SPLITS if (root / name).is_dir()}
    if splits and "train" not in splits:
        raise ValueError(
            f"{root} has {' and '.join(f'{name}/' for name in splits)} but no train/. Add train/<class>/ beside, or, "
            "if these are classes and not splits, list the images in a CSV and give it as data.init_args.csv."
        )
    images: ImagesBySplit = {}
    for split, folder in (splits or {"train": root}).items():
        images[split] = []
        for label in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            files = find_files(label, ImageDomain.endings)
            if not files:
                endings = ", ".join(sorted(ImageDomain.endings))
                raise ValueError(f"class folder {label} has no images ({endings}); fill it or remove it.")
            images[split] += [LabelledImage(file, label.name, str(file)) for file in files]
    return images


def read_csv(path: Path, root: Path) -> ImagesBySplit:
    """The images listed in a CSV with the columns path, label and optionally split, by split.

    Args:
        path: of the CSV.
        root: folder to which the paths in it are relative.

    Raises:
        FileNotFoundError: no CSV, or it lists files that do not exist.
        ValueError: a column is missing, a cell is empty, or a split is not train, val or test.
    """
    table = read_table(path, ("path", "label"), "CSV")
    images: ImagesBySplit = {}
    lost = []
    for row in table.rows:
        file, label = (row.cells[column].strip() for column in ("path", "label"))
        if not file or not label:
            raise ValueError(f"{row.where}: path and label must not be empty; got {file!r}, {label!r}.")
        if not (root / file).exists():
            lost.append(f"line {row.line}: {file}")
        images.setdefault(split_of(row), []).append(LabelledImage(root / file, label, f"line {row.line}"))
    if lost:
        raise FileNotFoundError(f"{path} lists {len(lost)} files that are not in {root} ({'; '.join(lost[:SHOWN])}).")
    return images


def check_images(images: Mapping[str, list[LabelledImage]], where: Path) -> None:
    """Refuses, before training starts, images that could not be trained on.

    Args:
        images: by split.
        where: the folder or the CSV.

    Raises:
        ValueError: too few classes, too few images of a class, a class that is not in the training split, an image that
            occurs twice, or an image that cannot be read.
    """
    labels = {split: [image.label for image in listed] for split, listed in images.items()}
    check_class_sizes(Counter(labels.get("train", ())), set(images), where, "images")
    check_labels(labels, where)
    _check_duplicates([image for listed in images.values() for image in listed], where)
    bad = [
        f"{image.path.name!a}: {fault}" if fault == NAME_FAULT else f"{image.path.name}: {fault}"
        for listed in images.values()
        for image in listed
        if (fault := _fault_of_name(image.path) or fault_of(image.path))
    ]
    if bad:
        raise ValueError(
            f"{where}: {len(bad)} images cannot be read ({'; '.join(bad[:SHOWN])}). Repair or remove them."
        )


NAME_FAULT = "the file name is not UTF-8"


def _fault_of_name(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return NAME_FAULT
    return ""


def _check_duplicates(images: list[LabelledImage], where: Path) -> None:
    """Refuses a file that occurs twice, also under two names (links): it could be in two classes or two splits."""
    first: dict[str, LabelledImage] = {}
    for image in images:
        other = first.setdefault(os.path.realpath(image.path), image)
        if other is not image:
            raise ValueError(
                f"{where}: the same image is listed twice, as '{other.label}' ({other.where}) and as '{image.label}' "
                f"({image.where}); keep one of them."
            )
