"""Items of a data set as a batch."""

from collections.abc import Sequence
from typing import Any, overload

from torch import Tensor
from torch.utils.data import default_collate


class Collated(Sequence[dict[str, Any]]):
    """Items that exist as tensors of a batch only, so that nothing is split and stacked again.

    Args:
        batch: tensors of B rows by name.
    """

    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["input"])

    @overload
    def __getitem__(self, i: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, i: int | slice) -> Any:
        rows = {name: tensor[i] for name, tensor in self.batch.items()}
        return Collated(rows) if isinstance(i, slice) else rows


def collate(items: Any) -> Any:
    """Items as a batch: the `collate_fn` of all loaders."""
    return items.batch if isinstance(items, Collated) else default_collate(items)
