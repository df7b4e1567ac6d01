"""Windows of tokens, and the token that follows each, as items."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.items import Items
from zoo.data.base.sampling import EpochSampler


class Windows(Items):
    """Windows of T tokens of one long array; the target of each is the token that follows.

    Args:
        tokens: (N,) int32.
        length: T.
        starts: (W,) first token of each window; by default consecutive windows.
        title: name of the array, for the names of the items.
    """

    def __init__(self, tokens: Tensor, length: int, starts: Tensor | None = None, title: str = "tokens") -> None:
        self.tokens, self.length, self.title = tokens, length, title
        self.starts = torch.arange(0, len(tokens) - length, length) if starts is None else starts
        self.targets = tokens[self.starts + length].long()

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        start = int(self.starts[i])
        window = self.tokens[start : start + self.length + 1].long()
        return {"input": window[:-1], "target": window[-1]}

    def name(self, i: int) -> str:
        """Name of item i."""
        return f"{self.title} from {int(self.starts[i])}"


class WindowSampler(EpochSampler):
    """A random choice of windows in every epoch, which depends on (seed, epoch) alone.

    Args:
        count: number of windows per epoch.
        dataset, generator, seed: see `EpochSampler`.
    """

    def __init__(self, count: int, dataset: Dataset, generator: torch.Generator, seed: int) -> None:
        super().__init__(dataset, generator, seed)
        self.size = len(dataset)  # pyright: ignore[reportArgumentType] (all data sets of the zoo have a length)
        self.count = count - count % self.num_replicas
        self.num_samples = self.count // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        permutations = [torch.randperm(self.size, generator=draw) for _ in range(-(-self.count // self.size))]
        return iter(torch.cat(permutations)[self.rank : self.count : self.num_replicas].tolist())
