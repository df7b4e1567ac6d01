"""Motifs of training series in buffers, where each is found in a series, and where each comes from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import SeriesDomain
from zoo.sequences.layers.distances import distances
from zoo.sequences.layers.mining import Windows
from zoo.sequences.layers.windows import moments, normalised
from zoo.utils.functional import at_least_fp32

NAME_BYTES = 96
NUMBERS = 2**18  # of the distance profiles of a series that are held at a time


class MotifBank(nn.Module):
    """K windows of training series, and their distance to the nearest window of other series.

    Buffers: `values` (K, longest), as they are compared, followed by zeros · `length` (K,) positions in `lengths` ·
    `variable` (K,) · `shape` (K,) bool, the kind of distance · `index` (K,) number of the training series, -1 before
    the motifs are found · `start` (K,) first step · `series` (K, T) the variable of the training series, as an input ·
    `name` (K, 96) of the series in UTF-8, of a longer name the end.

    Args:
        count: K.
        lengths: of windows, in steps.
        total: T.
        flat: see `zoo.sequences.layers.mining.MiningOptions`.
    """

    values: Tensor
    length: Tensor
    variable: Tensor
    shape: Tensor
    index: Tensor
    start: Tensor
    series: Tensor
    name: Tensor

    def __init__(self, count: int, lengths: Sequence[int], total: int, flat: float) -> None:
        super().__init__()
        self.lengths, self.total, self.flat = tuple(lengths), total, flat
        self.register_buffer("values", torch.zeros(count, max(lengths)))
        for name in ("length", "variable", "start"):
            self.register_buffer(name, torch.zeros(count, dtype=torch.int64))
        self.register_buffer("index", torch.full((count,), -1))
        self.register_buffer("shape", torch.zeros(count, dtype=torch.bool))
        self.register_buffer("series", torch.zeros(count, total))
        self.register_buffer("name", torch.zeros(count, NAME_BYTES, dtype=torch.uint8))

    def store(self, found: Windows, x: Tensor, index: Tensor, names: list[str]) -> None:
        """Replaces the motifs.

        Args:
            found: K windows.
            x: (N, T, V) the series that they are windows of.
            index: (N,) numbers of these series in the training set.
            names: of the N series.
        """
        position = {steps: i for i, steps in enumerate(self.lengths)}
        self.values.zero_()
        places = zip(*(t.tolist() for t in (found.series, found.start, found.length, found.variable)), strict=True)
        for k, (row, start, steps, variable) in enumerate(places):
            window = x[row, start : start + steps, variable]
            self.values[k, :steps] = normalised(window, self.flat) if bool(found.shape[k]) else window
            self.length[k], self.series[k] = position[steps], x[row, :, variable]
            text = names[row].encode()[-NAME_BYTES:]
            self.name[k] = torch.tensor(list(text.ljust(NAME_BYTES, b"\0")), dtype=torch.uint8)
        self.start.copy_(found.start)
        self.variable.copy_(found.variable)
        self.shape.copy_(found.shape)
        self.index.copy_(index[found.series])

    @property
    def steps(self) -> Tensor:
        """(K,) steps of each motif."""
        return torch.tensor(self.lengths, device=self.length.device)[self.length]

    def profile(self, x: Tensor) -> Tensor:
        """(B, K, T) distance to the window that starts at each step of series (B, T, V); inf where there is none."""
        x = at_least_fp32(x).mT
        return self._profile(x, *self._moments(x), torch.arange(len(self.index), device=x.device))

    def _profile(self, x: Tensor, means: Tensor, variances: Tensor, part: Tensor) -> Tensor:
        variable, steps, shape = self.variable[part], self.steps[part][:, None], self.shape[part][:, None]
        values = self.values[part]
        own = x[:, variable]  # (B, k, T)
        read = own - own.mean(2, keepdim=True) * shape
        padded = F.pad(read, (0, values.shape[1] - 1))
        product = F.conv1d(padded, values[:, None] / steps[:, None], groups=len(part))  # (B, k, T)
        size = (values.square().sum(1, keepdim=True) / steps)[None]
        place = (self.length[part], variable)
        mean, variance = (tensor[:, place[0], place[1]] for tensor in (means, variances))
        found = distances(product, size, mean, variance, shape, self.flat)
        return found.masked_fill(torch.arange(self.total, device=x.device) > self.total - steps, torch.inf)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the windows of every length of (B, V, T), each (B, lengths, V, T); 0 where none is."""
        each = [[F.pad(m, (0, steps - 1)) for m in moments(x, steps)] for steps in self.lengths]
        mean, variance = (torch.stack(tensors, 1) for tensors in zip(*each, strict=True))
        return mean, variance

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distance and first step of the nearest window of series (B, T, V), each (B, K); ties to the first."""
        x = at_least_fp32(x).mT
        means, variances = self._moments(x)
        parts = torch.arange(len(self.index), device=x.device).split(max(NUMBERS // self.total, 1))
        found = [self._profile(x, means, variances, part).min(2) for part in parts]  # bounds memory
        return torch.cat([part.values for part in found], 1), torch.cat([part.indices for part in found], 1)

    def support(self, start: Tensor, variables: int) -> Tensor:
        """(B, K, T, V) in {0, 1}: the windows that start at `start` (B, K)."""
        step = torch.arange(self.total, device=start.device)
        inside = (step >= start[..., None]) & (step < (start + self.steps)[..., None])  # (B, K, T)
        return inside[..., None] * F.one_hot(self.variable, variables)[:, None].float()

    def sources(self, domain: SeriesDomain) -> list[dict[str, Any]]:
        """What each motif is, as plain data: "motif" for pages, in raw values; empty before motifs are found."""
        if int(self.index.min()) < 0:
            return [{} for _ in self.index]
        mean, std = torch.tensor(domain.mean), torch.tensor(domain.std)
        variable = self.variable.cpu()
        raw = self.series.cpu() * std[variable][:, None] + mean[variable][:, None]
        names = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in self.name.tolist()]
        return [
            {
                "index": index,
                "motif": {
                    "series": names[k],
                    "start": start,
                    "steps": steps,
                    "variable": variable[k].item(),
                    "kind": "shape" if shape else "value",
                    "values": [float(f"{value:.5g}") for value in raw[k].tolist()],
                },
            }
            for k, (index, start, steps, shape) in enumerate(
                zip(*(t.tolist() for t in (self.index, self.start, self.steps, self.shape)), strict=True)
            )
        ]
