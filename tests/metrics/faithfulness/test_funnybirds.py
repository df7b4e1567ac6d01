"""The FunnyBirds protocol on numbers that can be checked by hand, and on an oracle that reads the parts."""

import itertools

import pytest
import torch
from torch import Tensor

from zoo.data import PartBirds
from zoo.metrics.faithfulness.funnybirds import (
    Reactions,
    background_independence,
    distances,
    part_drops,
    protocol,
    scores_at,
    target_sensitivity,
)
from zoo.metrics.faithfulness.part_reactions import rivals_of


def oracle(data: PartBirds, rows: int, seed: int = 0) -> tuple[Reactions, list[list[tuple[int, ...]]]]:
    """Counts, for every class, which of its parts are there; names what counts for the class."""
    draw = torch.Generator().manual_seed(seed)
    table, label = data.class_parts, torch.randint(data.classes, (rows,), generator=draw)
    sets = torch.tensor(list(itertools.product((0, 1), repeat=5))).flip(1)  # row i has part p if bit p of i is set
    worth = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]).double()
    alike = (table[label][:, None] == table).double()  # (B, C, P)
    scores = torch.einsum("bcp,sp,p->bsc", alike, sets.double(), worth)
    importance = worth.expand(rows, 5) / worth.sum()
    rivals = rivals_of(table)[label]
    rival = torch.stack([alike[torch.arange(rows), rivals[:, i].clamp_min(0)] * worth for i in (0, 1)], 1)
    none = torch.zeros(rows, 3).double()
    told = Reactions(label, importance, none, scores, none, rivals, rival / rival.sum(2, keepdim=True).clamp_min(1e-9))
    return told, [data.minimal_sufficient(c) for c in range(data.classes)]


@pytest.fixture(scope="module")
def birds() -> PartBirds:
    return PartBirds(count=10, val_count=10, test_count=10)


def test_the_oracle_is_right_everywhere(birds: PartBirds) -> None:
    told, sufficient = oracle(birds, 300)
    found = protocol(told, oracle(birds, 300, seed=1)[0], birds.class_parts, sufficient)
    assert found["accuracy"] == found["BI"] == found["TS"] == 1 and found["SD"] > 0.9  # classes share parts unevenly
    assert min(found[name] for name in ("CSDC", "PC", "DC", "D")) > 0.95
    assert found["mean"] == pytest.approx((found["completeness"] + found["SD"] + found["TS"]) / 3)


def test_drops_and_distance_by_hand(birds: PartBirds) -> None:
    told, _ = oracle(birds, 50)
    full = told.subset_scores[:, 31]
    z = full.gather(1, told.label[:, None])[:, 0] - full.mean(1)
    without = told.subset_scores[:, 31 - 4]  # without the foot
    expected = (z - (without.gather(1, told.label[:, None])[:, 0] - without.mean(1))) / z
    torch.testing.assert_close(part_drops(told)[:, 2], expected)
    backwards = Reactions(**{**vars(told), "importance": told.importance.flip(1)})
    assert distances(told).min() > 0.8 and distances(backwards).mean() < 0.1
    constant = Reactions(**{**vars(told), "importance": torch.ones(50, 5)})
    assert distances(constant).tolist() == [0.5] * 50


@pytest.mark.parametrize(("size", "expected"), [(2, 0.64), (3, 0.85), (4, 0.96), (5, 1.0)])
def test_consistency_of_random_parts(birds: PartBirds, size: int, expected: float) -> None:
    """Random 2, 3 and 4 of 5 parts cover 0.64, 0.85 and 0.96 of some minimal sufficient set, on tables of 50 birds."""
    told, sufficient = oracle(birds, 4000)
    keys = torch.rand(4000, 5, generator=torch.Generator().manual_seed(2))
    chosen = (keys.argsort(1).argsort(1) < size).double()
    found = scores_at(Reactions(**{**vars(told), "importance": chosen}), 0.5, sufficient)["CSDC"].mean().item()
    assert found == pytest.approx(expected, abs=0.03)


def test_completeness_by_hand(birds: PartBirds) -> None:
    told, sufficient = oracle(birds, 40)
    nothing = scores_at(Reactions(**{**vars(told), "importance": torch.zeros(40, 5)}), 0.1, sufficient)
    assert nothing["DC"].sum() == 0 and nothing["CSDC"].sum() == 0
    everything = scores_at(Reactions(**{**vars(told), "importance": torch.ones(40, 5)}), 0.1, sufficient)
    assert everything["PC"].mean() == everything["CSDC"].mean() == 1
    scores = torch.zeros(1, 32, 3).double()
    scores[0, :, 1], scores[0, 31, 0] = 1, 2  # class 0 only with all parts
    one = Reactions(
        label=torch.tensor([0]),
        importance=torch.tensor([[0.5, 0.3, 0.1, 0.0, 0.1]]).double(),
        object_importance=torch.tensor([[0.3, 0.0, torch.nan]]).double(),
        subset_scores=scores,
        object_drop=torch.tensor([[0.0, 0.2, torch.nan]]).double(),
        rivals=torch.tensor([[-1, -1]]),
        rival_importance=torch.zeros(1, 2, 5),
    )
    found = {k: v.item() for k, v in scores_at(one, 0.2, [[(0, 3), (1, 2, 4)]]).items()}
    # Parts 0 and 1 are important: half of (0, 3). All parts matter; of two objects one does not, and it is named.
    assert found == {"CSDC": 0.5, "PC": 0, "DC": 1, "D": 0}
    assert background_independence(one).item() == 0.5 and target_sensitivity(one, torch.zeros(3, 5)).isnan().all()


def test_ties_of_target_sensitivity_count_half(birds: PartBirds) -> None:
    told, _ = oracle(birds, 200)
    alike = Reactions(**{**vars(told), "rival_importance": torch.ones(200, 2, 5)})
    values = target_sensitivity(alike, birds.class_parts)
    assert values[~values.isnan()].unique().tolist() == [0.5] and bool((~values.isnan()).any())
    swapped = Reactions(**{**vars(told), "rival_importance": told.rival_importance.flip(1)})
    assert target_sensitivity(swapped, birds.class_parts).nanmean() == 0


def test_rivals_share_two_parts_each(birds: PartBirds) -> None:
    table, pairs = birds.class_parts, rivals_of(birds.class_parts)
    assert int((pairs >= 0).all(1).sum()) >= 45
    for c, (a, b) in enumerate(pairs.tolist()):
        if a >= 0:
            first, second = table[c] == table[a], table[c] == table[b]
            assert first.sum() == second.sum() == 2 and not bool((first & second).any())


def scaled(told: Reactions, by: Tensor) -> Reactions:
    return Reactions(**{**vars(told), "subset_scores": told.subset_scores + by})


def test_adding_a_constant_to_all_scores_changes_nothing(birds: PartBirds) -> None:
    told, sufficient = oracle(birds, 60)
    moved = scaled(told, torch.tensor(7.0))
    assert protocol(told, told, birds.class_parts, sufficient) == pytest.approx(
        protocol(moved, moved, birds.class_parts, sufficient)
    )
