"""M11: does the explanation find what is known to matter?"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.subject import Case


class GroundTruthRecovery(FaithfulnessMetric):
    """Agreement of the contributions laid out over the input with the elements that are known to matter.

    Of |contributions|; with the share π of elements that matter:

        average precision   (AP - π) / (1 - π); equal values have one threshold, so a constant map has 0
        mass                (share of the map on elements that matter - π) / (1 - π)
        true positive rate  of the fewest elements that hold nine tenths of the map: which share of what matters
        false discovery     of the same: which share of them does not matter

    The first two are 1 for the truth and 0 by chance; the others' chance depends on π. Samples that are predicted
    wrongly, that have no or only elements that matter, or whose map is empty have no value. Where a model is more than
    three points below the ceiling of its world, these numbers say nothing: it may not use what is known to matter.
    """

    key, title = "M11", "ground-truth recovery"
    names = ("average precision", "mass", "true positive rate", "false discovery")
    directions, chances = (1, 1, 1, -1), (0.0, 0.0, None, None)
    ideals = (1.0, 1.0, 1.0, 0.0)
    needs = ("support", "truth")

    def measure(self, case: Case) -> Tensor:
        if case.truth is None:
            raise ValueError(f"{self.title} needs the elements that matter, Case(truth=...).")
        matters = (case.truth.amax(1) > 0) & case.present
        weight = case.laid_out(case.weight.abs()).double()
        chance = matters.sum(1) / case.present.sum(1).double()
        precision = average_precision(weight.masked_fill(~case.present, -1), matters)
        total = weight.sum(1)
        mass = (weight * matters).sum(1) / total.clamp_min(1e-300)
        found = covering(weight)
        hits = (found & matters).sum(1).double()
        columns = [
            (precision - chance) / (1 - chance),
            (mass - chance) / (1 - chance),
            hits / matters.sum(1),
            1 - hits / found.sum(1),
        ]
        unknown = (chance == 0) | (chance == 1) | (total == 0)
        if case.labels is not None:
            unknown |= case.labels != case.target
        return torch.stack(columns, 1).masked_fill(unknown[:, None], torch.nan)


def average_precision(value: Tensor, positive: Tensor) -> Tensor:
    """(B,) float64: sum of precision times gain in recall over thresholds from high to low; equal values share one."""
    ordered, rank = value.sort(dim=1, descending=True, stable=True)
    hits = positive.gather(1, rank).double()
    found = hits.cumsum(1)
    last = torch.searchsorted((-ordered).contiguous(), (-ordered).contiguous(), right=True) - 1  # of equal values
    precision = found.gather(1, last) / (last + 1)
    return (hits * precision).sum(1) / hits.sum(1).clamp_min(1)
