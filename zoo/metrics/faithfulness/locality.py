"""M5: does a unit depend only on its support?"""

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.elements import over_input
from zoo.metrics.faithfulness.streams import normal
from zoo.metrics.faithfulness.subject import Case, own_terms


class LocalityLeak(FaithfulnessMetric):
    """The share of a unit's response to noise that is due to noise outside of its support.

        leak = out / (in + out),   out = E |c(x + (1 - S) ξ) - c(x)|,   in = E |c(x + S ξ) - c(x)|

    c is the unit's contribution to the target's score (its activation if the model is not additive), ξ is Gaussian
    noise with the same standard deviation everywhere, S is the unit's support scaled to a maximum of 1. The leak of a
    unit that depends on all of the input is about the share of the area outside its support; 0 is ideal. Read it beside
    "outside", that share: a support that covers everything cannot leak. Measured on the units of largest contribution
    that together hold 90 % of the total; units that respond to neither noise have no value.
    `zoo.metrics.SpatialMisalignment` measures the worst case.

    Args:
        units: largest number of units per sample.
        draws: number of noise draws.
        noise: standard deviation, in the scale of the model's input.
        seed: of the noise.
    """

    key, title = "M5", "locality leak"
    columns = (Column("leak", -1, None, 0.0), Column("outside"))
    needs = ("support", "continuous")

    def __init__(self, units: int = 3, draws: int = 4, noise: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        self.units, self.draws, self.noise, self.seed = units, draws, noise, seed

    def per_sample(self, case: Case) -> Tensor:
        weight = case.weight.abs()
        count = min(self.units, weight.shape[1])
        top = weight.topk(count, 1).indices
        support = case.supports.gather(1, top[..., None].expand(-1, -1, case.supports.shape[2]))
        support = support / support.amax(2, keepdim=True).clamp_min(1e-12)
        inside = over_input(support[..., case.cells], case.domain)  # (B, n, ...)
        changes = torch.zeros(2, len(case), count, dtype=torch.float64, device=case.x.device)
        size = case.x[0].numel()
        for draw in range(self.draws):
            noise = normal(case.ids, size, self.seed, f"locality {draw}").view_as(case.x).to(case.x) * self.noise
            for side, part in enumerate((inside, 1 - inside)):
                changes[side] += self.change(case, case.x[:, None] + part * noise[:, None], top)
        within, out = changes
        leak = torch.where(within + out > 0, out / (within + out), torch.nan)
        counted = smallest_cover(weight).gather(1, top) & (support.amax(2) > 0)
        outside = 1 - support[..., case.cells].double().mean(2)
        return torch.stack([v.masked_fill(~counted, torch.nan).nanmean(1) for v in (leak, outside)], 1)

    @staticmethod
    def change(case: Case, x: Tensor, top: Tensor) -> Tensor:
        """(B, n) |change| of the evidence of units `top` (B, n) under inputs (B, n, *shape), one for each unit."""
        flat, target = x.flatten(0, 1), case.target.repeat_interleave(x.shape[1])
        rows = case.subject.rows
        parts = zip(flat.split(rows), target.split(rows), strict=True)
        changed = torch.cat([strength(case.subject.explain(part, t)) for part, t in parts])
        after = changed.gather(1, top.flatten()[:, None]).view(top.shape)
        return (after - strength(case.explanation).gather(1, top)).abs().double()


def strength(explanation: Explanation) -> Tensor:
    """(B, K) contributions to the target's own score, or activations if the model is not additive.

    A reference would add what other classes make of the noise, and the runner-up may be another class after it.
    """
    return explanation.activation if explanation.contributions is None else own_terms(explanation)
