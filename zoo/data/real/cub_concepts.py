"""The annotated attributes of CUB-200-2011 as concepts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

IMAGE_LABELS, CLASS_PERCENTAGES = "image_attribute_labels.txt", "class_attribute_labels_continuous.txt"
NOT_VISIBLE = 1  # a certainty
MIN_CLASSES = 10  # Koh et al. keep attributes that at least 10 classes have

# The 112 attributes (from 0) of Koh et al. (ICML 2020). A constant, because their script uses an unseeded shuffle, so
# that running it again gives other attributes.
# fmt: off
KOH_112 = (
    1, 4, 6, 7, 10, 14, 15, 20, 21, 23, 25, 29, 30, 35, 36, 38, 40, 44, 45, 50, 51, 53, 54, 56, 57, 59, 63, 64, 69, 70,
    72, 75, 80, 84, 90, 91, 93, 99, 101, 106, 110, 111, 116, 117, 119, 125, 126, 131, 132, 134, 145, 149, 151, 152, 153,
    157, 158, 163, 164, 168, 172, 178, 179, 181, 183, 187, 188, 193, 194, 196, 198, 202, 203, 208, 209, 211, 212, 213,
    218, 220, 221, 225, 235, 236, 238, 239, 240, 242, 243, 244, 249, 253, 254, 259, 260, 262, 268, 274, 277, 283, 289,
    292, 293, 294, 298, 299, 304, 305, 308, 309, 310, 311,
)
# fmt: on


class Attributes(NamedTuple):
    """Concepts of N images.

    Attributes:
        names: of the k concepts.
        groups: names of the concepts of each group, such as all colours of the wing.
        labels: (N, k) in {0, 1}.
        visible: (N, k), False where the annotator marked the part as not visible; None if not annotated.
    """

    names: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    labels: Tensor
    visible: Tensor | None


def read_attributes(root: Path, targets: Tensor, level: str) -> Attributes:
    """Reads the attributes of the images of an official folder.

    If the folder has labels of every image: the 112 attributes of Koh et al., of each image ("image") or by majority
    vote over the images of each class ("class": "absent" does not count where the part was not visible; ties count as
    present). If it has only percentages of classes ("class"): an attribute is present if at least half of the
    annotations agree; kept are those that at least 10 classes have and at least one does not have.

    Args:
        root: folder with attributes.txt (there or beside it) and attributes/.
        targets: (N,) classes of the images, in the order of images.txt.
        level: "class" or "image".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not fit the images.
    """
    texts = _attribute_names(root)
    file = root / "attributes" / IMAGE_LABELS
    if file.is_file():
        present, certainty = _image_labels(file, len(targets), len(texts))
        columns, visible = torch.tensor(KOH_112), ~((certainty == NOT_VISIBLE) & ~present)
        labels = present if level == "image" else majority(present, visible, targets)[targets]
    elif level == "image":
        raise FileNotFoundError(f"{root / 'attributes'} has no {IMAGE_LABELS}; choose concepts: class.")
    else:
        of_class, visible = _class_percentages(root, len(texts)) >= 50, None
        held = of_class.sum(0)
        columns = ((held >= MIN_CLASSES) & (held < len(of_class))).nonzero().flatten()
        labels = of_class[targets]
    chosen = [texts[c] for c in columns.tolist()]
    groups: dict[str, tuple[str, ...]] = {}
    for text in chosen:
        group = text.split(":")[0]
        groups[group] = (*groups.get(group, ()), text)
    seen = None if visible is None else visible[:, columns]
    return Attributes(tuple(chosen), groups, labels[:, columns].float(), seen)


def majority(present: Tensor, visible: Tensor, targets: Tensor) -> Tensor:
    """(C, A) majority vote over the images (N, A) of each class in which the part is visible; ties count as present."""
    classes = int(targets.max()) + 1
    votes = torch.zeros(2, classes, present.shape[1])
    votes[0].index_add_(0, targets, (present & visible).float())
    votes[1].index_add_(0, targets, (~present & visible).float())
    return votes[0] >= votes[1]


def _attribute_names(root: Path) -> list[str]:
    """Readable names of the attributes: "1 has_wing_color::blue" becomes "wing color: blue"."""
    places = [root / "attributes.txt", root / "attributes" / "attributes.txt", root.parent / "attributes.txt"]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"no attributes.txt in or beside {root}; concepts need it.")
    rows = [line.split(maxsplit=1)[1] for line in found.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [row.removeprefix("has_").replace("::", ": ").replace("_", " ") for row in rows]


def _image_labels(file: Path, images: int, attributes: int) -> tuple[Tensor, Tensor]:
    """Presence (bool) and certainty of every attribute of every image, (N, A)."""
    rows = [line.split()[:4] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    table = np.array(rows, dtype=np.int64)  # some official lines have an extra column after these four
    if len(table) != images * attributes:
        raise ValueError(
            f"{file} has {len(table)} lines; expected {images} images x {attributes} attributes = "
            f"{images * attributes}. Unpack the data set again."
        )
    table = torch.from_numpy(table[np.lexsort((table[:, 1], table[:, 0]))])
    return table[:, 2].view(images, attributes) == 1, table[:, 3].view(images, attributes)


def _class_percentages(root: Path, attributes: int) -> Tensor:
    file = root / "attributes" / CLASS_PERCENTAGES
    if not file.is_file():
        raise FileNotFoundError(
            f"{root / 'attributes'} has neither {IMAGE_LABELS} nor {CLASS_PERCENTAGES}; concepts need one of them."
        )
    table = torch.from_numpy(np.loadtxt(file, dtype=np.float32, ndmin=2))
    if table.shape[1] != attributes:
        raise ValueError(f"{file} has {table.shape[1]} columns; attributes.txt names {attributes} attributes.")
    return table
