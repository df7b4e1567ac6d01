"""The splits of a user's table: a column that names them, groups that stay together, time, or chance."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.frames import Frame
from zoo.data.base.sampling import stratified_split
from zoo.data.base.splits import SPLITS
from zoo.data.base.table_columns import DATE
from zoo.domain.columns import is_number
from zoo.utils.errors import did_you_mean

WAYS = ("column", "group", "time")
Rows = dict[str, "np.ndarray"]


def split_column(split: Mapping[str, str] | None, frame: Frame) -> tuple[str, str]:
    """How a table is split, "column", "group", "time" or "random", and by which column.

    Raises:
        ValueError: an unknown way, or more than one.
    """
    if split is None:
        return ("column", "split") if "split" in frame.cells.columns else ("random", "")
    if not isinstance(split, Mapping):
        raise ValueError(f"split must be a mapping such as {{group: NAME}}; got {split!r:.80}.")
    if not split:
        return "random", ""
    if len(split) != 1 or (way := next(iter(split))) not in WAYS:
        raise ValueError(
            f"split is a column that names train, val or test ({{column: NAME}}), one whose equal values stay together "
            f"({{group: NAME}}), or one to order by ({{time: NAME}}); got {dict(split)}."
        )
    return way, split[way]


def split_rows(
    frame: Frame, way: str, name: str, targets: Tensor, held_out: tuple[float, float], seed: int, has_test: bool
) -> Rows:
    """Numbers of the rows of each split; "val" only where it cannot be drawn from the training rows by chance.

    Args:
        frame: the table.
        way: "column", "group", "time" or "random".
        name: of the column.
        targets: (N,) classes, or (N, C) values.
        held_out: shares of the test and of the validation rows.
        seed: of chance.
        has_test: whether the test rows are in another table.

    Raises:
        ValueError: the column has other names than train, val and test, or too few different values.
    """
    count = len(targets)
    if way == "random":
        if has_test:
            return {"train": np.arange(count)}
        kept, held = stratified_split(targets, held_out[0], seed)
        return {"train": np.array(kept), "test": np.array(held)}
    cells = frame.column(name)
    if way == "column":
        return _named(frame, name, cells.to_list(), held_out[0], targets, seed, has_test)
    if (cells == "").any():
        raise ValueError(
            f"{frame.where(int((cells == '').arg_max() or 0))}: '{name}' is empty, and rows are split by it."
        )
    values = cells.to_numpy()
    if way == "time":
        numbers = np.array([float(v) if is_number(v) else np.nan for v in values])
        if (np.isnan(numbers).any() and not bool(cells.str.contains(DATE).all())) or cells.n_unique() < 2:
            raise ValueError(
                f"{frame.name}: column '{name}' must have several numbers, or dates such as 2024-12-31, to order rows "
                f"by time; got {values[0]!r:.80}."
            )
        keys = values if np.isnan(numbers).any() else numbers  # ISO dates are in order as texts
        place = np.argsort(keys, kind="stable").argsort(kind="stable")
    else:
        groups, place = np.unique(values, return_inverse=True)
        if len(groups) < 3:
            raise ValueError(f"{frame.name}: column '{name}' has {len(groups)} groups; three or more are needed.")
        count = len(groups)
        place = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()[place]
    test = count if has_test else count - max(round(count * held_out[0]), 1)
    val = test - max(round(test * held_out[1]), 1)
    rows = {"train": place < val, "val": (place >= val) & (place < test), "test": place >= test}
    return {split: np.flatnonzero(chosen) for split, chosen in rows.items() if not (split == "test" and has_test)}


def _named(
    frame: Frame, name: str, cells: Sequence[str], share: float, targets: Tensor, seed: int, has_test: bool
) -> Rows:
    names = np.array([cell or "train" for cell in cells])
    for split in np.unique(names):
        if split not in SPLITS:
            where = frame.where(int(np.argmax(names == split)))
            raise ValueError(
                f"{where}: split is '{split}'; expected train, val or test; {did_you_mean(split, SPLITS)} If "
                f"'{name}' is no split, set split: {{}}, which splits by chance."
            )
    rows = {split: np.flatnonzero(names == split) for split in SPLITS if (names == split).any()}
    if "train" not in rows:
        raise ValueError(f"{frame.name}: no row is of the train split; column '{name}' names the split of each row.")
    if "test" not in rows and not has_test:
        kept, held = stratified_split(targets[rows["train"]], share, seed)
        rows |= {"train": rows["train"][kept], "test": rows["train"][held]}
    return rows
