"""Adult: census rows of 1994, and whether the income is above 50,000 dollars."""

import os
from pathlib import Path
from typing import Any, Literal

from zoo.data.base.frames import Frame, frame_of
from zoo.data.real.table import Table
from zoo.utils.csv_files import Record, read_records
from zoo.utils.paths import expand

NAMES = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)


class Adult(Table):
    """The census table of Becker and Kohavi (UCI, 1996): 32,561 training rows and 16,281 test rows, 14 features.

    The data are licensed under CC BY 4.0. Unknown values, "?", are a level of their categories.

    Args:
        root: folder with adult.data and adult.test; by default $ZOO_DATA/tabular/adult.
        leave_out: names of columns that are not features.
        scaling: see `Table`.
        batch_size, workers, seed, val_fraction, sampling, class_weights: see `DataModule`.

    Raises:
        ValueError: there is no root, and the environment variable ZOO_DATA is not set.
    """

    def __init__(
        self,
        root: str | None = None,
        leave_out: tuple[str, ...] = (),
        scaling: str = "standard",
        batch_size: int = 256,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        if root is None and "ZOO_DATA" not in os.environ:
            raise ValueError("Adult needs its folder: give root, or set the environment variable ZOO_DATA.")
        folder = expand(root or "$ZOO_DATA/tabular/adult")
        super().__init__(
            folder / "adult.data",
            "income",
            test=folder / "adult.test",
            leave_out=leave_out,
            scaling=scaling,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
            val_fraction=val_fraction,
            sampling=sampling,
            class_weights=class_weights,
        )

    def read(self, source: Any) -> Frame:
        return frame_of(Path(source), list(NAMES), (r for r in read_records(Path(source), ",") if _is_row(r)), _clean)


def _is_row(record: Record) -> bool:
    """Whether a line holds a person; the test file begins with another line."""
    return len(record.cells) == len(NAMES) and record.cells[0].strip().isdigit()


def _clean(cells: list[str]) -> list[str]:
    """The cells of a row; the labels of the published test file end in a full stop."""
    return [*cells[:-1], cells[-1].strip().removesuffix(".")]
