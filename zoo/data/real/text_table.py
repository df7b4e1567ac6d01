"""The user's own texts, in a CSV or TSV file."""

from collections.abc import Sequence
from typing import Any

from zoo.data.base.labelled_tables import label_of, read_splits
from zoo.data.base.text import TextData, Texts
from zoo.utils.csv_files import TableRow
from zoo.utils.paths import expand


class TextTable(TextData):
    """Texts in a CSV or TSV file with a column of texts, a column of labels and optionally columns of concepts.

    Without a column `split` (train, val, test) and without `test`, 20 % of the texts of every label are the test set.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`.
        text: name of the column of texts.
        label: name of the column of labels.
        concepts: names of the columns of concepts: 0, 1 or empty (not annotated), or any values, one per text.
        test: another table with the same columns, for the test.
        **texts: the options of `TextData`.
    """

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str = "label",
        concepts: Sequence[str] = (),
        test: str | None = None,
        **texts: Any,
    ) -> None:
        super().__init__(**texts)
        self.path, self.test = expand(path), expand(test) if test else None
        self.column, self.label, self.concepts = text, label, list(concepts)

    def read(self) -> dict[str, Texts]:
        columns = (self.column, *self.concepts)
        splits = read_splits(self.path, self.test, self.label, columns, self.seed)
        return {split: self._texts(rows) for split, rows in splits.items()}

    def _texts(self, rows: Sequence[TableRow]) -> Texts:
        for row in rows:
            if not row.cells[self.column].strip():
                raise ValueError(f"{row.where}: the text is empty.")
        return Texts(
            [row.cells[self.column] for row in rows],
            [label_of(row, self.label) for row in rows],
            {name: [row.cells[name].strip() for row in rows] for name in self.concepts},
            [row.name for row in rows],
        )
