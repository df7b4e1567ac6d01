"""What a test of tags reports, where each of several tags is present or absent."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.training.ranking import Ranking

EACH = 50  # tags up to which each is reported by itself


class TagAccuracy(Metric):
    """Share of tags that are right, over rows and tags; a tag of positive logit is predicted."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    right: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "count"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds logits (B, C) and tags (B, C) in {0, 1}."""
        self.right += ((scores > 0) == (target > 0.5)).sum()
        self.count += target.numel()

    def compute(self) -> Tensor:
        return self.right / self.count


class TagReport(Metric):
    """Mean average precision and AUROC of the tags, macro and micro F1, and the share of rows with all tags right.

    Means are over the tags for which a metric is defined: for rankings those that are present in some rows and absent
    in others, for F1 those that are present or predicted. Up to 50 tags, the F1 of each is reported too.

    Args:
        tags: names of the C tags.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    counts: Tensor  # (3, C): right, true, predicted
    rows: Tensor  # (2,): with all tags right, all

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.tags, self.ranking = list(tags), Ranking("value")
        self.add_state("counts", torch.zeros(3, len(self.tags), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds logits (B, C) and tags (B, C) in {0, 1}."""
        guess, true = scores.detach() > 0, target > 0.5
        self.counts += torch.stack([(guess & true).sum(0), true.sum(0), guess.sum(0)])
        whole = (guess == true).all(1)
        self.rows += torch.stack([whole.sum(), torch.tensor(len(whole), device=whole.device)])
        self.ranking.update(scores, true)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; NaN where one is undefined."""
        area, precision = self.ranking.compute()
        right, true, predicted = self.counts.double()
        f1 = 2 * right / (true + predicted)  # NaN for a tag that is neither present nor predicted
        found = {
            "mean_average_precision": precision[true > 0].nanmean(),
            "auroc": area.nanmean(),
            "f1_macro": f1.nanmean(),
            "f1_micro": 2 * right.sum() / (true + predicted).sum(),
            "exact_match": self.rows[0] / self.rows[1],
        }
        if len(self.tags) <= EACH:
            found |= {f"f1({name})": value for name, value in zip(self.tags, f1, strict=True)}
        return found

    def reset(self) -> None:
        super().reset()
        self.ranking.reset()
