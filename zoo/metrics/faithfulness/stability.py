"""M7: is the evidence stable under input changes that should not matter?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.perturbations import Perturbation
from zoo.metrics.faithfulness.subject import Case

SCORES = ("stability", "contributions", "units", "places")


class EvidenceStability(FaithfulnessMetric):
    """The similarity of the evidence for a class before and after small perturbations of the input.

        contributions   cosine of the contributions (of `Explanation.importance` if the model is not additive)
        units           Jaccard index of the fewest units that hold 90 % of sum |contributions|
        places          sum of minima / sum of maxima of the regions of these units (the largest of their supports at
                        each element), moved back if the input was shifted, over the elements that both inputs show
        stability       mean of the three; of the first two if units have no supports

    If a perturbation changes the prediction, the evidence should change too. So these are means over the perturbations
    that keep the predicted class, and the probability of the explained class within a tolerance; `retained` is their
    share, and a sample without any has no value. The columns "..., any answer" are over all perturbations.
    Probabilities are the softmax of the scores, unless the scores are probabilities.

    1 is ideal, but a constant explanation reaches it too: read this metric beside contrastivity (M8).

    Args:
        perturbations: see `perturbations_for`.
        tolerance: largest change of the probability.
    """

    key, title = "M7", "evidence stability"
    columns = (
        *(Column(name, 1) for name in SCORES),
        *(Column(f"{name}, any answer", 1) for name in SCORES),
        Column("retained"),
    )
    needs = ("units", "classes")

    def __init__(self, perturbations: Sequence[Perturbation], tolerance: float = 0.05) -> None:
        super().__init__()
        self.perturbations, self.tolerance = tuple(perturbations), tolerance

    def per_sample(self, case: Case) -> Tensor:
        similarities, kept = [], []
        for perturbation in self.perturbations:
            other = Case(case.subject, perturbation(case.x, case.ids), case.ids, case.target)
            similarities.append(similarity(case, other, perturbation))
            kept.append(self.same_answer(case.explanation, other.explanation))
        parts, same = torch.stack(similarities, 1), torch.stack(kept, 1)  # (B, P, 3), (B, P)
        table = torch.cat([parts.nanmean(2, keepdim=True), parts], 2)
        conditional = table.masked_fill(~same[..., None], torch.nan)
        return torch.cat([conditional.nanmean(1), table.nanmean(1), same.double().mean(1, keepdim=True)], 1)

    def same_answer(self, before: Explanation, after: Explanation) -> Tensor:
        """(B,) bool: the same predicted class, and the probability of the target within the tolerance."""
        own = before.target[:, None]
        moved = (probabilities(after).gather(1, own) - probabilities(before).gather(1, own)).abs()[:, 0]
        return (before.scores.argmax(1) == after.scores.argmax(1)) & (moved <= self.tolerance)


def probabilities(explanation: Explanation) -> Tensor:
    """(B, C) float64 class probabilities."""
    scores = explanation.scores.double()
    return scores if explanation.space == "probability" else scores.softmax(1)


def similarity(before: Case, after: Case, perturbation: Perturbation) -> Tensor:
    """(B, 3) for contributions, units and places; NaN if the evidence before is empty or has no supports."""
    a, b = before.weight.double(), after.weight.double()
    size = a.norm(dim=1) * b.norm(dim=1)
    cosine = torch.where(size > 0, (a * b).sum(1) / size.clamp_min(1e-300), 0)
    units = overlap(smallest_cover(a.abs()).double(), smallest_cover(b.abs()).double())
    places = torch.full_like(cosine, torch.nan)
    if before.explanation.support is not None and after.explanation.support is not None:
        back = lambda values: perturbation.undo(values, before.x, before.ids)  # noqa: E731
        places = overlap(region(before) * back(after.present.double()), back(region(after)))
    empty = a.abs().sum(1) == 0
    return torch.stack([cosine, units, places], 1).masked_fill(empty[:, None], torch.nan)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(B,) sum of minima / sum of maxima of weights (B, n) >= 0, the Jaccard index of sets; NaN if both are 0."""
    return a.minimum(b).sum(1) / a.maximum(b).sum(1)


def region(case: Case) -> Tensor:
    """(B, N) float64 in [0, 1]: the largest support at each element, of the units that hold 90 % of the weight."""
    counted = smallest_cover(case.weight.abs())
    return (case.supports * counted[..., None]).amax(1).double()[:, case.cells] * case.present
