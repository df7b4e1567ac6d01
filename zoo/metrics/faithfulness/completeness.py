"""M1: do the contributions sum to the score? A gate, not a ranking: additive models pass by construction."""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case


class CompletenessGap(FaithfulnessMetric):
    """|score - bias - sum of contributions| in standard deviations of the scores; the 95th percentile over samples.

    With a single score, in units of its absolute value. A gap of at most 1e-3 passes the gate.
    """

    key, title = "M1", "completeness gap"
    columns = (Column("gap", -1, None, 0.0),)
    needs = ("additive",)

    def per_sample(self, case: Case) -> Tensor:
        scores = case.explanation.scores.double()
        scale = scores.std(1) if scores.shape[1] > 1 else scores.abs()[:, 0]
        return (case.explanation.gap() / scale.clamp_min(1e-12))[:, None]

    def summarise(self, rows: Tensor) -> Tensor:
        return rows.nanquantile(0.95, dim=-2) if rows.shape[-2] else rows.new_full(rows.shape[-1:], torch.nan)
