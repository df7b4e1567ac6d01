"""How well scores rank what is present above what is absent, in bounded memory."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.utils.functional import area_under_roc, average_precision

EXACT = 2**22  # values up to which results are exact; 20 MB
CELLS, REACH = 2048, 16.0  # of the histograms: cells, and the range of log-odds that they divide


class Ranking(Metric):
    """Area under the ROC curve and average precision of k columns.

    Exact up to 4,194,304 values (rows times columns) for each process. Beyond that, memory stays bounded: the values
    are counted in 2,048 cells of equal width on log-odds from -16 to 16, and equal cells count as ties.

    Args:
        space: what values are: "probability", "logit" (here the logarithm of a probability) or "value".
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    values: list[Tensor]
    labels: list[Tensor]
    histogram: Tensor

    def __init__(self, space: str = "probability") -> None:
        super().__init__()
        self.space, self.held = space, 0
        self.add_state("values", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("histogram", torch.zeros(0, 2, CELLS, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, values: Tensor, labels: Tensor) -> None:
        """Adds values (B, k), higher for present, and labels (B, k) in {0, 1, NaN}; NaN are ignored."""
        self.values.append(values.detach().float())
        self.labels.append(
            labels.nan_to_num(-1).to(torch.int8) if labels.is_floating_point() else labels.to(torch.int8)
        )
        self.held += values.numel()
        if self.held > EXACT:
            self.histogram = self._counts()
            self.values, self.labels, self.held = [self.values[-1][:0]], [self.labels[-1][:0]], 0

    def compute(self) -> Tensor:
        """Areas and average precisions (2, k) fp64; NaN where only one kind of label occurs."""
        if self.binned:
            return ranking_of(self._counts())
        labels = dim_zero_cat(self.labels)
        known = labels.float().masked_fill(labels < 0, torch.nan)
        values = dim_zero_cat(self.values)
        lowest = torch.where(labels < 0, -torch.inf, values)  # unknown labels count as absent, after all known ones
        return torch.stack([area_under_roc(values, known), average_precision(lowest, (labels == 1).long())])

    @property
    def binned(self) -> bool:
        """Whether there were too many values for exact results."""
        return bool(self.histogram.numel())

    def best_threshold(self) -> Tensor:
        """The probability at or above which to predict the last column, for the largest balanced accuracy.

        Halfway between the two neighbouring values; NaN if only one kind of label occurs. Not for space "value".
        """
        if self.binned:
            absent, present = self._counts()[-1]
            cell = (absent + present).nonzero()[:, 0]
            places = ((cell + 0.5) * 2 * REACH / CELLS - REACH).sigmoid()
            absent, present = absent[cell], present[cell]
        else:
            values, labels = dim_zero_cat(self.values)[:, -1], dim_zero_cat(self.labels)[:, -1]
            places, cell = (values.exp() if self.space == "logit" else values).unique(return_inverse=True)
            absent, present = (torch.bincount(cell[labels == kind], minlength=len(places)) for kind in (0, 1))
        below = absent.cumsum(0) - absent
        above = present.sum() - (present.cumsum(0) - present)
        balanced = below / absent.sum() + above / present.sum()
        if bool(balanced.isnan().any()):
            return places.new_full((), torch.nan)
        best = int(balanced.argmax())
        return places[max(best - 1, 0) : best + 1].mean()

    def reset(self) -> None:
        super().reset()
        self.held = 0

    def _counts(self) -> Tensor:
        """The histogram (k, 2, CELLS) of everything seen: absent, present."""
        values, labels = dim_zero_cat(self.values), dim_zero_cat(self.labels)
        columns = values.shape[1]
        cell = ((log_odds(values, self.space).clamp(-REACH, REACH) + REACH) * (CELLS / 2 / REACH)).long()
        column = torch.arange(columns, device=values.device)
        place = (2 * column + labels.long()) * CELLS + cell.clamp(max=CELLS - 1)
        found = torch.bincount(place[labels >= 0], minlength=2 * columns * CELLS).view(columns, 2, CELLS)
        return found + self.histogram if self.binned else found


def log_odds(values: Tensor, space: str) -> Tensor:
    """Values on a common scale, in fp64: log-odds of (logarithms of) probabilities, asinh of others."""
    wide = values.double()
    if space == "value":
        return wide.asinh()
    return wide - torch.log1p(-wide.exp()) if space == "logit" else wide.logit()


def ranking_of(counts: Tensor) -> Tensor:
    """Areas and average precisions (2, k) of histograms (k, 2, cells) of absent and present, equal cells as ties."""
    absent, present = counts.double().unbind(1)
    below = absent.cumsum(1) - absent
    total = present.sum(1)
    area = (present * (below + absent / 2)).sum(1) / (total * absent.sum(1))
    found, wrong = (side.flip(1).cumsum(1).flip(1) for side in (present, absent))  # at or above each cell
    return torch.stack([area, (present * (found / (found + wrong).clamp_min(1))).sum(1) / total])
