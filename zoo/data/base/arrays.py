"""Arrays as data: images and series in memory, and the columns of arrays as a table."""

from collections.abc import Sequence
from functools import cached_property
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import Domain, ImageDomain, SeriesDomain
from zoo.utils.optional import need

if TYPE_CHECKING:
    import polars as pl

CELLS = (str, bytes, Number, np.generic, type(None))  # what an array of objects may hold


class ArrayData(DataModule):
    """Images or series in memory; a part is held out for validation, and there are no test items.

    Args:
        inputs: images (N, C, H, W), uint8 or numbers in [0, 1], or series (N, T, V).
        targets: (N,) classes, or (N, C) values.
        classes: names of the C classes or values.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: inputs of another shape or range.
    """

    def __init__(self, inputs: "np.ndarray", targets: Tensor, classes: Sequence[str], **loading: Any) -> None:
        super().__init__(**loading)
        self.task = "classification" if targets.ndim == 1 else "regression"
        self.inputs, self.classes = inputs, tuple(classes)
        self.targets = targets.long() if targets.ndim == 1 else targets.float()

    def make_domain(self) -> ImageDomain | SeriesDomain:
        return self._domain

    def items(self, split: str, training: bool) -> Rows:
        if split != "train":
            raise KeyError(f"arrays have no {split} split")
        return self._rows

    @cached_property
    def _domain(self) -> ImageDomain | SeriesDomain:
        outputs: dict[str, Any] = {"classes": self.classes, "task": self.task}
        if self.inputs.ndim == 4:
            mean, std = _statistics(_pixels(self.inputs).movedim(1, 3))
            _, channels, height, width = self.inputs.shape
            return ImageDomain(size=(height, width), channels=channels, mean=mean, std=std, **outputs)
        mean, std = _statistics(torch.as_tensor(self.inputs))
        _, length, count = self.inputs.shape
        names = tuple(f"variable {i}" for i in range(count))
        return SeriesDomain(variables=names, length=length, mean=mean, std=std, **outputs)

    @cached_property
    def _rows(self) -> Rows:
        names = [f"row {i}" for i in range(len(self.inputs))]
        return Rows(inputs_of(self._domain, self.inputs), self.targets, names)


def inputs_of(domain: Domain, array: "np.ndarray") -> Tensor:
    """Inputs (N, *shape) of images (N, C, H, W) or series (N, T, V).

    Raises:
        ValueError: arrays of another shape or range.
    """
    if array.shape[1:] != domain.shape:
        raise ValueError(f"X must have the shape (N, {', '.join(map(str, domain.shape))}); got {array.shape}.")
    if isinstance(domain, ImageDomain):
        return domain.normalise(_pixels(array))
    if isinstance(domain, SeriesDomain):
        return domain.normalise(torch.as_tensor(array))
    raise ValueError(f"arrays of {array.ndim} dimensions are images or series; the model reads {domain.noun}.")


def frame_of_array(array: "np.ndarray", names: Sequence[str]) -> "pl.DataFrame":
    """The columns of an array (N, F) of numbers or texts as a data frame.

    Raises:
        TypeError: a cell is neither a number nor a text.
        ImportError: polars is not installed (the extra `table`).
    """
    pl = need("polars", "table")
    if array.dtype.kind in "biu" or array.dtype in (np.float32, np.float64):
        return pl.DataFrame(dict(zip(names, np.ascontiguousarray(array.T), strict=True)))
    columns = {}
    for name, cells in zip(names, array.T.tolist(), strict=True):
        if odd := [type(cell).__name__ for cell in cells if not isinstance(cell, CELLS)]:
            raise TypeError(
                f"argument must be an array of strings or numbers; column {name} has a cell of type {odd[0]}."
            )
        columns[name] = pl.Series([None if cell is None else str(cell) for cell in cells], dtype=pl.String)
    return pl.DataFrame(columns)


def _pixels(array: "np.ndarray") -> Tensor:
    """Images (N, C, H, W) as float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return torch.as_tensor(array).float() / 255
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"images must be uint8, or numbers in [0, 1]; got {array.min():g} to {array.max():g}.")
    return torch.as_tensor(array).float()


def _statistics(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the last dimension; 1 for a constant one."""
    flat = values.flatten(0, -2).double()
    std = flat.std(0, correction=0)
    return tuple(flat.mean(0).tolist()), tuple(torch.where(std > 1e-8, std, 1.0).tolist())
