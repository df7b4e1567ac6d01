"""M14: do explanations name the important factors, with the error rate of the reference itself controlled?"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case, centred

RemoveFactor = Callable[[Tensor, str], Tensor]  # (sample ids (B,), factor) -> inputs (B, *shape) without it


class ErrorControlledImportance(FaithfulnessMetric):
    """The factors that an explanation names, compared with the factors whose exact removal lowers the score.

    t is the drop of the target's centred score if a factor is removed and everything else stays. A factor is important
    if t >= z, with the smallest z for which (1 + #{t <= -z}) / (1 + #{t >= z}) <= alpha, so that about a share alpha of
    the important factors is due to chance: the one-sided test of Burns, Thomason, Tansey: "Interpreting Black Box
    Models via Hypothesis Testing", FODS 2020, arXiv 1904.00045. An explanation names a factor if its region has a
    larger share of the positive evidence than of the input.

        sensitivity      share of the important factors that are named (power)
        specificity      share of the unimportant factors that are not named
        informedness     sensitivity + specificity - 1; 0 by chance
        false discovery  share of the named factors that are unimportant
        matter           share of the factors that are important, needed to interpret the others

    Args:
        remove_factor: renders the inputs (B, *shape) of sample ids (B,) without a factor.
        factors: names of the factors, in the order of `Case.regions`.
        alpha: largest share of false discoveries of the reference.
    """

    key, title = "M14", "error-controlled importance"
    columns = (
        Column("sensitivity", 1, None, 1.0),
        Column("specificity", 1, None, 1.0),
        Column("informedness", 1, 0.0, 1.0),
        Column("false discovery", -1, None, 0.0),
        Column("matter"),
    )
    needs = ("support", "regions")

    def __init__(self, remove_factor: RemoveFactor | None, factors: Sequence[str], alpha: float = 0.1) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be in (0, 1); got {alpha}.")
        self.remove_factor, self.factors, self.alpha = remove_factor, tuple(factors), alpha

    def lacking(self) -> str | None:
        return None if self.remove_factor else "needs a synthetic benchmark that can render its inputs without a factor"

    def per_sample(self, case: Case) -> Tensor:
        """(B, P, 2): drop of the score, and share of the evidence minus share of the area; NaN for absent factors."""
        if case.regions is None or case.regions.shape[1] != len(self.factors):
            got = None if case.regions is None else case.regions.shape[1]
            raise ValueError(f"{self.title} needs a region for each of {len(self.factors)} factors; got {got}.")
        regions = (case.regions > 0) & case.present[:, None]
        held = torch.einsum("bn,bpn->bp", case.evidence_map, regions.to(case.evidence_map))
        share = held / case.evidence_map.sum(1, keepdim=True).clamp_min(1e-12)
        excess = share.double() - regions.sum(2) / case.present.sum(1, keepdim=True)
        drops = torch.stack([self.drop(case, factor) for factor in self.factors], 1)
        return torch.stack([drops, excess], 2).masked_fill(~regions.any(2)[..., None], torch.nan)

    def drop(self, case: Case, factor: str) -> Tensor:
        """(B,) the drop of the centred score without a factor."""
        if self.remove_factor is None:
            raise ValueError(f"{self.title} {self.lacking()}.")
        drawn = self.remove_factor(case.ids, factor).to(case.x)
        return case.score - centred(case.subject.scores(drawn).double(), case.target)

    def samples(self) -> Tensor:
        """(N, 4) counts of each sample: factors important and named, important only, named only, neither."""
        values = super().samples()
        if values.ndim < 3:
            return torch.zeros(0, 4, dtype=torch.float64)
        drop, excess = values.unbind(2)
        present = ~drop.isnan()
        important, named = drop >= importance_threshold(drop[present], self.alpha), excess > 0
        kinds = (important & named, important & ~named, ~important & named, ~important & ~named)
        return torch.stack([(kind & present).sum(1) for kind in kinds], 1).double()

    def summarise(self, rows: Tensor) -> Tensor:
        true_positive, missed, false_positive, true_negative = rows.sum(-2).unbind(-1)
        sensitivity = true_positive / (true_positive + missed)
        specificity = true_negative / (true_negative + false_positive)
        values = (
            sensitivity,
            specificity,
            sensitivity + specificity - 1,
            false_positive / (false_positive + true_positive),
            (true_positive + missed) / rows.sum((-2, -1)),
        )
        return torch.stack(values, -1)

    def undefined(self) -> dict[str, int]:
        """0 for every column, because the counts are over all present factors."""
        return dict.fromkeys(self.names, 0)


def importance_threshold(statistics: Tensor, alpha: float) -> float:
    """The smallest z > 0 with (1 + #{t <= -z}) / (1 + #{t >= z}) <= alpha; infinity if there is none.

    Args:
        statistics: (n,) t, symmetric around 0 under the null hypothesis.
        alpha: in (0, 1).
    """
    sizes = statistics[statistics != 0].abs().unique()
    ordered = statistics.sort().values.contiguous()
    below = torch.searchsorted(ordered, -sizes, right=True)
    above = len(ordered) - torch.searchsorted(ordered, sizes, right=False)
    enough = (1 + below) / (1 + above) <= alpha
    return sizes[enough].min().item() if bool(enough.any()) else torch.inf


def discoveries(p_values: Tensor, alpha: float) -> Tensor:
    """(n,) bool: the hypotheses that the Benjamini-Hochberg procedure rejects at a false discovery rate of alpha."""
    ordered, order = p_values.sort()
    passes = ordered <= alpha * torch.arange(1, len(p_values) + 1, device=p_values.device) / len(p_values)
    count = int(passes.nonzero().max()) + 1 if bool(passes.any()) else 0
    return torch.zeros_like(passes).scatter_(0, order[:count], torch.ones_like(passes[:count]))
