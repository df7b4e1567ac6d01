"""A short description of data that changes when the data do: splits, their sizes, and a hash of their items."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.module import DataModule, Items, Part

BYTES = 1 << 28  # of numbers in memory that are hashed themselves; more are told apart by name and target


def fingerprint(data: DataModule) -> dict[str, dict[str, Any]]:
    """For each split the number of items and a SHA-256 of their names, targets and, of small arrays, inputs.

    Pictures in files are told apart by name and target: their pixels are not read.
    """
    return {
        split: {"items": len(dataset), "sha256": _digest(dataset)}  # pyright: ignore[reportArgumentType]
        for split, dataset in _splits(data)
    }


def _splits(data: DataModule) -> Iterator[tuple[str, Dataset]]:
    yield "train", data.projection_dataset()
    yield "val", data.val_dataset()
    yield "test", data.test_dataset()


def _digest(dataset: Dataset) -> str:
    items, rows = dataset, None
    while isinstance(items, Part):
        rows = list(items.indices) if rows is None else [items.indices[row] for row in rows]
        items = items.dataset
    if not isinstance(items, Items):
        return "unknown"
    rows = list(range(len(items))) if rows is None else rows
    digest = hashlib.sha256()
    for row in rows:
        digest.update(items.name(row).encode(errors="surrogatepass") + b"\0")
    for numbers in (items.targets, getattr(items, "inputs", None)):
        if isinstance(numbers, Tensor) and numbers.nbytes <= BYTES:
            digest.update(numbers[torch.tensor(rows, dtype=torch.long)].contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
