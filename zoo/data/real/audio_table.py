"""The user's own recordings, listed in a CSV or TSV file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.labelled_tables import label_of, read_splits
from zoo.data.base.module import DataModule
from zoo.domain import AudioDomain
from zoo.utils.checks import check_at_least
from zoo.utils.csv_files import TableRow
from zoo.utils.paths import expand

NOTES = 4  # warnings about recordings that are printed


class AudioTable(DataModule):
    """WAV, FLAC or OGG files named in a CSV or TSV with a header, with a label or with tags.

    Recordings are mixed to one channel, resampled, and cut or padded to `seconds`; how many is printed. All are held in
    memory as log-mel pictures, about 16 KB for a second. Without a column `split` (train, val, test) and without
    `test`, 20 % of the recordings of every label are the test set; of tags, 20 % of all.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`.
        file: name of the column of files; relative paths start at the folder of the table.
        label: name of the column of labels; not used with tags.
        tags: names of columns of 0 and 1, for the task "multilabel".
        seconds: duration of a clip.
        rate: samples a second.
        bands: of the log-mel picture.
        uneven: how recordings of another duration are handled, see `zoo.domain.AudioDomain`.
        test: another table with the same columns, for the test.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        path: str,
        file: str = "file",
        label: str = "label",
        tags: Sequence[str] = (),
        seconds: float = 3.0,
        rate: int = 8000,
        bands: int = 64,
        uneven: str = "pad",
        test: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_at_least(1, rate=rate, bands=bands)
        self.path, self.test, self.file, self.label = expand(path), expand(test) if test else None, file, label
        self.tags = list(tags)
        self.sound = {"seconds": seconds, "rate": rate, "bands": bands, "uneven": uneven}

    @cached_property
    def _rows(self) -> dict[str, list[TableRow]]:
        label, columns = (self.tags[0], (self.file, *self.tags)) if self.tags else (self.label, (self.file,))
        return read_splits(self.path, self.test, label, columns, self.seed, bool(self.tags))

    @cached_property
    def _raw(self) -> AudioDomain:
        """The domain before normalisation."""
        names = tuple(self.tags) or tuple(sorted({label_of(row, self.label) for row in self._rows["train"]}))
        return AudioDomain(classes=names, task="multilabel" if self.tags else "classification", **self.sound)  # pyright: ignore

    @cached_property
    def _inputs(self) -> dict[str, Tensor]:
        """Log-mel pictures of each split, not normalised; prints what was done to the recordings."""
        notes: Counter[str] = Counter()
        inputs = {split: torch.stack([self._read(row, notes) for row in rows]) for split, rows in self._rows.items()}
        count = sum(map(len, inputs.values()))
        for text, times in notes.most_common(NOTES):
            print(f"note: {times} of {count} recordings: {text}")
        if len(notes) > NOTES:
            print(f"note: and {len(notes) - NOTES} other kinds of changes to recordings")
        return inputs

    def _read(self, row: TableRow, notes: "Counter[str]") -> Tensor:
        name = row.cells[self.file].strip()
        if not name:
            raise ValueError(f"{row.where}: the name of the file is empty.")
        try:
            sound = self._raw.raw(row.path.parent / expand(name))
            x = self._raw.preprocess(sound)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"{row.where}: {error}") from None
        notes.update(self._raw.warnings(sound, x))
        return x

    def make_domain(self) -> AudioDomain:
        train = self._inputs["train"]
        return replace(self._raw, mean=float(train.mean()), std=max(float(train.std()), 1e-3))

    @cached_property
    def _made(self) -> AudioDomain:
        return self.make_domain()

    @cached_property
    def _items(self) -> dict[str, Rows]:
        found = {}
        for split, rows in self._rows.items():
            names = [row.cells[self.file].strip() for row in rows]
            targets = torch.stack([self._target(row) for row in rows])
            found[split] = Rows(self._made.normalise(self._inputs[split]), targets, names)
        return found

    def _target(self, row: TableRow) -> Tensor:
        if not self.tags:
            return torch.tensor(self._raw.class_index(label_of(row, self.label)))
        values = [row.number(tag) for tag in self.tags]
        if wrong := [tag for tag, value in zip(self.tags, values, strict=True) if value not in (0, 1)]:
            raise ValueError(f"{row.where}: the tag '{wrong[0]}' is '{row.cells[wrong[0]]}'; expected 0 or 1.")
        return torch.tensor(values)

    def items(self, split: str, training: bool) -> Rows:
        return self._items[split]
