"""M8: does the evidence for one class differ from the evidence for another?"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.subject import Case


class Contrastivity(FaithfulnessMetric):
    """Whether the evidence for the two classes of highest score, k₁ and k₂, is specific to each of them.

        swap test    share of samples in which removing the evidence for k₁ lowers score(k₁) - score(k₂) more than
                     removing the evidence for k₂; ties count one half. The mean over imputers, and each imputer
        difference   1 - cosine of the two maps of positive contributions; 0 if the evidence is the same

    The evidence for a class is the fewest elements that hold 90 % of the positive contributions to its score, spread
    over the input. Samples without evidence for one of the two classes have no value.

    Args:
        imputers: replacements for removed elements.
    """

    key, title = "M8", "contrastivity"
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer]) -> None:
        super().__init__()
        self.imputers = tuple(imputers)
        tests = ("swap test", *(f"swap test, {imputer.name}" for imputer in imputers))
        self.columns = (*(Column(name, 1, 0.5, 1.0) for name in tests), Column("difference", 1))

    def per_sample(self, case: Case) -> Tensor:
        classes = case.explanation.scores.topk(2, 1).indices
        first, second = (
            Case(case.subject, case.x, case.ids, target).evidence_map.double() for target in classes.unbind(1)
        )
        sets = [smallest_cover(first), smallest_cover(second)]
        each = torch.stack([self.swap(case, classes, sets, imputer) for imputer in self.imputers], 1)
        difference = 1 - cosine_similarity(first, second)
        values = torch.cat([each.mean(1, keepdim=True), each, difference[:, None]], 1)
        both = sets[0].any(1, keepdim=True) & sets[1].any(1, keepdim=True)
        return values.masked_fill(~both, torch.nan)

    @staticmethod
    def swap(case: Case, classes: Tensor, sets: list[Tensor], imputer: Imputer) -> Tensor:
        """(B,) 1 if the first set (B, N) matters more to the first class of (B, 2) than the second set, 0 if less.

        The sets are imputed one by one, so that random imputers draw the same values for both.
        """
        without = [case.scores_without(chosen[:, None], imputer)[:, 0].gather(1, classes) for chosen in sets]
        first, second = (scores[:, 0] - scores[:, 1] for scores in without)
        return 0.5 + 0.5 * (second - first).sign()
