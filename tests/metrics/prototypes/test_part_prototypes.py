"""Metrics of prototypes beside annotated parts, by hand."""

import pytest
import torch

from zoo.metrics import PartConsistency, PartPurity, PartStability
from zoo.metrics.prototypes.part_prototypes import hits, peaks, perturbed, sides_merged

NAN = float("nan")
# Four images; the beak is at (0.2, 0.2) and the tail at (0.8, 0.8), but the tail of the last image is not to be seen.
PARTS = torch.tensor([[[0.2, 0.2], [0.8, 0.8]]] * 3 + [[[0.2, 0.2], [NAN, NAN]]])
BEAK, TAIL, NOWHERE = (0.21, 0.19), (0.8, 0.75), (0.5, 0.5)
# The first prototype is always at the beak; the second mostly at the tail; the third is lost; the fourth never counts.
PLACES = torch.tensor(
    [[BEAK, TAIL, NOWHERE, BEAK], [BEAK, TAIL, TAIL, BEAK], [BEAK, BEAK, NOWHERE, BEAK], [BEAK, TAIL, NOWHERE, BEAK]]
)
COUNTS = torch.tensor([[True, True, True, False]] * 4)


def test_a_peak_is_where_the_map_is_highest() -> None:
    support = torch.zeros(1, 2, 4, 4)
    support[0, 0, 0, 3] = support[0, 1, 2, 1] = 1
    x, y = peaks(support, 64)[0, 0].tolist()
    assert x > 0.75 and y < 0.25
    assert peaks(support, 64)[0, 1].tolist() == pytest.approx([0.375, 0.625], abs=0.04)


def test_hits_are_in_the_square_and_never_of_parts_that_are_not_to_be_seen() -> None:
    near, visible = hits(PLACES, PARTS, 0.2)
    assert near[:, 0].tolist() == [[True, False]] * 4
    assert near[3, 1].tolist() == [False, False]
    assert visible.tolist() == [[True, True]] * 3 + [[True, False]]


def test_consistency_by_hand() -> None:
    metric = PartConsistency(4, 2, width=0.2, threshold=0.6)
    for i in (0, 2):  # in two batches
        metric.update(PLACES[i : i + 2], PARTS[i : i + 2], COUNTS[i : i + 2])
    shares = metric.shares()
    torch.testing.assert_close(shares[:3], torch.tensor([1.0, 2 / 3, 1 / 3], dtype=torch.float64))
    assert shares[3].isnan() and metric.undefined == 1
    assert metric.compute() == pytest.approx(2 / 3)


def test_stability_counts_only_what_is_somewhere() -> None:
    moved = PLACES.clone()
    moved[1, 0] = torch.tensor(NOWHERE)
    metric = PartStability(4, 2, width=0.2)
    metric.update(PLACES, moved, PARTS, COUNTS)
    # beak: 3 of 4 images; tail: 3 of 3 (in the last image it is by no part); lost: 1 of 1; never counted: undefined
    assert metric.compute() == pytest.approx((0.75 + 1 + 1) / 3)
    assert metric.undefined == 1


def test_purity_is_that_of_the_best_patches() -> None:
    activation = torch.tensor([[4.0, 1, 1, 0], [3, 4, 4, 0], [2, 3, 3, 0], [1, 2, 2, 0]])
    metric = PartPurity(4, 2, width=0.2, top=3, minimum=0.0)
    for i in range(4):
        metric.update(PLACES[i : i + 1], PARTS[i : i + 1], activation[i : i + 1])
    # best images of the second: 1 (tail), 2 (beak), 3 (nothing); of the third: 1 (tail), 2, 3 (nothing)
    torch.testing.assert_close(metric.shares()[:3], torch.tensor([1.0, 1 / 3, 1 / 3]))
    assert metric.undefined == 1
    assert metric.compute() == pytest.approx((1 + 2 / 3) / 3)


def test_a_left_and_a_right_part_are_one_part_for_purity() -> None:
    """A prototype of eyes was at most as pure as the more frequent of the two eyes."""
    names = ["left eye", "beak", "right eye"]
    assert sides_merged(names) == [0, 1, 0]
    parts = torch.tensor([[[0.1, 0.1], [0.5, 0.5], [NAN, NAN]], [[NAN, NAN], [0.5, 0.5], [0.9, 0.1]]])
    places = torch.tensor([[[0.1, 0.1]], [[0.9, 0.1]]])  # the eye that is to be seen
    apart, together = PartPurity(1, 3, 0.2), PartPurity(1, 3, 0.2, names=names)
    for metric in (apart, together):
        metric.update(places, parts, torch.ones(2, 1))
    assert apart.compute() == 0.5 and together.compute() == 1
    with pytest.raises(ValueError, match="expected the names of 3 parts; got 2"):
        PartPurity(1, 3, names=names[:2])


def test_noise_is_clipped() -> None:
    x, draw = torch.randn(1, 3, 50, 50), torch.Generator().manual_seed(0)
    noise = perturbed(x, generator=draw) - x
    expected = (0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-0.25, 0.25)
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-6)
    assert (noise.abs() > 0.249).float().mean() > 0.2  # 21 % of draws are clipped


def test_noise_is_as_strong_on_pixels_normalised_in_another_way() -> None:
    pixels, noisy = torch.rand(1, 3, 8, 8), []
    for mean, std in (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5, 0.5, 0.5), (0.5, 0.4, 0.3))):
        shift, scale = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        changed = perturbed((pixels - shift) / scale, generator=torch.Generator().manual_seed(0), std=std)
        noisy.append(changed * scale + shift)
    torch.testing.assert_close(*noisy)
    grey = perturbed(torch.zeros(1, 1, 50, 50), generator=torch.Generator().manual_seed(0), std=(0.5,))
    assert float(grey.max()) == pytest.approx(0.25 * 0.226 / 0.5)


def test_processes_together_have_the_purity_of_one() -> None:
    draw = torch.Generator().manual_seed(0)
    places, parts = torch.rand(20, 3, 2, generator=draw), torch.rand(20, 4, 2, generator=draw)
    activation = torch.rand(20, 3, generator=draw)
    whole, first, second = (PartPurity(3, 4, 0.4, top=5) for _ in range(3))
    whole.update(places, parts, activation)
    first.update(places[:7], parts[:7], activation[:7])
    second.update(places[7:], parts[7:], activation[7:])
    first.best, first.near = torch.cat([first.best, second.best]), torch.cat([first.near, second.near])
    assert first.compute() == whole.compute()


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"expected places \(B, 3, 2\), parts \(B, 2, 2\) and counts \(B, 3\); got"):
        PartConsistency(3, 2).update(PLACES, PARTS, COUNTS)
    with pytest.raises(ValueError, match=r"a width in \(0, 1\]; got 3, 2 and 2"):
        PartStability(3, 2, width=2)
