"""M3: does removing the evidence first cost more of the score than removing it last?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric
from zoo.metrics.faithfulness.elements import cells_of
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case, centred


class EvidenceDeletionGain(FaithfulnessMetric):
    """The area between removing the least and the most relevant elements first, in units of all there is to lose.

        EDG = (area under LeRF - area under MoRF) / (z(x) - z(blank))

    z is the target's centred score, and the axis is the share of the input's elements, the same for every kind of unit.
    Elements are in the order of the contributions laid out over them; equal ones are in random order. 0 is chance;
    values above 1 occur where there is negative evidence. After Samek et al., 2015 (arXiv 1509.06321), and Blücher et
    al., 2024 (arXiv 2401.06654), who show that only the difference is safe from the choice of the imputer.

        gain           EDG, a mean over the imputers, and for each imputer
        insertion      the same for elements that are inserted into the blank input
        of oracle      gain / gain of the order that removes blocks by their own measured effect (mean of the first
                       imputer), of samples where that order gains
        random order   the gain of a random order, for the band of chance

    Samples with z(x) - z(blank) below half of the standard deviation of the scores have no value.

    Args:
        imputers: what stands in for removed elements.
        steps: points of each curve.
        blocks: of the oracle, at most.
        seed: of the order of equal elements, and of the random order.
    """

    key, title = "M3", "evidence deletion gain"
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer], steps: int = 10, blocks: int = 36, seed: int = 0) -> None:
        super().__init__()
        self.imputers, self.steps, self.blocks, self.seed = tuple(imputers), steps, blocks, seed
        each = tuple(f"gain, {imputer.name}" for imputer in imputers)
        self.names = ("gain", *each, "insertion", "of oracle", "random order")
        self.directions = (*[1] * (len(each) + 3), 0)
        self.chances = tuple(0.0 for _ in self.names)
        self.ideals = tuple(1.0 if name == "of oracle" else None for name in self.names)

    def measure(self, case: Case) -> Tensor:
        first, chance = self.imputers[0], uniform(case.ids, case.present.shape[1], self.seed, "ties")
        known = order(case.attribution, case.present, chance)
        gains = torch.stack([self.gain(case, known, imputer) for imputer in self.imputers], 1)
        best = self.gain(case, order(self.oracle(case, first), case.present, chance), first)
        share = torch.where(best > 0.05, gains[:, 0] / best.clamp_min(0.05), torch.nan)
        random = self.gain(case, order(torch.zeros_like(case.attribution), case.present, chance), first)
        columns = [gains.mean(1), *gains.unbind(1), self.insertion(case, known), share, random]
        at_stake, spread = case.score - case.blank_score, case.explanation.scores.double().std(1)
        return torch.stack(columns, 1).masked_fill((at_stake < 0.5 * spread)[:, None], torch.nan)

    def gain(self, case: Case, place: Tensor, imputer: Imputer) -> Tensor:
        """(B,) of the order in which elements stand at `place` (B, N), 0 first."""
        masks = torch.cat([removed(place, case.present, self.steps, last) for last in (False, True)], 1)
        drops = case.drops(case.scores_without(masks, imputer))
        most, least = (area(drops[:, part]) for part in (slice(None, self.steps), slice(self.steps, None)))
        return (most - least) / (case.score - case.blank_score)

    def insertion(self, case: Case, place: Tensor) -> Tensor:
        """(B,) the same for what is inserted into the blank input."""
        masks = torch.cat([removed(place, case.present, self.steps, last) for last in (False, True)], 1)
        target = case.target[:, None].expand(-1, masks.shape[1])
        gained = centred(case.scores_only(masks), target) - case.blank_score[:, None]
        most, least = (area(gained[:, part]) for part in (slice(None, self.steps), slice(self.steps, None)))
        return (most - least) / (case.score - case.blank_score)

    def oracle(self, case: Case, imputer: Imputer) -> Tensor:
        """(B, N) by how much the score drops once the block that an element lies in is removed."""
        block = blocks_of(case.shape, self.blocks).to(case.x.device)
        masks = (block == torch.arange(int(block.max()) + 1, device=block.device)[:, None]).expand(len(case), -1, -1)
        return case.drops(case.scores_without(masks & case.present[:, None], imputer))[:, block]


def order(value: Tensor, there: Tensor, chance: Tensor) -> Tensor:
    """(B, N) at which place each element stands, the highest value first, equal ones at random; absent ones last."""
    shuffled = chance.argsort(1)
    by_value = (
        value.masked_fill(~there, -torch.inf).gather(1, shuffled).sort(dim=1, descending=True, stable=True).indices
    )
    ranked = shuffled.gather(1, by_value)
    places = torch.arange(value.shape[1], device=value.device).expand_as(ranked)
    return torch.empty_like(ranked).scatter_(1, ranked, places)


def removed(place: Tensor, there: Tensor, steps: int, last: bool) -> Tensor:
    """(B, steps, N) bool: the growing sets of elements that are removed, from the first or from the last place on."""
    count = there.sum(1, keepdim=True)
    place = torch.where(there, count - 1 - place if last else place, place)
    share = torch.arange(1, steps + 1, device=place.device) / steps
    return (place[:, None] < (share * count).round()[..., None]) & there[:, None]


def area(drops: Tensor) -> Tensor:
    """(B,) under the curve through 0 and the values (B, steps) at equal distances up to 1, by trapezoids."""
    return (drops.sum(1) - drops[:, -1] / 2) / drops.shape[1]


def blocks_of(shape: tuple[int, ...], most: int) -> Tensor:
    """(N,) int64: at most so many blocks of neighbouring elements, about as long as wide where there are two axes."""
    if len(shape) == 1:
        return cells_of((min(most, shape[0]),), shape)
    narrow = min(shape[1], int(most**0.5))
    return cells_of((min(shape[0], most // narrow), narrow), shape)
