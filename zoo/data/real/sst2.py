"""SST-2: sentiment of sentences of film reviews."""

from typing import Any

from zoo.data.base.text import TextData, Texts
from zoo.utils.csv_files import read_records
from zoo.utils.paths import expand

SENTIMENT = ("negative", "positive")


class SST2(TextData):
    """SST-2: sentences of film reviews, negative or positive. Official splits.

    Socher et al.: "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013.

    Args:
        root: folder with train.tsv, dev.tsv and test.tsv; each line is a sentence, a tab, and 0 or 1.
        length: largest number of tokens of a text.
        **texts: the other options of `TextData`.
    """

    def __init__(self, root: str = "$ZOO_DATA/text/sst2", length: int = 56, **texts: Any) -> None:
        super().__init__(length, **texts)
        self.root = expand(root)

    def read(self) -> dict[str, Texts]:
        return {"train": self._lines("train.tsv"), "val": self._lines("dev.tsv"), "test": self._lines("test.tsv")}

    def _lines(self, name: str) -> Texts:
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(f"no {name} in {self.root}; give the folder of SST-2 as root.")
        part = Texts([], [], {}, [])
        for line, cells in read_records(path, "\t", quotes=False):
            if len(cells) != 2 or cells[1] not in ("0", "1") or not cells[0].strip():
                got = "\t".join(cells)[:60]
                raise ValueError(f"{path}, line {line}: expected a sentence, a tab, and 0 or 1; got {got!r}.")
            part.texts.append(cells[0])
            part.labels.append(SENTIMENT[int(cells[1])])
            part.names.append(f"{name}, line {line}")
        return part
