"""M1: do the contributions add up to the score? A gate, not a score: every additive model passes by construction."""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case


class CompletenessGap(FaithfulnessMetric):
    """|score - bias - sum of contributions|, in units of the standard deviation of the scores; the 95th percentile.

    Of a single score, in units of its own size. What passes is at most 1e-3.
    """

    key, title = "M1", "completeness gap"
    names, directions, chances = ("gap",), (-1,), (None,)
    ideals = (0.0,)
    needs = ("additive",)
    passes = 1e-3

    def measure(self, case: Case) -> Tensor:
        scores = case.explanation.scores.double()
        scale = scores.std(1) if scores.shape[1] > 1 else scores.abs()[:, 0]
        return (case.explanation.gap() / scale.clamp_min(1e-12))[:, None]

    def summarise(self, rows: Tensor) -> Tensor:
        return rows.nanquantile(0.95, dim=-2) if rows.shape[-2] else rows.new_full(rows.shape[-1:], torch.nan)
