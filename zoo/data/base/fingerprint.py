"""A short description of data that changes when the data change: splits, their sizes, and a hash of their items."""

import hashlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zoo.data.base.items import Items, Part
from zoo.data.base.masks import FileMasks
from zoo.data.base.module import DataModule

BYTES = 1 << 28  # larger arrays are not hashed; their items are distinguished by names and targets


def fingerprint(data: DataModule, names: Sequence[str] = ("train", "val", "test")) -> dict[str, dict[str, Any]]:
    """For each split the number of items and a SHA-256 of their names, targets and, for small arrays, inputs.

    Pictures in files are distinguished by name and target: their pixels are not read. Files of masks, which only
    trainings use, have a hash of their own ("masks"), except in the test split.

    Args:
        data: whose splits to read.
        names: of these splits.
    """
    read = {"train": data.projection_dataset, "val": data.val_dataset, "test": data.test_dataset}
    datasets = {name: read[name]() for name in names}
    found: dict[str, dict[str, Any]] = {}
    for name, dataset in datasets.items():
        found[name] = {"items": len(dataset), "sha256": _digest(dataset)}
        whole, rows = (dataset.dataset, dataset.indices) if isinstance(dataset, Part) else (dataset, None)
        if name != "test" and isinstance(masks := getattr(whole, "masks", None), FileMasks):
            found[name]["masks"] = {"sha256": masks.digest(range(len(masks.paths)) if rows is None else rows)}
    return found


def _digest(items: Any) -> str:
    """SHA-256 of the items of a data set; "unknown" if it is not one of this library."""
    if not isinstance(items, Items):
        return "unknown"
    digest = hashlib.sha256()
    whole, rows = (items.dataset, items.indices) if isinstance(items, Part) else (items, slice(None))
    if (known := getattr(whole, "digest", None)) is not None:  # of all items, where their names would have to be read
        digest.update(f"{known} {rows}".encode())
    else:
        for i in range(len(items)):
            digest.update(items.name(i).encode(errors="surrogatepass") + b"\0")
    cells = [getattr(whole, name, None) for name in (("values", "hot") if hasattr(whole, "hot") else ("inputs",))]
    for numbers in (whole.targets, *cells):
        if isinstance(numbers, Tensor) and numbers.nbytes <= BYTES:
            digest.update(numbers[rows].contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
