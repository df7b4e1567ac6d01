"""Data sets whose items have names, and parts of them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset


class Items(Dataset):
    """A data set with known targets and named items; an item is a dict with "input" and "target".

    Attributes:
        targets: (N,) classes, or (N, C) values.
        concepts: (N, k) in {0, 1, NaN}, NaN where not annotated; None without concepts.
    """

    targets: Tensor
    concepts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, indices: list[int]) -> Sequence[dict[str, Any]]:
        """A batch of items."""
        return [self[i] for i in indices]

    def name(self, i: int) -> str:
        """Name of item i."""
        raise NotImplementedError("a data set defines name()")


class Part(Items):
    """Some items of a data set.

    Args:
        dataset: what to take items from.
        indices: numbers of the items.
    """

    def __init__(self, dataset: Items, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.targets = dataset.targets[self.indices]
        self.concepts = None if dataset.concepts is None else dataset.concepts[self.indices]

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.dataset[self.indices[i]]

    def __getitems__(self, indices: list[int]) -> Sequence[dict[str, Any]]:
        return self.dataset.__getitems__([self.indices[i] for i in indices])

    def name(self, i: int) -> str:
        """Name of item i."""
        return self.dataset.name(self.indices[i])


class Rows(Items):
    """Items held in memory as tensors.

    Args:
        inputs: (N, ...), already preprocessed by the domain.
        targets: (N,) classes, or (N, C) values.
        names: N names.
        concepts: (N, k) in {0, 1, NaN}.
        regions: (N, R, *S) in {0, 1}: the elements of each input that are known to determine the target.
        partners: (N,) number of the other item of each pair, whose input is the item's "pair".
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str],
        concepts: Tensor | None = None,
        regions: Tensor | None = None,
        partners: Tensor | None = None,
    ) -> None:
        self.inputs, self.targets, self.names = inputs, targets, names
        self.concepts, self.regions, self.partners = concepts, regions, partners

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = {"input": self.inputs[i], "target": self.targets[i]}
        if self.partners is not None:
            item["pair"] = self.inputs[self.partners[i]]
        optional = {"concepts": self.concepts, "regions": self.regions}
        return item | {name: values[i] for name, values in optional.items() if values is not None}

    def name(self, i: int) -> str:
        """Name of item i."""
        return self.names[i]
