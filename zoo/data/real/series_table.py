"""The user's own series of one variable, one series per row of a CSV or TSV file."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from zoo.data.base.labelled_tables import read_splits, targets_of
from zoo.data.base.row_tables import is_frame, name_of, table_of
from zoo.data.base.series import Recordings, SeriesData
from zoo.domain.series_files import read_wide
from zoo.utils.checks import check_choice
from zoo.utils.csv_files import columns_of
from zoo.utils.paths import expand


class SeriesTable(SeriesData):
    """Series of one variable in a CSV or TSV with a header: one series per row, one step per column, and a label.

    Empty cells at the end of a row shorten its series, see `uneven`; for those before its last value see `missing`.
    Without a column `split` (train, val, test) and without `test`, 20 % of the series of every label are the test set.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`; from Python also a data frame of pandas or polars.
        label: name of the column of labels, or of values to predict.
        steps: names of the columns of the steps, in order; by default all columns but the label and `split`.
        variable: name of the variable.
        task: "classification" or "regression".
        test: another table with the same columns, for the test.
        **series: the options of `SeriesData`.

    Raises:
        ValueError: unknown task.
    """

    def __init__(
        self,
        path: Any,
        label: str = "label",
        steps: Sequence[str] | None = None,
        variable: str = "value",
        task: str = "classification",
        test: Any = None,
        **series: Any,
    ) -> None:
        super().__init__(**series)
        check_choice(("classification", "regression"), task=task)
        self.path, self.test, self.label, self.task = path, test, label, task
        self.steps, self.variable, self.title = None if steps is None else list(steps), variable, name_of(path)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the steps."""
        if self.steps is not None:
            return tuple(self.steps)
        columns = table_of(self.path).columns if is_frame(self.path) else columns_of(expand(self.path))
        if "" in columns:
            raise ValueError(f"{self.path} has a column without a name; name it, remove it, or list `steps`.")
        return tuple(name for name in columns if name not in (self.label, "split"))

    def read(self) -> Recordings:
        regression = self.task == "regression"
        splits = read_splits(self.path, self.test, self.label, self.columns, self.seed, regression)
        targets, classes = targets_of(splits, self.label, regression)
        series = {split: read_wide(rows, self.columns, self.gaps) for split, rows in splits.items()}
        names = {split: [row.where for row in rows] for split, rows in splits.items()}
        return Recordings(series, targets, classes, (self.variable,), self.task, names)
