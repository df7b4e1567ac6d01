"""The user's own series in one long table: a row for each step, with the series that it belongs to."""

from collections.abc import Sequence
from typing import Any

import torch

from zoo.data.base.labelled_tables import label_of, split_rows, targets_of
from zoo.data.base.row_tables import name_of, table_of
from zoo.data.base.series import Recordings, SeriesData
from zoo.domain.series_long import LongSeries, read_long
from zoo.utils.checks import check_choice
from zoo.utils.csv_files import Table


class LongSeriesTable(SeriesData):
    """Series in a CSV or TSV with a row for each step: the series, the time, a value of each variable, and the label.

        patient,time,pulse,pressure,label
        A,0,61,120,well
        A,1,62,,well
        B,0,90,140,ill

    Rows of a series need not be together, nor in order if there is a column of times. The label, or value to predict,
    and `split` must be the same in all rows of a series. Without a column `split` (train, val, test) and without
    `test`, 20 % of the series of every label are the test set. Times are numbers in `unit`, or dates; series whose
    times are not `step` apart are resampled, which training and explanations report.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`; from Python also a data frame of pandas or polars.
        name: column that tells which series a row belongs to.
        time: column of the times; "" if the rows of each series are its steps.
        label: column of labels, or of values to predict.
        variables: columns of the variables; by default all columns but the others and `split`.
        task: "classification" or "regression".
        test: another table with the same columns, for the test.
        step: time between two steps; by default the median of the training series, or 1 without times.
        **series: the other options of `SeriesData`.

    Raises:
        ValueError: unknown task.
    """

    def __init__(
        self,
        path: Any,
        name: str = "id",
        time: str = "time",
        label: str = "label",
        variables: Sequence[str] | None = None,
        task: str = "classification",
        test: Any = None,
        step: float | None = None,
        **series: Any,
    ) -> None:
        super().__init__(**series)
        check_choice(("classification", "regression"), task=task)
        self.path, self.test, self.label, self.task = path, test, label, task
        self.given, self.variables, self.title = step, variables, name_of(path)
        self.name_column, self.time_column = name, time

    def read(self) -> Recordings:
        table = table_of(self.path, self._others)
        names = self.variables or [c for c in table.columns if c and c not in (*self._others, "split")]
        if not names:
            raise ValueError(f"{table.path} has no column of a variable besides {', '.join(self._others)}.")
        series = self._series(table, names)
        tests = None if self.test is None else self._series(table_of(self.test, (*self._others, *names)), names)
        regression = self.task == "regression"
        found = {id(one.rows[0]): one for one in (*series, *(tests or ()))}
        first = [one.rows[0] for one in series]  # has the label and the split
        others = None if tests is None else [one.rows[0] for one in tests]
        splits = split_rows(first, others, table.path, self.label, self.seed, regression)
        by_split = {split: [found[id(row)] for row in rows] for split, rows in splits.items()}
        targets, classes = targets_of(splits, self.label, regression)
        if self.time_column:
            values = {split: [one.series for one in every] for split, every in by_split.items()}
        else:
            values = {split: [one.series.values for one in every] for split, every in by_split.items()}
        where = {split: [f"{table.path}, series '{one.name}'" for one in every] for split, every in by_split.items()}
        step = (self.given or self._median(by_split["train"])) if self.time_column else self.given
        return Recordings(values, targets, classes, tuple(names), self.task, where, step)

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.name_column, self.time_column, self.label)))

    def _series(self, table: Table, names: Sequence[str]) -> list[LongSeries]:
        series = read_long(table, names, self.name_column, self.time_column, self.unit, self.gaps)
        for one in series:
            for column in (self.label, *(["split"] if "split" in table.columns else [])):
                first = label_of(one.rows[0], column)
                for row in one.rows[1:]:
                    if label_of(row, column) != first:
                        raise ValueError(
                            f"{row.where}: '{column}' is '{label_of(row, column)}', but '{first}' in other rows of "
                            f"series '{one.name}'; all rows of a series need the same."
                        )
        return series

    def _median(self, series: Sequence[LongSeries]) -> float:
        apart = torch.cat([one.series.times.diff() for one in series])
        return float(apart.median()) if len(apart) else 1.0
