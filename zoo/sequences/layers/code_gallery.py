"""What codes of windows look like: the median of training windows that chose them, and the decoder's output."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.running_top import running_top
from zoo.domain import SeriesDomain
from zoo.sequences.layers.window_codes import WindowCodes
from zoo.training.projection_set import ProjectionSet

NOT_CHOSEN = -1e9  # similarity of a code to windows that have another


class CodeGallery(nn.Module):
    """Pictures of K codes as lines of L steps.

    Buffers: `median` (K, L) of the nearest window that chose the code in each of up to `series` training series, those
    with the nearest ones · `decoded` (K, L) · `found` (K,) number of these windows, 0 for a code that none chose ·
    `windows` (K,) number of all training windows that chose it.

    Args:
        codes: K.
        window: L.
        series: largest number of training series for each code.
    """

    median: Tensor
    decoded: Tensor
    found: Tensor
    windows: Tensor

    def __init__(self, codes: int, window: int, series: int = 50) -> None:
        super().__init__()
        self.series = series
        self.register_buffer("median", torch.zeros(codes, window))
        self.register_buffer("decoded", torch.zeros(codes, window))
        self.register_buffer("found", torch.zeros(codes, dtype=torch.int64))
        self.register_buffer("windows", torch.zeros(codes, dtype=torch.int64))

    def fill(self, projection_set: ProjectionSet, network: WindowCodes) -> None:
        """Finds the windows in one pass over the training set.

        Raises:
            ValueError: the training set is empty.
        """
        count = torch.zeros_like(self.windows)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in projection_set:
                coded = network(batch["input"])
                count.add_(coded.choice.sum((0, 1, 2)).long())
                near = (-coded.distance).masked_fill(coded.choice == 0, NOT_CHOSEN)
                yield near.permute(0, 3, 1, 2), batch["index"]

        best = running_top(batches(), self.series, projection_set.world)
        if best is None:
            raise ValueError("the training set is empty, so that no code has a picture; check the data.")
        self.windows.copy_(projection_set.total(count))
        chosen = best.value > NOT_CHOSEN / 2
        self.found.copy_(chosen.sum(1))
        self.median.zero_()
        numbers = best.index[chosen].unique().tolist()
        inputs = {i: network.windows(projection_set.input(i)[None])[0].flatten(0, 1) for i in numbers}
        for k in self.found.nonzero()[:, 0].tolist():
            here = zip(best.index[k][chosen[k]].tolist(), best.cell[k][chosen[k]].tolist(), strict=True)
            self.median[k] = torch.stack([inputs[i][cell] for i, cell in here]).median(0).values
        self.decoded.copy_(network.decoder(network.codebook.codes))

    def sources(self, domain: SeriesDomain) -> list[dict[str, Any]]:
        """Each picture as plain data, "pattern" for pages; empty for unused codes.

        Values are raw if the series have one variable, else normalised like an input.
        """
        one = len(domain.variables) == 1
        lines = (t.cpu() * domain.std[0] + domain.mean[0] if one else t for t in (self.median, self.decoded))
        rows = zip(*(t.tolist() for t in (*lines, self.found, self.windows)), strict=True)
        return [
            {"pattern": {"median": _short(median), "decoded": _short(decoded), "series": found, "windows": windows}}
            if found
            else {}
            for median, decoded, found, windows in rows
        ]


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
