"""The film reviews of the ERASER benchmark, with human rationales."""

import json
import tarfile
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.text import TextData, Texts
from zoo.domain.text import split_words
from zoo.utils.paths import expand

SPLITS = ("train", "val", "test")


class EraserMovies(TextData):
    """Film reviews with rationales: the spans on which an annotator based the judgement. Official splits.

    Batches have "regions" (1, T) in {0, 1}, the words of the rationale. They are used by metrics only, never for
    training.

    DeYoung et al.: "ERASER: A Benchmark to Evaluate Rationalized NLP Models", ACL 2020, after Zaidan, Eisner,
    Piatko: "Using Annotator Rationales to Improve Machine Learning for Text Categorization", NAACL 2007.

    Args:
        root: folder with eraser_movies.tar.xz or what it unpacks to.
        length: largest number of words of a text; half of the reviews have more than 700.
        least: smallest number of occurrences in the training texts of a word of the vocabulary.
        batch_size, workers, seed, val_fraction, sampling, class_weights: see `DataModule`.
    """

    def __init__(
        self,
        root: str = "$ZOO_DATA/text/eraser_movies",
        length: int = 512,
        least: int = 2,
        batch_size: int = 32,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        super().__init__(
            length,
            least,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
            val_fraction=val_fraction,
            sampling=sampling,
            class_weights=class_weights,
        )
        self.root = expand(root)

    def read(self) -> dict[str, Texts]:
        reviews = self._reviews
        texts = {}
        for split in SPLITS:
            rows = reviews[split]
            labels = [{"NEG": "negative", "POS": "positive"}[row["classification"]] for row in rows]
            names = [row["annotation_id"] for row in rows]
            texts[split] = Texts([reviews["docs"][name] for name in names], labels, {}, names)
        return texts

    def _encode(self, split: str) -> Rows:
        rows, docs = super()._encode(split), self._reviews["docs"]
        rows.regions = torch.stack(
            [rationale(docs[row["annotation_id"]], spans_of(row), self.length) for row in self._reviews[split]]
        )[:, None]
        return rows

    @cached_property
    def _reviews(self) -> dict[str, Any]:
        """The records of each split, and under "docs" the texts of the reviews by name."""
        files = self._files()
        wanted = {"train": "train_1600.jsonl", "val": "val.jsonl", "test": "test.jsonl"}
        reviews: dict[str, Any] = {"docs": {}}
        for split, name in wanted.items():
            present = next((one for one in (name, f"{split}.jsonl") if one in files), None)
            if present is None:
                raise FileNotFoundError(f"neither {name} nor {split}.jsonl in {self.root}.")
            reviews[split] = _lines(files[present], f"{self.root}: {present}")
            for row in reviews[split]:
                document = f"docs/{row['annotation_id']}"
                if document not in files:
                    raise FileNotFoundError(f"{split} names the review {document}, which is not in {self.root}.")
                reviews["docs"][row["annotation_id"]] = files[document]
        return reviews

    def _files(self) -> dict[str, str]:
        """The contents of the files of the data set, by their path in it."""
        folder = next((p for p in (self.root, self.root / "eraser_movies") if (p / "docs").is_dir()), None)
        if folder is not None:
            found = [*folder.glob("*.jsonl"), *(folder / "docs").iterdir()]
            return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in found if p.is_file()}
        archive = self.root / "eraser_movies.tar.xz"
        if not archive.is_file():
            raise FileNotFoundError(f"neither docs/ nor eraser_movies.tar.xz in {self.root}; give its folder as root.")
        contents = {}
        with tarfile.open(archive) as opened:
            for member in opened:
                stream = opened.extractfile(member) if member.isfile() else None
                if stream is not None:
                    contents[Path(member.name).relative_to("eraser_movies").as_posix()] = stream.read().decode()
        return contents


def _lines(text: str, name: str) -> list[dict[str, Any]]:
    """The objects of a file with one on each line; line feeds alone end a line, texts may hold other breaks.

    Raises:
        ValueError: a line is not JSON; names the file and the line.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}, line {number} is not JSON ({error}); get the file again.") from None
    return found


def spans_of(row: dict[str, Any]) -> list[tuple[int, int]]:
    """Start (inclusive) and end (exclusive) of each span of evidence, in tokens separated by white space."""
    return [(span["start_token"], span["end_token"]) for group in row["evidences"] for span in group]


def rationale(text: str, spans: list[tuple[int, int]], length: int) -> Tensor:
    """(length,) in {0, 1}: the words of the text, as split by `TextDomain`, that are in spans of its tokens."""
    tokens = text.split()
    inside = [any(start <= i < end for start, end in spans) for i in range(len(tokens))]
    words = [float(within) for token, within in zip(tokens, inside, strict=True) for _ in split_words(token)][:length]
    return torch.tensor(words + [0.0] * (length - len(words)))
