"""M8: does the evidence for one class differ from the evidence for another, as the model does?"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.subject import Case


class Contrastivity(FaithfulnessMetric):
    """Whether the evidence for the two classes of highest score, k₁ and k₂, is specific to each.

        swap test    share of samples in which removing the evidence of k₁ lowers score(k₁) - score(k₂) more than
                     removing that of k₂ does; ties count one half, as of evidence that is the same for every class.
                     A mean over the imputers, and for each imputer
        difference   1 - cosine of the two maps of positive contributions; 0 of evidence that is the same

    The evidence of a class is the fewest elements that hold nine tenths of the positive contributions to its score,
    laid out over the input. Samples without any for one of the two classes have no value.

    Args:
        imputers: what stands in for removed elements.
    """

    key, title = "M8", "contrastivity"
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer]) -> None:
        super().__init__()
        self.imputers = tuple(imputers)
        each = tuple(f"swap test, {imputer.name}" for imputer in imputers)
        self.names = ("swap test", *each, "difference")
        self.directions, self.chances = (1,) * len(self.names), (*[0.5] * (1 + len(each)), None)
        self.ideals = (*[1.0] * (1 + len(each)), None)

    def measure(self, case: Case) -> Tensor:
        classes = case.explanation.scores.topk(2, 1).indices
        told = [Case(case.subject, case.x, case.ids, target) for target in classes.unbind(1)]
        maps = [one.evidence_map.double() for one in told]
        sets = [covering(values) for values in maps]
        each = torch.stack([self.swap(case, classes, sets, imputer) for imputer in self.imputers], 1)
        difference = 1 - cosine_similarity(*maps)
        values = torch.cat([each.mean(1, keepdim=True), each, difference[:, None]], 1)
        both = sets[0].any(1, keepdim=True) & sets[1].any(1, keepdim=True)
        return values.masked_fill(~both, torch.nan)

    @staticmethod
    def swap(case: Case, classes: Tensor, sets: list[Tensor], imputer: Imputer) -> Tensor:
        """(B,) 1 where the first set (B, N) matters more to the first class (B, 2) than the second does, 0 where less.

        The sets are imputed one by one, so that random imputers draw the same for both.
        """
        without = [case.scores_without(chosen[:, None], imputer)[:, 0].gather(1, classes) for chosen in sets]
        first, second = (scores[:, 0] - scores[:, 1] for scores in without)
        return 0.5 + 0.5 * (second - first).sign()
