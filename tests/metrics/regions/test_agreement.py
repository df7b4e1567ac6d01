"""Agreement of groups and of attributions with regions, by hand, by enumeration and against chance."""

import math
from itertools import combinations, permutations, product

import pytest
import torch
from sklearn.metrics import average_precision_score

from zoo.metrics import AttributionAgreement, RegionAgreement
from zoo.metrics.regions.agreement import GROUPS, Agreement, random_groups


def entropy(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def values(metric: Agreement) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


# Groups


def test_two_groups_by_hand() -> None:
    #                     region a   region b   nothing
    masks = torch.tensor([[[1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]]])
    regions = torch.tensor([[[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]]]).float()
    metric = RegionAgreement()
    metric.update(masks, torch.tensor([[3.0, -1.0, 0.0]]), regions)
    found = values(metric)
    assert found["precision"] == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert found["purity"] == pytest.approx(0.75 * 1 + 0.25 * (1 - entropy(0.5)))
    assert found["single"] == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert found["coverage"] == pytest.approx(3 / 4)  # the third group contributes nothing
    assert found["f1"] == pytest.approx(2 * 3 / (4 + 5))
    assert found["iou"] == pytest.approx(3 / 6)
    assert found["chance precision"] == pytest.approx(4 / 8)
    assert found["chance coverage"] == pytest.approx(1 - (1 - 2 / 8) * (1 - 4 / 8))


def test_chance_of_groups_is_the_mean_over_all_groups_of_these_sizes() -> None:
    regions = torch.tensor([[[1, 1, 0, 0, 0, 0.0]]])
    present = torch.tensor([[True] * 5 + [False]])
    weight = torch.tensor([[2.0, 1.0]])
    every = RegionAgreement()
    for pair in product(combinations(range(5), 2), combinations(range(5), 1)):
        masks = torch.zeros(1, 2, 6)
        masks[0, 0, list(pair[0])], masks[0, 1, list(pair[1])] = 1, 1
        every.update(masks, weight, regions, present)
    found = values(every)
    for name in ("precision", "coverage"):
        assert found[f"chance {name}"] == pytest.approx(found[name])
    for name in ("purity", "single", "f1", "iou"):
        assert found[f"chance {name}"] == pytest.approx(found[name], abs=0.06)


def test_random_groups_hold_what_is_present_and_nothing_else() -> None:
    present = torch.tensor([[True] * 4 + [False] * 6, [True] * 10])
    sizes = torch.tensor([[4, 1, 0], [10, 5, 3]])
    drawn = random_groups(sizes, present, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sum(2), sizes) and not (drawn & ~present[:, None]).any()


def test_padding_changes_nothing() -> None:
    draw = torch.Generator().manual_seed(3)
    masks, weight = torch.rand(200, 3, 8, generator=draw) < 0.4, torch.rand(200, 3, generator=draw)
    regions = (torch.rand(200, 1, 8, generator=draw) < 0.4).float()
    short, long = RegionAgreement(), RegionAgreement()
    short.update(masks, weight, regions)
    grown = [torch.cat([t, torch.zeros_like(t)], 2) for t in (masks, regions)]
    long.update(grown[0], weight, grown[1], torch.arange(16).expand(200, -1) < 8)
    for name, value in values(short).items():
        assert values(long)[name] == pytest.approx(value, abs=0.02 if name.startswith("chance") else 1e-9)


def test_empty_groups_have_no_say() -> None:
    masks = torch.tensor([[[1, 0, 1, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    regions, metric = torch.tensor([[[1, 1, 0, 0.0]]]).repeat(2, 1, 1), RegionAgreement()
    metric.update(masks[:1], torch.tensor([[1.0, 5.0]]), regions[:1])
    assert values(metric)["precision"] == pytest.approx(0.5) and values(metric)["purity"] == pytest.approx(0, abs=1e-9)
    metric.reset()
    metric.update(masks[1:], torch.tensor([[1.0, 5.0]]), regions[1:])
    assert set(values(metric).values()) == {0.0}


def test_random_groups_reach_chance_and_perfect_ones_one() -> None:
    draw = torch.Generator().manual_seed(1)
    regions = torch.zeros(400, 2, 20)
    regions[:, 0, :4] = regions[:, 1, 10:14] = 1
    masks = torch.rand(400, 3, 20, generator=draw).argsort(2) < 4
    lucky, perfect = RegionAgreement(), RegionAgreement()
    lucky.update(masks, torch.rand(400, 3, generator=draw), regions)
    perfect.update(regions.bool(), torch.ones(400, 2), regions)
    for name in GROUPS:
        assert values(lucky)[name] == pytest.approx(values(lucky)[f"chance {name}"], abs=0.03)
        assert values(perfect)[name] == pytest.approx(1, abs=1e-6)
    assert values(lucky)["chance precision"] == pytest.approx(0.4)


def test_batches_add_up_and_inputs_without_regions_do_not_count() -> None:
    draw = torch.Generator().manual_seed(2)
    masks, regions = torch.rand(10, 3, 8, generator=draw) < 0.4, (torch.rand(10, 1, 8, generator=draw) < 0.3).float()
    regions[3] = 0
    weight, rank = torch.rand(10, 3, generator=draw), torch.rand(10, 8, generator=draw)
    groups, ranks = (RegionAgreement(), RegionAgreement()), (AttributionAgreement(), AttributionAgreement())
    for whole, parts, given in ((*groups, (masks, weight)), (*ranks, (rank,))):
        whole.update(*given, regions)
        for rows in (slice(0, 3), slice(3, 4), slice(4, 10)):
            parts.update(*(t[rows] for t in given), regions[rows])
        for name in whole.names:
            torch.testing.assert_close(whole.compute()[name], parts.compute()[name])
        assert whole.count == parts.count == int(regions.flatten(1).any(1).sum()) < 10


# Attributions


def test_an_attribution_by_hand() -> None:
    metric = AttributionAgreement()
    metric.update(torch.tensor([[0.9, -0.5, 0.7, 0.8, 0.0]]), torch.tensor([[[1, 0, 1, 0, 0], [0, 0, 0, 0, 1.0]]]))
    found = values(metric)  # in order: hit, miss, hit, hit, miss
    assert found["auprc"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert found["f1"] == pytest.approx(2 / 3) and found["chance f1"] == pytest.approx(3 / 5)
    shared = AttributionAgreement(share=0.2)
    shared.update(torch.tensor([[0.9, -0.5, 0.7, 0.8, 0.0]]), torch.tensor([[[1, 0, 1, 0, 1.0]]]))
    assert values(shared)["f1"] == pytest.approx(2 * 1 / (1 + 3))
    assert values(shared)["chance f1"] == pytest.approx(2 * 0.6 / (1 + 3))


@pytest.mark.parametrize("hits", [1, 2, 5])
def test_chance_of_attributions_is_the_mean_over_all_orders(hits: int) -> None:
    orders = torch.tensor(list(permutations(range(5)))).float()
    padded = torch.cat([orders, torch.full((len(orders), 2), 9.0)], 1)
    regions = (torch.arange(7) < hits).float().expand(len(orders), 1, -1)
    metric = AttributionAgreement(share=0.6)
    metric.update(padded, regions, torch.arange(7).expand(len(orders), -1) < 5)
    for name in ("auprc", "f1"):
        assert values(metric)[name] == pytest.approx(values(metric)[f"chance {name}"])


def test_ties_are_in_no_order() -> None:
    draw = torch.Generator().manual_seed(4)
    rank = torch.randint(0, 3, (50, 9), generator=draw).float()
    regions = (torch.rand(50, 1, 9, generator=draw) < 0.5).float()
    regions[:, :, 0] = 1
    metric, scores = AttributionAgreement(), zip(regions[:, 0].numpy(), rank.numpy(), strict=True)
    metric.update(rank, regions)
    expected = [average_precision_score(wanted, score) for wanted, score in scores]
    assert values(metric)["auprc"] == pytest.approx(sum(expected) / 50)
    flat = AttributionAgreement()
    flat.update(torch.zeros(50, 9), regions)
    assert values(flat)["f1"] == pytest.approx(values(flat)["chance f1"])
    again = AttributionAgreement()  # one tie across the threshold: three guesses, the last two of three at 0.5
    again.update(torch.tensor([[0.9, 0.5, 0.5, 0.5, 0.1]]), torch.tensor([[[1, 1, 0, 0, 1.0]]]))
    assert values(again)["f1"] == pytest.approx(2 * (1 + 2 / 3) / 6)


def test_a_single_element() -> None:
    metric = AttributionAgreement()
    metric.update(torch.ones(1, 1), torch.ones(1, 1, 1))
    assert values(metric) == pytest.approx(dict.fromkeys(values(metric), 1.0))


# What is refused


@pytest.mark.parametrize("shape", [(2, 3, 9), (3, 2, 8), (2, 8)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    for metric, given in ((RegionAgreement(), (torch.ones(2, 2, 8), torch.ones(2, 2))), (AttributionAgreement(), ())):
        with pytest.raises(ValueError, match=r"regions \(B, R, L\) of the same 2 inputs and 8 elements; got \("):
            metric.update(*(given or (torch.ones(2, 8),)), torch.ones(shape))


def test_other_inputs_that_cannot_be() -> None:
    regions = torch.ones(2, 1, 8)
    with pytest.raises(ValueError, match=r"masks \(B, M, L\) and contributions \(B, M\); got \(2, 2, 8\) and \(2, 3\)"):
        RegionAgreement().update(torch.ones(2, 2, 8), torch.ones(2, 3), regions)
    with pytest.raises(ValueError, match=r"expected present \(2, 8\), one for each element; got \(2, 7\)"):
        RegionAgreement().update(torch.ones(2, 2, 8), torch.ones(2, 2), regions, torch.ones(2, 7))
    with pytest.raises(ValueError, match=r"expected an attribution \(B, L\); got \(2, 2, 8\)"):
        AttributionAgreement().update(torch.ones(2, 2, 8), regions)
    with pytest.raises(ValueError, match="values that are not finite; set elements"):
        AttributionAgreement().update(torch.full((2, 8), math.nan), regions)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], or None .*; got 1.5"):
        AttributionAgreement(share=1.5)
