"""The user's own images: folders by class, with or without folders by split, or a CSV that lists them."""

import csv
from collections import Counter
from functools import cached_property
from pathlib import Path

import torch

from zoo.data.base.concept_table import Concepts, read_concepts, warn_of_constants
from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.sampling import stratified_split
from zoo.domain import ImageDomain, fault_of
from zoo.utils.paths import expand

SPLITS = ("train", "val", "test")
Row = tuple[Path, str]


class ImageFolder(ImageData):
    """Images in folders: root/<class>/*.png, or root/train/<class>/..., root/val/..., root/test/..., or a CSV.

    Without val, a part of train is held out; without test, 20 % of every class are. Everything is checked before
    training starts.

    Args:
        root: the folder; paths in the CSV are relative to it.
        csv: a table with the columns path and label, and, if it splits the images, split (train, val or test).
        concepts: a table with the column path and one for each concept: 1, 0, or nothing where nobody annotated. It
            may be the same file as `csv`.
        concept_groups: names of concepts by group, or a CSV with the columns concept and group.
        exclusive: groups of which exactly one concept is present in every image.
        size: height and width of the input in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: of the pixels by channel on the scale 0 to 1, as the backbone expects; 0.5 by default.
        std: likewise.
        resize: "squash" or "crop", see `zoo.domain.ImageDomain`.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits and the shuffles.
        val_fraction: share of the training images held out for validation, if there is no val split.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        views: 2 gives training batches a second view of each image, as "view".
    """

    def __init__(
        self,
        root: str,
        csv: str | None = None,
        concepts: str | None = None,
        concept_groups: str | dict[str, list[str]] | None = None,
        exclusive: list[str] | None = None,
        size: tuple[int, int] = (224, 224),
        channels: int = 3,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        resize: str = "squash",
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        augment: str = "none",
        views: int = 1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, augment, views)
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB); got {channels}.")
        if not concepts and (concept_groups or exclusive):
            raise ValueError("concept_groups and exclusive need concepts; give their table as data.init_args.concepts.")
        self.root = expand(root)
        self.csv, self.concepts = expand(csv) if csv else None, expand(concepts) if concepts else None
        self.concept_groups = expand(concept_groups) if isinstance(concept_groups, str) else concept_groups
        self.exclusive = exclusive or []
        self.size, self.channels, self.resize = size, channels, resize
        self.mean, self.std = mean or [0.5] * channels, std or [0.5] * channels

    def make_domain(self) -> ImageDomain:
        names, groups = ((), {}) if self._concepts is None else self._concepts[:2]
        return ImageDomain(
            classes=self._classes,
            concepts=names,
            concept_groups=groups,
            exclusive=tuple(self.exclusive),
            size=(self.size[0], self.size[1]),
            channels=self.channels,
            mean=tuple(self.mean),
            std=tuple(self.std),
            resize=self.resize,
        )

    def pictures(self, split: str, augment: str) -> Pictures:
        rows = self._rows_of[split]
        targets = torch.tensor([self._classes.index(label) for _, label in rows])
        names = [str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name for path, _ in rows]
        paths = [path for path, _ in rows]
        concepts = None if self._concepts is None else self._labels_of[split]
        return Pictures(paths, targets, self.make_domain(), names, augment=augment, concepts=concepts)

    @cached_property
    def _concepts(self) -> Concepts | None:
        """Of all images, split after split."""
        if not self.concepts:
            return None
        files = [path for rows in self._rows_of.values() for path, _ in rows]
        return read_concepts(self.concepts, self.root, files, self.concept_groups, self.exclusive)

    @cached_property
    def _labels_of(self) -> dict[str, torch.Tensor]:
        """Concepts by split."""
        table = self._concepts
        if table is None or self.concepts is None:
            return {}
        labels = table.labels.split([len(rows) for rows in self._rows_of.values()])
        found = dict(zip(self._rows_of, labels, strict=True))
        warn_of_constants(self.concepts, table.names, found["train"])
        return found

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        return tuple(sorted({label for _, label in self._rows_of["train"]}))

    @cached_property
    def _rows_of(self) -> dict[str, list[Row]]:
        if not self.root.is_dir():
            raise FileNotFoundError(f"no image folder at {self.root}; give the folder as data.init_args.root.")
        rows = read_table(self.csv, self.root) if self.csv else read_folders(self.root)
        _check(rows, self.csv or self.root)
        if "test" not in rows:
            train = rows["train"]
            labels = sorted({label for _, label in train})
            kept, held = stratified_split(torch.tensor([labels.index(label) for _, label in train]), 0.2, self.seed)
            rows |= {"train": [train[i] for i in kept], "test": [train[i] for i in held]}
        return rows


def read_folders(root: Path) -> dict[str, list[Row]]:
    """The images of root/<split>/<class>/ or root/<class>/, by split, in order of name.

    Raises:
        ValueError: a class folder without images, or val/ or test/ without train/.
    """
    splits = {name: root / name for name in SPLITS if (root / name).is_dir()}
    if splits and "train" not in splits:
        raise ValueError(
            f"{root} has {' and '.join(f'{name}/' for name in splits)} but no train/. Add train/<class>/ beside, or, "
            "if these are classes and no splits, list the images in a CSV and give it as data.init_args.csv."
        )
    splits = splits or {"train": root}
    rows: dict[str, list[Row]] = {}
    for split, folder in splits.items():
        rows[split] = []
        for label in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            files = sorted(p for p in label.rglob("*") if p.suffix.lower() in ImageDomain.endings)
            if not files:
                raise ValueError(
                    f"class folder {label} has no images ({', '.join(sorted(ImageDomain.endings))}); fill it or "
                    "remove it."
                )
            rows[split] += [(file, label.name) for file in files]
    return rows


def read_table(path: Path, root: Path) -> dict[str, list[Row]]:
    """The images that a CSV with columns path, label and perhaps split lists, by split.

    Raises:
        FileNotFoundError: no CSV, or it lists files that do not exist.
        ValueError: a column is missing, a cell is empty, or a split has another name than train, val or test.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no CSV at {path}.")
    with path.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened)
        columns = reader.fieldnames or []
        if missing := [c for c in ("path", "label") if c not in columns]:
            raise ValueError(
                f"{path} has no column {' and no column '.join(missing)} (found: {', '.join(columns) or 'nothing'})."
            )
        rows: dict[str, list[Row]] = {}
        lost = []
        for number, row in enumerate(reader, 2):
            split = (row.get("split") or "train").strip()
            if split not in SPLITS:
                raise ValueError(f"{path}, line {number}: split is '{split}'; expected train, val or test.")
            if not row["path"] or not row["label"]:
                raise ValueError(
                    f"{path}, line {number}: path and label must not be empty; got {row['path']!r}, {row['label']!r}."
                )
            file = root / row["path"]
            if not file.is_file():
                lost.append(f"line {number}: {row['path']}")
            rows.setdefault(split, []).append((file, row["label"]))
    if lost:
        raise FileNotFoundError(f"{path} lists {len(lost)} files that are not in {root} ({'; '.join(lost[:5])}).")
    return rows


def _check(rows: dict[str, list[Row]], where: Path) -> None:
    """Everything that would otherwise stop a training in the middle."""
    counts = Counter(label for _, label in rows.get("train", ()))
    if len(counts) < 2:
        raise ValueError(
            f"{where} has {len(counts)} class{'es' * (not counts)} to train on "
            f"({', '.join(counts) or 'none'}); a classifier needs two or more."
        )
    rare = [label for label, count in counts.items() if count < 3]
    if rare:
        raise ValueError(
            f"{where}: class '{rare[0]}' has only {counts[rare[0]]} training images; three are needed to hold some out."
        )
    for split, listed in rows.items():
        strange = sorted({label for _, label in listed} - set(counts))
        if strange:
            raise ValueError(f"{where}: the {split} split has classes that train has not: {', '.join(strange[:5])}.")
    paths = [path for listed in rows.values() for path, _ in listed]
    bad = [f"{path.name}: {fault}" for path in paths if (fault := fault_of(path))]
    if bad:
        raise ValueError(f"{where}: {len(bad)} images cannot be read ({'; '.join(bad[:5])}). Repair or remove them.")
