"""Which pairs of columns a model reads, and the steps by which their functions are purified."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.additive.layers.purify import purify_pair
from zoo.additive.layers.readout import pair_name
from zoo.core.evidence import Unit


class Interactions(nn.Module):
    """P pairs of K columns; functions of single columns come first, those of pairs after them.

    Args:
        columns: K.
        pairs: P, the largest number of pairs.
        bins: S, the largest number of bins of a column.
        outputs: C', numbers that each function has.

    Attributes:
        pairs: (P, 2) columns; an unused pair has the same twice.
        margins: (P, 2, S, C') steps of the two columns that are taken from the pair and added to the columns.
        density: (P, S, S) shares of the training rows.
    """

    pairs: Tensor
    margins: Tensor
    density: Tensor

    def __init__(self, columns: int, pairs: int, bins: int, outputs: int) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("pairs", torch.zeros(pairs, 2, dtype=torch.long))
        self.register_buffer("margins", torch.zeros(pairs, 2, bins, outputs))
        self.register_buffer("density", torch.zeros(pairs, bins, bins))

    def reset(self) -> None:
        """Forgets pairs and steps."""
        for buffer in (self.pairs, self.margins, self.density):
            buffer.zero_()

    def keep(self, candidates: Tensor, variance: Tensor) -> None:
        """Keeps the pairs of largest variance.

        Args:
            candidates: (n, 2) columns in increasing order, or (n, 1); those with the same column twice are no pairs.
            variance: (n,).
        """
        self.reset()
        real = candidates[:, 0] != candidates[:, -1]
        order = variance[real].argsort(descending=True, stable=True)[: len(self.pairs)]
        self.pairs[: len(order)] = candidates[real][order]

    def known(self, choices: Tensor) -> Tensor:
        """(T, P): whether each choice of columns (T, 1 or 2) is each pair."""
        ordered = choices.sort(1).values
        if choices.shape[1] == 1:
            return torch.zeros(len(choices), 0, dtype=torch.bool, device=choices.device)
        used = self.pairs[:, 0] != self.pairs[:, 1]
        return (ordered[:, None] == self.pairs).all(2) & used

    def allowed(self, choices: Tensor) -> Tensor:
        """Choices (T, 1 or 2) in which pairs that are not kept are replaced by their first column twice."""
        return torch.where(self.known(choices).any(1, keepdim=True), choices, choices[:, :1])

    def owner(self, choices: Tensor) -> Tensor:
        """(T, K + P) in {0, 1}: the function that each choice belongs to."""
        known = self.known(choices).float()
        single = F.one_hot(choices[:, 0], self.columns) * (1 - known.sum(1, keepdim=True))
        return torch.cat([single, known], 1)

    def fit(self, functions: Tensor, bins: Tensor) -> None:
        """Finds steps and densities from functions (N, K + P, C') and bins (N, K) of the training rows."""
        self.margins.zero_()
        size = self.density.shape[1]
        for p, (a, b) in enumerate(self.pairs.tolist()):
            cells, values = bins[:, a] * size + bins[:, b], functions[:, self.columns + p].double()
            counts = torch.bincount(cells, minlength=size * size)
            sums = values.new_zeros(size * size, values.shape[1]).index_add_(0, cells, values)
            table, share = (sums / counts.clamp_min(1)[:, None]).unflatten(0, (size, size)), counts / len(bins)
            self.density[p] = share.unflatten(0, (size, size))
            if a != b:
                _, self.margins[p, 0], self.margins[p, 1] = purify_pair(table, self.density[p])

    def forward(self, functions: Tensor, bins: Tensor) -> Tensor:
        """Purified functions (B, K + P, C'), whose sum is the same; bins (B, K)."""
        if not len(self.pairs):
            return functions
        number = torch.arange(len(self.pairs), device=bins.device)
        steps = torch.stack([self.margins[number, side, bins[:, self.pairs[:, side]]] for side in (0, 1)], 2)
        single, pairs = functions[:, : self.columns], functions[:, self.columns :]
        columns = F.one_hot(self.pairs, self.columns).to(steps.dtype)  # (P, 2, K)
        moved = torch.einsum("bpsc,psk->bkc", steps, columns)
        return torch.cat([single + moved, pairs - steps.sum(2)], 1)

    def support(self, place: Tensor) -> Tensor:
        """(K + P, F) in {0, 1}: the inputs that each function reads, from those of the columns (K, F)."""
        used = (self.pairs[:, 0] != self.pairs[:, 1])[:, None]
        return torch.cat([place, (place[self.pairs[:, 0]] + place[self.pairs[:, 1]]) * used])

    def units(self, names: list[str]) -> tuple[Unit, ...]:
        """The pairs as units, from the names of the columns."""
        units = []
        for p, (a, b) in enumerate(self.pairs.tolist()):
            if a == b:
                units.append(Unit(f"(unused pair {p + 1})", "pair", source={"pruned": True}))
            else:
                units.append(Unit(pair_name(names, a, b), "pair"))
        return tuple(units)
