"""Series of your own, with classes or values, as arrays in safetensors files."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.data.real.series import Recordings, SeriesData
from zoo.utils.paths import expand


class SeriesArrays(SeriesData):
    """Series of your own as arrays: a folder of train.safetensors, test.safetensors, and perhaps val.safetensors.

    Each file holds the tensors `input` (N, T, V) and `target`: (N,) whole numbers are classes, (N,) or (N, C) floats
    are values to be predicted.

    Args:
        root: the folder.
        variables: names of the V variables; by default "variable 1", ...
        classes: names of the classes or values; by default "class 0", ... or "value 1", ...
        uneven, length, step, unit: see `SeriesData`.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the split and the shuffles.
        val_fraction: share of the training series held out for validation, if there is no val.safetensors.
    """

    def __init__(
        self,
        root: str,
        variables: Sequence[str] = (),
        classes: Sequence[str] = (),
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
        self.root, self.variables, self.classes = expand(root), tuple(variables), tuple(classes)
        self.title = self.root.name

    def read(self) -> Recordings:
        files = {split: self.root / f"{split}.safetensors" for split in ("train", "val", "test")}
        if not files["val"].is_file():
            del files["val"]
        found = {split: _arrays(path) for split, path in files.items()}
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


def _arrays(path: Path) -> tuple[Tensor, Tensor]:
    """`input` (N, T, V) float32, and `target`: classes (N,) int64, or values (N, C) float32."""
    if not path.is_file():
        raise FileNotFoundError(f"no series at {path}; write the tensors input (N, T, V) and target there.")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}.") from None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    values, target = found.get("input"), found.get("target")
    if values is None or target is None or values.ndim != 3 or not values.numel() or not target.numel():
        raise ValueError(f"{path} has {shapes}; expected input (N, T, V) and target (N,) or (N, C), nothing empty.")
    target = (target[:, None] if target.ndim == 1 else target).float() if target.is_floating_point() else target.long()
    regression = target.is_floating_point()
    if len(target) != len(values) or target.ndim != 1 + regression:
        raise ValueError(
            f"{path} has input {shapes['input']} and target {shapes['target']} of {found['target'].dtype}; expected "
            "N classes, whole numbers (N,), or N values, floats (N,) or (N, C)."
        )
    if not bool(values.isfinite().all() & target.isfinite().all()):
        raise ValueError(f"{path} has values that are NaN or infinite; clean them first.")
    if not regression and int(target.min()) < 0:
        raise ValueError(f"{path} has class {int(target.min())}; classes are whole numbers from 0 on.")
    return values.float(), target
