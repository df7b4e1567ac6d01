"""The UCR and UEA archives of time series in their own file formats."""

import os
from pathlib import Path
from typing import Any

import torch

from zoo.data.base.series import Recordings, SeriesData
from zoo.domain.series_arff import read_arff
from zoo.domain.series_files import read_ts, read_tsv
from zoo.utils.paths import expand

READERS = {".tsv": read_tsv, ".ts": read_ts, ".arff": read_arff}


class SeriesArchive(SeriesData):
    """One data set of the UCR archive (univariate, .tsv) or of the UEA archive (.ts, .arff), with the official splits.

    Dau et al.: "The UCR Time Series Archive", IEEE/CAA 2019; Bagnall et al.: "The UEA Multivariate Time Series
    Classification Archive", arXiv 1811.00075. Your own data can use these formats, for example NAME_TRAIN.tsv and
    NAME_TEST.tsv, each line with a label and the values of a series, separated by tabs.

    Args:
        name: of the data set, such as "GunPoint".
        root: folder with NAME_TRAIN of .tsv, .ts (also NAME_eq_TRAIN.ts) or .arff, or with a subfolder NAME of them; by
            default the folders ucr and uea of $ZOO_DATA/series.
        **series: the options of `SeriesData`.
    """

    def __init__(self, name: str, root: str | None = None, **series: Any) -> None:
        super().__init__(**series)
        self.title, self.files = name, {split: _find(name, split.upper(), root) for split in ("train", "test")}

    def read(self) -> Recordings:
        found = {split: READERS[p.suffix](p, self.gaps) for split, p in self.files.items()}
        classes = tuple(sorted(set(found["train"][1]), key=_in_order))
        column = {label: c for c, label in enumerate(classes)}
        targets = {}
        for split, (_, labels) in found.items():
            if strange := sorted(set(labels) - set(classes)):
                raise ValueError(
                    f"{self.files[split]} has labels that the training series do not have: {', '.join(strange[:5])}; "
                    f"the training labels are {', '.join(classes[:5])}."
                )
            targets[split] = torch.tensor([column[label] for label in labels])
        count = found["train"][0][0].shape[1]
        variables = ("value",) if count == 1 else tuple(f"variable {v + 1}" for v in range(count))
        return Recordings({split: series for split, (series, _) in found.items()}, targets, classes, variables)


def _find(name: str, split: str, root: str | None) -> Path:
    if root is None and "ZOO_DATA" not in os.environ:
        raise ValueError(f"give the folder that contains {name} as root, or set the environment variable ZOO_DATA.")
    roots = [expand(root)] if root else [expand(f"$ZOO_DATA/series/{kind}") for kind in ("ucr", "uea")]
    places = [folder / inner for folder in roots for inner in ("", name)]
    for folder in places:
        for file in (f"{name}_{split}.tsv", f"{name}_{split}.ts", f"{name}_eq_{split}.ts", f"{name}_{split}.arff"):
            if (folder / file).is_file():
                return folder / file
    raise FileNotFoundError(
        f"no {name}_{split}.tsv, .ts or .arff in {', '.join(map(str, places))}; give its folder as root."
    )


def _in_order(label: str) -> tuple[bool, float, str]:
    """Sort key: numbers by value, then words, so that 2 comes before 10."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
