"""M3: does removing the evidence first lower the score more than removing it last?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.elements import cells_of
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case, centred


class EvidenceDeletionGain(FaithfulnessMetric):
    """The area between removing the least and the most relevant elements first, relative to the largest possible drop.

        EDG = (area under LeRF - area under MoRF) / (z(x) - z(blank))

    z is the target's centred score; the horizontal axis is the share of the input's elements, the same for every kind
    of unit. Elements are ordered by the contributions spread over the input; ties are in random order. 0 is chance;
    values above 1 occur if there is negative evidence. After Samek et al., 2015 (arXiv 1509.06321), and Blücher et al.,
    2024 (arXiv 2401.06654), who show that only the difference is robust to the choice of the imputer.

        gain           EDG, the mean over imputers, and each imputer
        insertion      the same for elements that are inserted into the blank input
        of oracle      gain / gain of the order that removes blocks by their own measured effect, with the first
                       imputer, for samples where that order gains
        random order   the gain of a random order, for the chance level

    Samples whose z(x) - z(blank) is below half of the standard deviation of the scores have no value.

    Args:
        imputers: replacements for removed elements.
        steps: points of each curve.
        blocks: largest number of blocks of the oracle.
        seed: of the order of ties, and of the random order.
    """

    key, title = "M3", "evidence deletion gain"
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer], steps: int = 10, blocks: int = 36, seed: int = 0) -> None:
        super().__init__()
        self.imputers, self.steps, self.blocks, self.seed = tuple(imputers), steps, blocks, seed
        gains = ("gain", *(f"gain, {imputer.name}" for imputer in imputers), "insertion")
        oracle, random = Column("of oracle", 1, 0.0, 1.0), Column("random order", 0, 0.0)
        self.columns = (*(Column(name, 1, 0.0) for name in gains), oracle, random)

    def per_sample(self, case: Case) -> Tensor:
        first, keys = self.imputers[0], uniform(case.ids, case.present.shape[1], self.seed, "ties")
        known = order(case.attribution, case.present, keys)
        gains = torch.stack([self.gain(case, known, imputer) for imputer in self.imputers], 1)
        best = self.gain(case, order(self.oracle(case, first), case.present, keys), first)
        share = torch.where(best > 0.05, gains[:, 0] / best.clamp_min(0.05), torch.nan)
        random = self.gain(case, order(torch.zeros_like(case.attribution), case.present, keys), first)
        values = [gains.mean(1), *gains.unbind(1), self.insertion(case, known), share, random]
        drop, spread = case.score - case.blank_score, case.explanation.scores.double().std(1)
        return torch.stack(values, 1).masked_fill((drop < 0.5 * spread)[:, None], torch.nan)

    def gain(self, case: Case, place: Tensor, imputer: Imputer) -> Tensor:
        """(B,) the gain of an order, given as the place (B, N) of each element, 0 first."""
        return self._area_between(case, case.drops(case.scores_without(self._masks(case, place), imputer)))

    def insertion(self, case: Case, place: Tensor) -> Tensor:
        """(B,) the same for elements that are inserted into the blank input."""
        masks = self._masks(case, place)
        target = case.target[:, None].expand(-1, masks.shape[1])
        return self._area_between(case, centred(case.scores_only(masks), target) - case.blank_score[:, None])

    def oracle(self, case: Case, imputer: Imputer) -> Tensor:
        """(B, N) the drop of the score if the block of an element is removed."""
        block = blocks_of(case.shape, self.blocks).to(case.x.device)
        masks = (block == torch.arange(int(block.max()) + 1, device=block.device)[:, None]).expand(len(case), -1, -1)
        return case.drops(case.scores_without(masks & case.present[:, None], imputer))[:, block]

    def _masks(self, case: Case, place: Tensor) -> Tensor:
        """(B, 2 steps, N) bool: growing sets of the first elements, then of the last."""
        return torch.cat([removed(place, case.present, self.steps, last) for last in (False, True)], 1)

    def _area_between(self, case: Case, values: Tensor) -> Tensor:
        """(B,) area between the two curves of values (B, 2 steps), relative to the largest possible drop."""
        most, least = area(values[:, : self.steps]), area(values[:, self.steps :])
        return (most - least) / (case.score - case.blank_score)


def order(value: Tensor, present: Tensor, keys: Tensor) -> Tensor:
    """(B, N) the place of each element by descending value; ties in the order of random keys, absent elements last."""
    shuffled = keys.argsort(1)
    by_value = value.masked_fill(~present, -torch.inf).gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    ranked = shuffled.gather(1, by_value)
    places = torch.arange(value.shape[1], device=value.device).expand_as(ranked)
    return torch.empty_like(ranked).scatter_(1, ranked, places)


def removed(place: Tensor, present: Tensor, steps: int, last: bool) -> Tensor:
    """(B, steps, N) bool: growing sets of elements, starting from the first or from the last place."""
    count = present.sum(1, keepdim=True)
    place = torch.where(present, count - 1 - place if last else place, place)
    share = torch.arange(1, steps + 1, device=place.device) / steps
    return (place[:, None] < (share * count).round()[..., None]) & present[:, None]


def area(values: Tensor) -> Tensor:
    """(B,) area under the curve through 0 and values (B, steps) at equal distances up to 1, by trapezoids."""
    return (values.sum(1) - values[:, -1] / 2) / values.shape[1]


def blocks_of(shape: tuple[int, ...], most: int) -> Tensor:
    """(N,) int64: at most `most` blocks of neighbouring elements, nearly square if there are two axes."""
    if len(shape) == 1:
        return cells_of((min(most, shape[0]),), shape)
    narrow = min(shape[1], int(most**0.5))
    return cells_of((min(shape[0], most // narrow), narrow), shape)
