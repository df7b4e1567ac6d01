"""Agreement of groups with regions, by hand and against chance."""

import math

import pytest
import torch

from zoo.metrics import RegionAgreement


def entropy(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def test_two_groups_by_hand() -> None:
    #                     region a   region b   nothing
    masks = torch.tensor([[[1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]]])
    regions = torch.tensor([[[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]]]).float()
    metric = RegionAgreement()
    metric.update(masks, torch.tensor([[3.0, -1.0, 0.0]]), regions)
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["precision"] == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert found["purity"] == pytest.approx(0.75 * 1 + 0.25 * (1 - entropy(0.5)))
    assert found["single"] == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert found["coverage"] == pytest.approx(3 / 4)  # the third group contributes nothing
    assert found["f1"] == pytest.approx(2 * 3 / (4 + 5))
    assert found["chance precision"] == pytest.approx(0.5, abs=0.2)


def test_random_groups_reach_chance_and_perfect_ones_one() -> None:
    draw = torch.Generator().manual_seed(1)
    regions = torch.zeros(400, 2, 20)
    regions[:, 0, :4] = regions[:, 1, 10:14] = 1
    masks = torch.rand(400, 3, 20, generator=draw).argsort(2) < 4
    lucky, perfect = RegionAgreement(), RegionAgreement()
    lucky.update(masks, torch.rand(400, 3, generator=draw), regions)
    perfect.update(regions.bool(), torch.ones(400, 2), regions)
    values = lucky.compute()
    for name in ("precision", "purity", "single", "coverage", "f1"):
        assert values[name] == pytest.approx(float(values[f"chance {name}"]), abs=0.03)
        assert perfect.compute()[name] == pytest.approx(1, abs=1e-6)
    assert values["chance precision"] == pytest.approx(0.4, abs=0.02)


def test_batches_add_up_and_inputs_without_regions_do_not_count() -> None:
    draw = torch.Generator().manual_seed(2)
    masks, regions = torch.rand(10, 3, 8, generator=draw) < 0.4, (torch.rand(10, 1, 8, generator=draw) < 0.3).float()
    regions[3] = 0
    weight = torch.rand(10, 3, generator=draw)
    whole, parts = RegionAgreement(), RegionAgreement()
    whole.update(masks, weight, regions)
    for rows in (slice(0, 3), slice(3, 4), slice(4, 10)):
        parts.update(masks[rows], weight[rows], regions[rows])
    for name in ("precision", "purity", "single", "coverage", "f1"):
        torch.testing.assert_close(whole.compute()[name], parts.compute()[name])
    assert whole.count == 10 - int((~regions.flatten(1).any(1)).sum())


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 2, 9), (3, 2, 8)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected masks|of the same inputs"):
        RegionAgreement().update(torch.ones(2, 2, 8), torch.ones(2, 2 if shape[1] == 2 else 3), torch.ones(shape))
