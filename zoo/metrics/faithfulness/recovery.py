"""M11: does the explanation find the ground-truth regions?"""

import torch
from torch import Tensor

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case


class GroundTruthRecovery(FaithfulnessMetric):
    """Agreement of |contributions|, spread over the input, with the ground-truth regions.

    With the share π of elements in the regions:

        average precision   (AP - π) / (1 - π); equal values share one threshold, so a constant map has 0
        mass                (share of the map inside the regions - π) / (1 - π)
        true positive rate  share of the regions covered by the fewest elements that hold 90 % of the map
        false discovery     share of these elements outside the regions

    The first two are 1 for the ground truth and 0 by chance; the chance of the others depends on π. A sample has no
    value if it is misclassified, if the regions cover none or all of it, or if its map is empty. If the accuracy of a
    model is more than three points below the ceiling of the benchmark, these numbers are not meaningful: the model may
    use other evidence.
    """

    key, title = "M11", "ground-truth recovery"
    columns = (
        Column("average precision", 1, 0.0, 1.0),
        Column("mass", 1, 0.0, 1.0),
        Column("true positive rate", 1, None, 1.0),
        Column("false discovery", -1, None, 0.0),
    )
    needs = ("support", "regions")

    def per_sample(self, case: Case) -> Tensor:
        if case.regions is None:
            raise ValueError(f"{self.title} needs ground-truth regions, Case(regions=...).")
        relevant = (case.regions.amax(1) > 0) & case.present
        weight = case.spread(case.weight.abs()).double()
        chance = relevant.sum(1) / case.present.sum(1).double()
        precision = average_precision(weight.masked_fill(~case.present, -1), relevant)
        total = weight.sum(1)
        mass = (weight * relevant).sum(1) / total.clamp_min(1e-300)
        found = smallest_cover(weight)
        hits = (found & relevant).sum(1).double()
        values = [
            (precision - chance) / (1 - chance),
            (mass - chance) / (1 - chance),
            hits / relevant.sum(1),
            1 - hits / found.sum(1),
        ]
        undefined = (chance == 0) | (chance == 1) | (total == 0)
        if case.labels is not None:
            undefined |= case.labels != case.target
        return torch.stack(values, 1).masked_fill(undefined[:, None], torch.nan)


def average_precision(value: Tensor, positive: Tensor) -> Tensor:
    """(B,) float64: the sum of precision times increase in recall over thresholds; equal values share a threshold."""
    ordered, rank = value.sort(dim=1, descending=True, stable=True)
    hits = positive.gather(1, rank).double()
    found = hits.cumsum(1)
    last = (
        torch.searchsorted((-ordered).contiguous(), (-ordered).contiguous(), right=True) - 1
    )  # the last of equal values
    precision = found.gather(1, last) / (last + 1)
    return (hits * precision).sum(1) / hits.sum(1).clamp_min(1)
