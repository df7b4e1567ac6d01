"""M7: does the evidence stay as it is when the input changes in a way that should not matter?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.perturbations import Perturbation
from zoo.metrics.faithfulness.subject import Case

PARTS = ("contributions", "units", "places")


class EvidenceStability(FaithfulnessMetric):
    """How alike the evidence for a class is before and after small perturbations of the input.

        contributions   cosine of the contributions (of scores that are no sums, of what the explanation ranks by)
        units           Jaccard index of the fewest units that hold nine tenths of sum |contributions|
        places          sum of minima / sum of maxima of the regions where these units lie (the largest of their
                        supports at each element), moved back where the input was moved, over what both inputs show
        stability       mean of the three; of units without a place, of the first two

    A perturbation may change what the model answers, and then the evidence should change too. So these are means over
    the perturbations that leave the class of highest score as it is and the probability of the explained class within
    a tolerance; `retained` is their share, and a sample without any has no value. "any answer" is over all of them.
    Where scores are no probabilities, their softmax stands for these.

    1 is perfect, and reached by an explanation that is always the same: read it beside contrastivity (M8).

    Args:
        perturbations: of the input, see `perturbations_for`.
        tolerance: of the probability.
    """

    key, title = "M7", "evidence stability"
    names = ("stability", *PARTS, *(f"{name}, any answer" for name in ("stability", *PARTS)), "retained")
    directions, chances = (*[1] * 8, 0), (None,) * 9
    needs = ("classes",)

    def __init__(self, perturbations: Sequence[Perturbation], tolerance: float = 0.05) -> None:
        super().__init__()
        self.perturbations, self.tolerance = tuple(perturbations), tolerance

    def measure(self, case: Case) -> Tensor:
        alike, kept = [], []
        for perturbation in self.perturbations:
            other = Case(case.subject, perturbation(case.x, case.ids), case.ids, case.target)
            alike.append(likeness(case, other, perturbation))
            kept.append(self.same_answer(case.explanation, other.explanation))
        parts, same = torch.stack(alike, 1), torch.stack(kept, 1)  # (B, P, 3), (B, P)
        table = torch.cat([parts.nanmean(2, keepdim=True), parts], 2)
        conditional = table.masked_fill(~same[..., None], torch.nan)
        return torch.cat([conditional.nanmean(1), table.nanmean(1), same.double().mean(1, keepdim=True)], 1)

    def same_answer(self, before: Explanation, after: Explanation) -> Tensor:
        """(B,) bool: the same class of highest score, and about the same probability of the target."""
        own = before.target[:, None]
        moved = (probabilities(after).gather(1, own) - probabilities(before).gather(1, own)).abs()[:, 0]
        return (before.scores.argmax(1) == after.scores.argmax(1)) & (moved <= self.tolerance)


def probabilities(told: Explanation) -> Tensor:
    """(B, C) float64 the probabilities of the classes."""
    scores = told.scores.double()
    return scores if told.space == "probability" else scores.softmax(1)


def likeness(before: Case, after: Case, perturbation: Perturbation) -> Tensor:
    """(B, 3) of contributions, units and places; NaN where the evidence before is empty, or has no place."""
    a, b = before.weight.double(), after.weight.double()
    size = a.norm(dim=1) * b.norm(dim=1)
    cosine = torch.where(size > 0, (a * b).sum(1) / size.clamp_min(1e-300), 0)
    units = overlap(covering(a.abs()).double(), covering(b.abs()).double())
    places = torch.full_like(cosine, torch.nan)
    if before.explanation.support is not None and after.explanation.support is not None:
        back = lambda values: perturbation.undo(values, before.x, before.ids)  # noqa: E731
        places = overlap(region(before) * back(after.present.double()), back(region(after)))
    empty = a.abs().sum(1) == 0
    return torch.stack([cosine, units, places], 1).masked_fill(empty[:, None], torch.nan)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(B,) sum of minima / sum of maxima of weights (B, n) >= 0; of sets this is the Jaccard index. NaN of 0 and 0."""
    return a.minimum(b).sum(1) / a.maximum(b).sum(1)


def region(case: Case) -> Tensor:
    """(B, N) float64 in [0, 1]: the largest support, at each element, of the units that hold nine tenths of it all."""
    counted = covering(case.weight.abs())
    return (case.place * counted[..., None]).amax(1).double()[:, case.cells] * case.present
