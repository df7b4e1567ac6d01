"""Series over time, brought to one length and normalised: the UCR and UEA archives in their own file formats."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.real.series_files import read_ts, read_tsv
from zoo.domain import SeriesDomain
from zoo.utils.paths import expand


@dataclass(frozen=True)
class Recordings:
    """Raw series and their targets.

    Attributes:
        series: by split, N series (S, V), each of its own length S.
        targets: by split, (N,) classes, or (N, C) values.
        classes: names of the classes or values.
        variables: names of the V variables.
        task: "classification" or "regression".
    """

    series: dict[str, list[Tensor]]
    targets: dict[str, Tensor]
    classes: tuple[str, ...]
    variables: tuple[str, ...]
    task: str = "classification"


class SeriesData(DataModule):
    """What modules of series share: one length for all, and variables normalised by the training set.

    A data set defines `read` and sets `title`.

    Attributes:
        title: what its items are called, before the split and their number.

    Args:
        uneven: what becomes of series of other lengths: "refuse", "zero", "last" or "resample", see `SeriesDomain`.
        length: steps of an input; by default those of the longest training series.
        step: time from one step to the next.
        unit: of that time, for the axis of pages.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the split and the shuffles.
        val_fraction: share of the training series held out for validation.
    """

    title: str

    def __init__(
        self,
        uneven: str = "refuse",
        length: int | None = None,
        step: float = 1.0,
        unit: str = "step",
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        self.uneven, self.length, self.step, self.unit = uneven, length, step, unit

    def read(self) -> Recordings:
        """The raw series of the splits "train" and "test", and perhaps "val"."""
        raise NotImplementedError("a module of series defines read()")

    def make_domain(self) -> SeriesDomain:
        return self._made

    def items(self, split: str, training: bool) -> Rows:
        return self._rows_of[split]

    @cached_property
    def _raw(self) -> Recordings:
        return self.read()

    @cached_property
    def _made(self) -> SeriesDomain:
        raw = self._raw
        train = raw.series["train"]
        lengths = [len(one) for one in train]
        if self.uneven == "refuse" and min(lengths) < max(lengths):
            raise ValueError(
                f"the training series of {self.title} have different lengths, {min(lengths)} to {max(lengths)} steps; "
                "set uneven to 'zero', 'last' or 'resample'."
            )
        steps = torch.cat(train).double()  # as they were measured: what fills them up does not count
        mean, std = steps.mean(0), steps.std(0, correction=0)
        return SeriesDomain(
            classes=raw.classes,
            task=raw.task,
            variables=raw.variables,
            length=max(lengths) if self.length is None else self.length,
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(std > 1e-8, std, 1.0).tolist()),  # a constant is only moved to 0
            step=self.step,
            unit=self.unit,
            uneven=self.uneven,
        )

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        rows = {}
        for split, series in self._raw.series.items():
            names = [f"{self.title} {split} {i}" for i in range(len(series))]
            rows[split] = Rows(self._inputs(series, names), self._raw.targets[split], names)
        return rows

    def _inputs(self, series: list[Tensor], names: list[str]) -> Tensor:
        try:
            if all(one.shape == self._made.shape for one in series):
                return self._made.normalise(torch.stack(series))
            return torch.stack([self._made.preprocess(one) for one in series])
        except ValueError as error:
            raise ValueError(f"{names[0].removesuffix(' 0')}: {error}") from None


class SeriesArchive(SeriesData):
    """One data set of the UCR archive (univariate, .tsv) or of the UEA archive (.ts). Official splits.

    Dau et al.: "The UCR Time Series Archive", IEEE/CAA 2019; Bagnall et al.: "The UEA Multivariate Time Series
    Classification Archive", arXiv 1811.00075. Own data in either format reads as well: a label, a tab, and the values
    of a series a line, in NAME_TRAIN.tsv and NAME_TEST.tsv.

    Args:
        name: of the data set, such as "GunPoint".
        root: folder with NAME_TRAIN.tsv, NAME_TRAIN.ts or NAME_eq_TRAIN.ts, or with a folder NAME of them; by default
            the folders ucr and uea of $ZOO_DATA/series.
        uneven, length, step, unit: see `SeriesData`.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the split and the shuffles.
        val_fraction: share of the training series held out for validation.
    """

    def __init__(
        self,
        name: str,
        root: str | None = None,
        uneven: str = "refuse",
        length: int | None = None,
        step: float = 1.0,
        unit: str = "step",
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__(uneven, length, step, unit, batch_size, workers, seed, val_fraction)
        self.title, self.files = name, {split: _find(name, split.upper(), root) for split in ("train", "test")}

    def read(self) -> Recordings:
        found = {split: (read_tsv if p.suffix == ".tsv" else read_ts)(p) for split, p in self.files.items()}
        classes = tuple(sorted(set(found["train"][1]), key=_in_order))
        column = {label: c for c, label in enumerate(classes)}
        targets = {}
        for split, (_, labels) in found.items():
            if strange := sorted(set(labels) - set(classes)):
                raise ValueError(
                    f"{self.files[split]} has labels that the training series do not have: {', '.join(strange[:5])}; "
                    f"those have {', '.join(classes[:5])}."
                )
            targets[split] = torch.tensor([column[label] for label in labels])
        count = found["train"][0][0].shape[1]
        variables = ("value",) if count == 1 else tuple(f"variable {v + 1}" for v in range(count))
        return Recordings({split: series for split, (series, _) in found.items()}, targets, classes, variables)


def _find(name: str, split: str, root: str | None) -> Path:
    if root is None and "ZOO_DATA" not in os.environ:
        raise ValueError(f"give the folder that holds {name} as root, or set the environment variable ZOO_DATA.")
    roots = [expand(root)] if root else [expand(f"$ZOO_DATA/series/{kind}") for kind in ("ucr", "uea")]
    places = [folder / inner for folder in roots for inner in ("", name)]
    for folder in places:
        for file in (f"{name}_{split}.tsv", f"{name}_{split}.ts", f"{name}_eq_{split}.ts"):
            if (folder / file).is_file():
                return folder / file
    raise FileNotFoundError(f"no {name}_{split}.tsv or .ts in {', '.join(map(str, places))}; give its folder as root.")


def _in_order(label: str) -> tuple[bool, float, str]:
    """Numbers by their value, and then words: 2 comes before 10."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
