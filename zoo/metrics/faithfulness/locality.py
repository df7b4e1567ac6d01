"""M5: does a unit look at its support only?"""

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.elements import over_input
from zoo.metrics.faithfulness.streams import normal
from zoo.metrics.faithfulness.subject import Case


class LocalityLeak(FaithfulnessMetric):
    """Of how much a unit's evidence moves under noise, the share that is due to noise outside of its support.

        leak = out / (in + out),   out = E |c(x + (1 - S) ξ) - c(x)|,   in = E |c(x + S ξ) - c(x)|

    c is the unit's contribution to the target's score (of scores that are no sums, its activation), ξ Gaussian noise of
    one size everywhere, S the unit's support, scaled to a maximum of 1. A unit that looks at
    the whole input has about the share of the area that lies outside; 0 is ideal. Read it beside "outside", that area:
    a support of everything leaks nothing. For the units of largest contribution that together hold nine tenths of all;
    those that move under neither noise have no value. `zoo.metrics.SpatialMisalignment` is the worst case.

    Args:
        units: how many at most.
        draws: of noise.
        noise: standard deviation, in units of the model's input.
        seed: of the noise.
    """

    key, title = "M5", "locality leak"
    names, directions, chances = ("leak", "outside"), (-1, 0), (None, None)
    ideals = (0.0, None)
    needs = ("support", "numbers")

    def __init__(self, units: int = 3, draws: int = 4, noise: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        self.units, self.draws, self.noise, self.seed = units, draws, noise, seed

    def measure(self, case: Case) -> Tensor:
        weight = case.weight.abs()
        count = min(self.units, weight.shape[1])
        top = weight.topk(count, 1).indices
        place = case.place.gather(1, top[..., None].expand(-1, -1, case.place.shape[2]))
        place = place / place.amax(2, keepdim=True).clamp_min(1e-12)
        inside = over_input(place[..., case.cells], case.domain)  # (B, n, ...)
        moves = torch.zeros(2, len(case), count, dtype=torch.float64, device=case.x.device)
        size = case.x[0].numel()
        for draw in range(self.draws):
            noise = normal(case.ids, size, self.seed, f"locality {draw}").view_as(case.x).to(case.x) * self.noise
            for side, part in enumerate((inside, 1 - inside)):
                moves[side] += self.moved(case, case.x[:, None] + part * noise[:, None], top)
        within, out = moves
        leak = torch.where(within + out > 0, out / (within + out), torch.nan)
        counted = covering(weight).gather(1, top) & (place.amax(2) > 0)
        outside = 1 - place[..., case.cells].double().mean(2)
        return torch.stack([v.masked_fill(~counted, torch.nan).nanmean(1) for v in (leak, outside)], 1)

    @staticmethod
    def moved(case: Case, x: Tensor, top: Tensor) -> Tensor:
        """(B, n) by how much the evidence of unit `top` (B, n) moves for inputs (B, n, *shape), one for each unit."""
        flat, target = x.flatten(0, 1), case.target.repeat_interleave(x.shape[1])
        rows = case.subject.rows
        parts = zip(flat.split(rows), target.split(rows), strict=True)
        changed = torch.cat([strength(case.subject.explain(part, t)) for part, t in parts])
        after = changed.gather(1, top.flatten()[:, None]).view(top.shape)
        return (after - strength(case.explanation).gather(1, top)).abs().double()


def strength(told: Explanation) -> Tensor:
    """(B, K) contributions, or activations where the score is no sum of its units."""
    return told.activation if told.contributions is None else told.contributions
