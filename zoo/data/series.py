"""Series with labels: the UCR and UEA archives of time series, in their own file formats."""

import os
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.arrays import Rows
from zoo.data.module import DataModule, expand
from zoo.domain import SeriesDomain

Labelled = tuple[Tensor, list[str]]  # series (N, T, V), labels


class SeriesArchive(DataModule):
    """One data set of the UCR archive (univariate, .tsv) or of the UEA archive (.ts). Official splits.

    Dau et al.: "The UCR Time Series Archive", IEEE/CAA 2019; Bagnall et al.: "The UEA Multivariate Time Series
    Classification Archive", arXiv 1811.00075. Own data in either format reads as well: a label, a tab, and the values
    of a series a line, in NAME_TRAIN.tsv and NAME_TEST.tsv. Variables are normalised by the training set.

    Args:
        name: of the data set, such as "GunPoint".
        root: folder with NAME_TRAIN.tsv or .ts, or with a folder NAME of them; by default the folders ucr and uea of
            $ZOO_DATA/series.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the split and the shuffles.
        val_fraction: share of the training series held out for validation.
    """

    def __init__(
        self,
        name: str,
        root: str | None = None,
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        self.name, self.root = name, root

    def make_domain(self) -> SeriesDomain:
        series, labels = self._splits["train"]
        variables = series.shape[2]
        names = ("value",) if variables == 1 else tuple(f"variable {v + 1}" for v in range(variables))
        std = series.std((0, 1)).clamp_min(1e-6)
        return SeriesDomain(
            classes=tuple(sorted(set(labels))),
            variables=names,
            length=series.shape[1],
            mean=tuple(series.mean((0, 1)).tolist()),
            std=tuple(std.tolist()),
        )

    def items(self, split: str, training: bool) -> Rows:
        return self._rows_of[split]

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        domain, rows = self.make_domain(), {}
        for split, (series, labels) in self._splits.items():
            strange = sorted(set(labels) - set(domain.classes))
            if strange or series.shape[1:] != domain.shape:
                raise ValueError(
                    f"the {split} series of {self.name} do not fit its training series: labels {strange[:5]} are new, "
                    f"or {tuple(series.shape[1:])} is not {domain.shape}."
                )
            targets = torch.tensor([domain.classes.index(label) for label in labels])
            rows[split] = Rows(
                domain.normalise(series), targets, [f"{self.name} {split} {i}" for i in range(len(labels))]
            )
        return rows

    @cached_property
    def _splits(self) -> dict[str, Labelled]:
        return {split: self._read(split.upper()) for split in ("train", "test")}

    def _read(self, split: str) -> Labelled:
        if self.root is None and "ZOO_DATA" not in os.environ:
            raise ValueError(
                f"give the folder that holds {self.name} as root, or set the environment variable ZOO_DATA."
            )
        roots = [expand(self.root)] if self.root else [expand(f"$ZOO_DATA/series/{kind}") for kind in ("ucr", "uea")]
        places = [folder / inner for folder in roots for inner in ("", self.name)]
        for folder in places:
            for pattern, reader in ((f"{self.name}*_{split}.tsv", read_tsv), (f"{self.name}*_{split}.ts", read_ts)):
                found = sorted(folder.glob(pattern)) if folder.is_dir() else []
                if found:
                    return reader(found[0])
        raise FileNotFoundError(
            f"no {self.name}_{split}.tsv or .ts in {', '.join(map(str, places))}; give its folder as root."
        )


def read_tsv(path: Path) -> Labelled:
    """Lines of a label and the values of one variable, separated by tabs.

    Raises:
        ValueError: a value is no number, or the series have different lengths; names the line.
    """
    rows, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        label, *cells = line.split("\t")
        rows.append(_numbers(cells, path, number))
        labels.append(_label(label))
    return _equal_lengths(rows, path)[..., None], labels


def read_ts(path: Path) -> Labelled:
    """The format of sktime: a header of lines with @, then series of variables that colons separate, the label last.

    Raises:
        ValueError: there is no data, a value is no number, or the series have different lengths; names the line.
    """
    rows, labels, data = [], [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lower().startswith("@data"):
            data = True
        elif data and line.strip():
            *variables, label = line.strip().split(":")
            rows.append(_equal_lengths([_numbers(v.split(","), path, number) for v in variables], path, number).T)
            labels.append(label)
    if not rows:
        raise ValueError(f"{path} has no series after a line '@data'.")
    return _equal_lengths(rows, path), labels


def _numbers(cells: list[str], path: Path, line: int) -> Tensor:
    try:
        values = torch.tensor([float(cell) for cell in cells])
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}; expected numbers.") from None
    if not len(values) or not bool(values.isfinite().all()):
        raise ValueError(f"{path}, line {line}: missing or infinite values; series must be complete and of one length.")
    return values


def _equal_lengths(rows: list[Tensor], path: Path, line: int | None = None) -> Tensor:
    lengths = sorted({row.shape for row in rows})
    if len(lengths) != 1:
        where = path if line is None else f"{path}, line {line}"
        raise ValueError(
            f"{where}: series of different lengths, {lengths[0][0] if lengths else 0} to "
            f"{lengths[-1][0] if lengths else 0} steps; cut, pad or resample them to one."
        )
    return torch.stack(rows)


def _label(cell: str) -> str:
    return str(int(float(cell))) if cell.replace(".", "", 1).lstrip("-").isdigit() else cell
