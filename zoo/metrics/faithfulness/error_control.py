"""M14: do explanations name what really matters, with the errors of the reference itself under control?"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case, centred

Without = Callable[[Tensor, str], Tensor]


class ErrorControlledImportance(FaithfulnessMetric):
    """Which known factors an explanation names, against those whose exact removal is seen to matter.

    t is the drop of the target's centred score when a factor is drawn away, everything else unchanged. A factor matters
    where t >= z, with the least z for which (1 + #{t <= -z}) / (1 + #{t >= z}) <= alpha, so that about a share of alpha
    of these is by chance: the one-sided test of Burns, Thomason, Tansey: "Interpreting Black Box Models via Hypothesis
    Testing", FODS 2020, arXiv 1904.00045. An explanation names a factor where its region holds more of the positive
    evidence than of the input.

        sensitivity      of the factors that matter, the share that is named (the power)
        specificity      of those that do not, the share that is not named
        informedness     sensitivity + specificity - 1, which is 0 for guesses
        false discovery  of the factors that are named, the share that does not matter
        matter           the share of factors that matter, by which the others are to be read

    Args:
        without: inputs (B, *shape) of samples `ids` (B,) drawn again without a factor.
        factors: names of the factors, in the order of the regions of `Case.truth`.
        alpha: share of false discoveries that the reference may have.
    """

    key, title = "M14", "error-controlled importance"
    names = ("sensitivity", "specificity", "informedness", "false discovery", "matter")
    directions, chances = (1, 1, 1, -1, 0), (None, None, 0.0, None, None)
    ideals = (1.0, 1.0, 1.0, 0.0, None)
    needs = ("support", "truth")

    def __init__(self, without: Without | None, factors: Sequence[str], alpha: float = 0.1) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be in (0, 1); got {alpha}.")
        self.without, self.factors, self.alpha = without, tuple(factors), alpha

    def lacking(self) -> str | None:
        """Why it cannot be measured on this data, if so."""
        return None if self.without is not None else "needs a world that can draw its inputs again without a factor"

    def measure(self, case: Case) -> Tensor:
        """(B, P, 2): the drop of the score, and by how much the evidence exceeds the area; NaN of absent factors."""
        if case.truth is None or case.truth.shape[1] != len(self.factors):
            got = None if case.truth is None else case.truth.shape[1]
            raise ValueError(f"{self.title} needs a region for each of {len(self.factors)} factors; got {got}.")
        regions = (case.truth > 0) & case.present[:, None]
        held = torch.einsum("bn,bpn->bp", case.evidence_map, regions.to(case.evidence_map))
        share = held / case.evidence_map.sum(1, keepdim=True).clamp_min(1e-12)
        excess = share.double() - regions.sum(2) / case.present.sum(1, keepdim=True)
        drops = torch.stack([self.drop(case, factor) for factor in self.factors], 1)
        return torch.stack([drops, excess], 2).masked_fill(~regions.any(2)[..., None], torch.nan)

    def drop(self, case: Case, factor: str) -> Tensor:
        """(B,) by how much the centred score drops without a factor."""
        if self.without is None:
            raise ValueError(f"{self.title} {self.lacking()}.")
        drawn = self.without(case.ids, factor).to(case.x)
        return case.score - centred(case.subject.scores(drawn).double(), case.target)

    def samples(self) -> Tensor:
        """(N, 4) of each sample: how many factors matter and are named, matter only, are named only, neither."""
        told = super().samples()
        if told.ndim < 3:
            return torch.zeros(0, 4, dtype=torch.float64)
        drop, excess = told.unbind(2)
        there = ~drop.isnan()
        matters, named = drop >= importance_threshold(drop[there], self.alpha), excess > 0
        kinds = (matters & named, matters & ~named, ~matters & named, ~matters & ~named)
        return torch.stack([(kind & there).sum(1) for kind in kinds], 1).double()

    def summarise(self, rows: Tensor) -> Tensor:
        hit, missed, wrong, quiet = rows.sum(-2).unbind(-1)
        sensitivity, specificity = hit / (hit + missed), quiet / (quiet + wrong)
        columns = (
            sensitivity,
            specificity,
            sensitivity + specificity - 1,
            wrong / (wrong + hit),
            (hit + missed) / rows.sum((-2, -1)),
        )
        return torch.stack(columns, -1)

    def undefined(self) -> dict[str, int]:
        """None: counts are over all factors that are there."""
        return dict.fromkeys(self.names, 0)


def importance_threshold(statistics: Tensor, alpha: float) -> float:
    """The least z > 0 with (1 + #{t <= -z}) / (1 + #{t >= z}) <= alpha; infinity if there is none.

    Args:
        statistics: (n,) t, symmetric around 0 where there is no effect.
        alpha: in (0, 1).
    """
    sizes = statistics[statistics != 0].abs().unique()
    ordered = statistics.sort().values.contiguous()
    below = torch.searchsorted(ordered, -sizes, right=True)
    above = len(ordered) - torch.searchsorted(ordered, sizes, right=False)
    enough = (1 + below) / (1 + above) <= alpha
    return sizes[enough].min().item() if bool(enough.any()) else torch.inf


def discoveries(p_values: Tensor, alpha: float) -> Tensor:
    """(n,) bool: which hypotheses Benjamini and Hochberg's procedure rejects at a false discovery rate of alpha."""
    ordered, order = p_values.sort()
    passes = ordered <= alpha * torch.arange(1, len(p_values) + 1, device=p_values.device) / len(p_values)
    count = int(passes.nonzero().max()) + 1 if bool(passes.any()) else 0
    return torch.zeros_like(passes).scatter_(0, order[:count], torch.ones_like(passes[:count]))
