"""Consistency, stability and purity of prototypes, by hand on grids of a few cells."""

import math

import pytest
import torch
from torch import Tensor

from zoo.metrics import PartConsistency, PartPurity, PartStability, peaks
from zoo.metrics.prototype_parts import cell_centres

NAN = math.nan


def at(*cells: int, side: int = 4) -> Tensor:
    """(1, K, side, side) supports, unit k highest at cells[k]."""
    support = torch.full((1, len(cells), side * side), 0.2)
    for k, cell in enumerate(cells):
        support[0, k, cell] = 0.9
    return support.view(1, len(cells), side, side)


def place(*parts: tuple[float, float]) -> Tensor:
    return torch.tensor([parts])


def values(metric: PartConsistency | PartPurity | PartStability) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_peaks_are_the_centres_of_the_highest_cells_and_of_the_first_among_equals() -> None:
    assert peaks(at(0, 6, 15)).tolist() == [[[0.125, 0.125], [0.625, 0.375], [0.875, 0.875]]]
    assert peaks(torch.ones(1, 1, 2, 3)).tolist() == [[[pytest.approx(1 / 6), 0.25]]]
    wide = torch.zeros(1, 1, 2, 4)
    wide[0, 0, 1, 3] = 1
    assert peaks(wide).tolist() == [[[0.875, 0.75]]]
    torch.testing.assert_close(cell_centres(2, 4)[7], torch.tensor([0.875, 0.75]))


def test_consistency_by_hand() -> None:
    """Unit 0 is on part 0 in 4 of 5 images, unit 1 on part 1 in 1 of 2 where it is visible, unit 2 counts nowhere."""
    metric = PartConsistency(3, 2, side=0.25, threshold=0.8, least=2)
    counts = torch.tensor([[True, True, False]])
    for image in range(5):
        first = (0.1, 0.1) if image < 4 else (0.9, 0.9)
        second = {0: (0.6, 0.4), 1: (0.1, 0.9)}.get(image, (NAN, NAN))
        metric.update(at(0, 6, 15), place(first, second), counts)
    found = metric.each()
    assert found[:2].tolist() == pytest.approx([0.8, 0.5]) and found[2].isnan()
    result = values(metric)
    assert result["consistency"] == 0.5 and result["rate"] == pytest.approx(0.65)
    assert (result["defined"], result["undefined"]) == (2, 1)
    # A random one of 16 cells has the part in a box of its own size with probability 1/16.
    assert result["chance rate"] == pytest.approx(1 / 16) and result["chance consistency"] == 0


def test_a_part_that_is_rarely_visible_makes_no_unit_consistent() -> None:
    metric = PartConsistency(1, 1, side=0.25, least=2)
    metric.update(at(0), place((0.1, 0.1)))
    metric.update(at(0), place((NAN, NAN)))
    result = values(metric)
    assert math.isnan(result["consistency"]) and math.isnan(result["rate"]) and result["undefined"] == 1
    metric.update(at(0), place((0.1, 0.1)))
    assert values(metric)["consistency"] == 1


def test_kinds_of_parts_are_hit_by_any_of_their_parts() -> None:
    eyes = place((0.1, 0.1), (0.9, 0.1), (NAN, NAN))
    apart, together = PartConsistency(1, 3, 0.25, least=1), PartConsistency(1, [0, 0, 1], 0.25, least=1)
    for cell in (0, 3):
        apart.update(at(cell), eyes)
        together.update(at(cell), eyes)
    assert apart.each().tolist() == [0.5] and together.each().tolist() == [1.0]
    assert values(together)["chance rate"] == pytest.approx(2 / 16)


def test_chance_is_the_mean_over_units_at_every_cell() -> None:
    parts = place((0.3, 0.55), (0.8, 0.2))
    metric = PartConsistency(16, 2, side=0.6, least=1)
    metric.update(at(*range(16)), parts)
    every = (metric.hit / metric.seen).mean(0)
    torch.testing.assert_close(metric.random[0], every)


def test_purity_by_hand() -> None:
    """The top two images of unit 0 show parts {0} and {0, 1}; those of unit 1 nothing; unit 2 was seen once."""
    metric = PartPurity(3, 2, side=0.25, top=2)
    images = [
        (5.0, at(0, 15, 0), place((0.1, 0.1), (0.9, 0.1))),
        (1.0, at(0, 15, 0), place((0.9, 0.1), (0.1, 0.9))),  # unit 0 fires least here
        (7.0, at(0, 15, 0), place((0.15, 0.1), (0.1, 0.15))),
    ]
    for i, (activation, support, parts) in enumerate(images):
        metric.update(support, torch.tensor([[activation] * 3]), parts, torch.tensor([[True, True, i == 1]]))
    found = metric.each()
    assert found[:2].tolist() == [1.0, 0.0] and found[2].isnan()
    result = values(metric)
    assert result["purity"] == 0.5 and result["related"] == 0.5
    assert (result["defined"], result["undefined"]) == (2, 1)
    assert result["chance purity"] == pytest.approx(1 / 16)


def test_purity_counts_parts_that_are_not_visible_as_not_shown() -> None:
    metric = PartPurity(1, 1, side=0.25, top=2)
    metric.update(at(0), torch.ones(1, 1), place((0.1, 0.1)))
    metric.update(at(0), torch.ones(1, 1), place((NAN, NAN)))
    assert metric.each().tolist() == [0.5]


def test_purity_does_not_depend_on_batches_or_processes() -> None:
    support, activation = torch.rand(12, 3, 4, 4), torch.rand(12, 3)
    parts = torch.rand(12, 2, 2)
    whole, pieces, ranks = PartPurity(3, 2, 0.5, 4), PartPurity(3, 2, 0.5, 4), []
    whole.update(support, activation, parts)
    for rows in torch.arange(12).split(5):
        pieces.update(support[rows], activation[rows], parts[rows])
        one = PartPurity(3, 2, 0.5, 4)
        one.update(support[rows], activation[rows], parts[rows])
        ranks.append(one.best)
    assert torch.equal(whole.best, pieces.best)
    assert torch.equal(whole.best, whole._reductions["best"](torch.stack(ranks)))


def test_stability_by_hand() -> None:
    """Units: stays on its part; leaves it; still nowhere; moves from part 0 to part 1; does not count."""
    metric = PartStability(2, side=0.25)
    parts = place((0.1, 0.1), (0.9, 0.9))
    metric.update(at(0, 0, 7, 0, 0), at(0, 7, 6, 15, 0), parts, torch.tensor([[True] * 4 + [False]]))
    assert values(metric) == {"stability": pytest.approx(1 / 3), "defined": 3, "empty": 1}


def test_stability_without_any_part_is_undefined() -> None:
    metric = PartStability(1)
    metric.update(at(0), at(0), place((NAN, NAN)))
    assert math.isnan(values(metric)["stability"]) and values(metric)["empty"] == 1


@pytest.mark.parametrize("metric", [PartConsistency(2, 3), PartStability(3)])
def test_shapes_that_do_not_fit_are_refused(metric: PartConsistency | PartStability) -> None:
    support = at(0, 1)
    extra = (support,) if isinstance(metric, PartStability) else ()
    with pytest.raises(ValueError, match=r"places of parts \(B, 3, 2\); got .* and \(1, 2, 2\)"):
        metric.update(support, *extra, torch.rand(1, 2, 2))
    with pytest.raises(ValueError, match=r"expected counts \(1, 2\)"):
        metric.update(support, *extra, torch.rand(1, 3, 2), torch.ones(1, 5))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 without a gap; got \\[0, 2\\]"):
        PartStability([0, 2])
    with pytest.raises(ValueError, match="side must be a share of the image in \\(0, 1\\]; got 72"):
        PartStability(3, side=72)
    with pytest.raises(ValueError, match="threshold in \\(0, 1\\] and least >= 1; got 0 and 5"):
        PartConsistency(1, 1, threshold=0)
    with pytest.raises(ValueError, match="top must be at least 1"):
        PartPurity(1, 1, top=0)
    with pytest.raises(ValueError, match="activations \\(1, 2\\)"):
        PartPurity(2, 1).update(at(0, 1), torch.rand(1, 3), torch.rand(1, 1, 2))
    with pytest.raises(ValueError, match="after as before"):
        PartStability(1).update(at(0, 1), at(0), torch.rand(1, 1, 2))
