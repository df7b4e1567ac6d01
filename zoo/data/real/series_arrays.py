"""Your own series, with classes or values, as arrays in safetensors or NPY files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.data.base.series import Recordings, SeriesData
from zoo.domain.series_files import load_npy
from zoo.utils.paths import check_file, expand


class SeriesArrays(SeriesData):
    """Your own series as arrays: a folder of train.safetensors, test.safetensors, and optionally val.safetensors.

    Each file has the tensors `input` (N, T, V) and `target`: integers (N,) are classes, floats (N,) or (N, C) are
    values to predict. Instead of each file there may be two of NumPy: train_input.npy and train_target.npy. NaN in
    an input is a missing value, see `missing`.

    Args:
        root: the folder.
        variables: names of the V variables; by default "variable 1", ...
        classes: names of the classes or values; by default "class 0", ... or "value 1", ...
        **series: the options of `SeriesData`.
    """

    def __init__(self, root: str, variables: Sequence[str] = (), classes: Sequence[str] = (), **series: Any) -> None:
        super().__init__(**series)
        self.root, self.variables, self.classes = expand(root), tuple(variables), tuple(classes)
        self.title = self.root.name

    def read(self) -> Recordings:
        files = {split: _file(self.root, split) for split in ("train", "val", "test")}
        if not files["val"].is_file():
            del files["val"]
        found = {split: _arrays(path, self.gaps) for split, path in files.items()}
        values, target = found["train"]
        regression, count = target.is_floating_point(), values.shape[2]
        for split, (others, targets) in found.items():
            if others.shape[2] != count or targets.dtype != target.dtype or targets.shape[1:] != target.shape[1:]:
                raise ValueError(
                    f"{files[split]} does not fit the training series: input {tuple(others.shape)} and target "
                    f"{tuple(targets.shape)} of {targets.dtype}, not (N, T, {count}) and {target.dtype}."
                )
        highest = max(int(targets.max()) for _, targets in found.values())
        outputs = target.shape[1] if regression else highest + 1
        default = [f"value {c + 1}" if regression else f"class {c}" for c in range(outputs)]
        for what, names, wanted in (("variables", self.variables, count), ("classes", self.classes, outputs)):
            few = len(names) < wanted if what == "classes" and not regression else len(names) != wanted
            if names and few:
                raise ValueError(f"{what} names {len(names)}, but {self.root} has {wanted}; name each of them.")
        return Recordings(
            {split: list(values) for split, (values, _) in found.items()},
            {split: target for split, (_, target) in found.items()},
            self.classes or tuple(default),
            self.variables or tuple(f"variable {v + 1}" for v in range(count)),
            "regression" if regression else "classification",
        )


def _file(root: Path, split: str) -> Path:
    """The file of a split: safetensors, or the inputs of a pair of NPY files."""
    arrays, plain = root / f"{split}.safetensors", root / f"{split}_input.npy"
    return plain if plain.is_file() and not arrays.is_file() else arrays


def _load(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npy":
        target = path.with_name(path.name.replace("_input", "_target"))
        check_file(target, "targets")
        files = {"input": path, "target": target}
        return {name: torch.from_numpy(np.array(load_npy(file))) for name, file in files.items()}
    if not path.is_file():
        raise FileNotFoundError(f"no series at {path}; write the tensors input (N, T, V) and target there.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}.") from None


def _arrays(path: Path, gaps: bool) -> tuple[Tensor, Tensor]:
    """`input` (N, T, V) float32, and `target`: classes (N,) int64, or values (N, C) float32."""
    found = _load(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    values, target = found.get("input"), found.get("target")
    if values is None or target is None or values.ndim != 3 or not values.numel() or not target.numel():
        raise ValueError(
            f"{path} has {shapes}; expected input (N, T, V) and target (N,) or (N, C), neither of them empty."
        )
    target = (target[:, None] if target.ndim == 1 else target).float() if target.is_floating_point() else target.long()
    regression = target.is_floating_point()
    if len(target) != len(values) or target.ndim != 1 + regression:
        raise ValueError(
            f"{path} has input {shapes['input']} and target {shapes['target']} of {found['target'].dtype}; expected "
            "N classes as integers (N,), or N values as floats (N,) or (N, C)."
        )
    known = values.isfinite() | (values.isnan() & gaps)
    if not bool(known.all() & target.isfinite().all()):
        raise ValueError(
            f"{path} has values that are NaN or infinite; clean them first, or let the option `missing` fill NaN in "
            "inputs."
        )
    if not regression and int(target.min()) < 0:
        raise ValueError(f"{path} has class {int(target.min())}; classes are integers from 0 on.")
    return values.float(), target
