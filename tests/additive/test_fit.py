"""Fits of tables whose terms are known."""

import pytest
import torch

from zoo.additive.layers.blocks import BinColumn
from zoo.additive.layers.fit import AdditiveTables, FitOptions, fit_additive
from zoo.additive.layers.likelihood import Task
from zoo.additive.layers.purify import purify_pair

ROWS = 6000
COLUMNS = [BinColumn(32, True), BinColumn(20, True), BinColumn(5, False), BinColumn(16, True)]


def table(seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Bins, the true curve of each column, and the true table of the pair (0, 1)."""
    random = torch.Generator().manual_seed(seed)
    bins = torch.stack([torch.randint(0, c.bins, (ROWS,), generator=random) for c in COLUMNS], 1)
    curves = [
        torch.sin(torch.arange(32) / 5.0),
        (torch.arange(20) > 12).float() * 1.5,
        torch.tensor([0.0, 1, -1, 0.5, 2]),
        torch.zeros(16),
    ]
    pair = torch.outer(torch.cos(torch.arange(32) / 6.0), torch.linspace(-1.5, 1.5, 20))
    return bins, curves, pair


def truth(bins: torch.Tensor, curves: list[torch.Tensor], pair: torch.Tensor) -> torch.Tensor:
    return sum(curve[bins[:, k]] for k, curve in enumerate(curves)) + pair[bins[:, 0], bins[:, 1]]


def explained(found: torch.Tensor, true: torch.Tensor) -> float:
    """R2 of two curves, both centred."""
    found, true = found - found.mean(), true.to(found) - true.mean()
    return 1 - float((found - true).square().sum() / true.square().sum())


def recover(task: str) -> tuple[AdditiveTables, torch.Tensor]:
    bins, curves, pair = table()
    score = truth(bins, curves, pair)
    random = torch.Generator().manual_seed(1)
    noise = torch.randn(ROWS, generator=random)
    target = score + 0.3 * noise if task == "regression" else (torch.rand(ROWS, generator=random) < score.sigmoid())
    return fit_additive(bins, COLUMNS, target, task, options=FitOptions(pairs=2, rounds=4)), bins


def test_curves_and_pairs_of_a_regression_are_recovered() -> None:
    found, bins = recover("regression")
    _, curves, pair = table()
    assert found.pairs[0] == (0, 1)
    pure = pair - pair.mean(0) - pair.mean(1, keepdim=True) + pair.mean()
    assert explained(found.tables[0][:, :, 0], pure) > 0.99
    curves[0] = curves[0] + pair.mean(1)
    curves[1] = curves[1] + pair.mean(0)
    for k in range(3):
        assert explained(found.mains[k][:, 0], curves[k]) > 0.99
    assert float(found.mains[3].abs().max()) < 0.03
    assert found.noise == pytest.approx(0.09, rel=0.1)
    for k, main in enumerate(found.mains):
        assert abs(float(main[bins[:, k]].mean())) < 1e-9


def test_standard_errors_are_of_the_right_size() -> None:
    bins, curves, pair = table()
    random = torch.Generator().manual_seed(2)
    target = truth(bins, curves, 0 * pair) + torch.randn(ROWS, generator=random)
    found = fit_additive(bins, COLUMNS, target, "regression", options=FitOptions(pairs=0))
    for k in range(3):
        true = curves[k] - curves[k][bins[:, k]].mean()
        assert 0.4 < float(((found.mains[k][:, 0] - true) / found.errors[k][:, 0]).square().mean()) < 2


def test_standard_errors_of_pairs_are_of_the_right_size() -> None:
    bins, curves, pair = table()
    target = truth(bins, curves, pair) + torch.randn(ROWS, generator=torch.Generator().manual_seed(2))
    found = fit_additive(bins, COLUMNS, target, "regression", options=FitOptions(pairs=[(0, 1)]))
    density = torch.zeros(pair.shape, dtype=torch.double)
    density.index_put_((bins[:, 0], bins[:, 1]), density.new_ones(()), accumulate=True)
    pure, *_ = purify_pair(pair.double(), density)
    missed = (found.tables[0][..., 0] - pure) / found.pair_errors[0][..., 0]
    assert 0.4 < float(missed.square().mean()) < 2


def test_curves_of_two_classes_are_recovered() -> None:
    found, _ = recover("binary")
    _, curves, _ = table()
    assert found.pairs[0] == (0, 1)
    assert explained(found.mains[2][:, 0], curves[2]) > 0.95


def test_three_classes() -> None:
    bins, curves, _ = table()
    random = torch.Generator().manual_seed(1)
    logits = torch.stack([curves[0][bins[:, 0]] * 2, curves[1][bins[:, 1]] * 2, torch.zeros(ROWS)], 1)
    target = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    found = fit_additive(bins, COLUMNS, target, "multiclass", classes=3, options=FitOptions(pairs=0))
    share, right = found.scores(bins).softmax(1), logits.softmax(1)
    assert float((share - right).abs().mean()) < 0.02


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="column 0 has 3 bins; got bins 0 to 3"):
        fit_additive(torch.tensor([[0], [3]]), [BinColumn(3, True)], torch.zeros(2), "regression")
    with pytest.raises(ValueError, match="bins must be"):
        fit_additive(torch.zeros(2, 2, dtype=torch.long), [BinColumn(3, True)], torch.zeros(2), "regression")


def test_monotone_curves_hold_exactly() -> None:
    bins, curves, pair = table()
    target = truth(bins, curves, 0 * pair) + torch.randn(ROWS, generator=torch.Generator().manual_seed(1))
    found = fit_additive(bins, COLUMNS, target, "regression", options=FitOptions(pairs=2, monotone={0: -1, 1: 1}))
    assert not {k for pair in found.pairs for k in pair} & {0, 1}
    assert (found.mains[0].diff(dim=0) <= 0).all() and (found.mains[1].diff(dim=0) >= 0).all()
    random = torch.stack([torch.randint(0, c.bins, (100_000,)) for c in COLUMNS], 1)
    higher = random.clone()
    higher[:, 1] = (higher[:, 1] + 1).clamp(max=COLUMNS[1].bins - 1)
    assert (found.scores(higher) >= found.scores(random)).all()


def test_pairs_that_are_noise_are_left_out() -> None:
    bins, curves, pair = table()
    target = truth(bins, curves, 0 * pair) + torch.randn(ROWS, generator=torch.Generator().manual_seed(1))
    found = fit_additive(bins, COLUMNS, target, "regression", options=FitOptions(pairs=6, significance=4.0))
    assert not found.pairs


def test_monotone_is_checked() -> None:
    bins = torch.zeros(4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="monotone needs"):
        fit_additive(bins, COLUMNS, torch.zeros(4), "regression", options=FitOptions(monotone={2: 1}))
    with pytest.raises(ValueError, match="cannot be in a pair"):
        fit_additive(bins, COLUMNS, torch.zeros(4), "regression", options=FitOptions(pairs=[(0, 1)], monotone={1: 1}))


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_weight_counts_as_copies_of_a_row(task: Task) -> None:
    draw = torch.Generator().manual_seed(1)
    bins, copies = torch.randint(5, (200, 2), generator=draw), torch.randint(1, 4, (200,), generator=draw)
    target = bins[:, 0] - bins[:, 1] + torch.randn(200, generator=draw)
    target = target if task == "regression" else (target > 0).long()
    columns, options = [BinColumn(5, True), BinColumn(5, False)], FitOptions(pairs=0)
    weighted = fit_additive(bins, columns, target, task, weight=copies.double(), options=options)
    rows, values = (each.repeat_interleave(copies, 0) for each in (bins, target))
    copied = fit_additive(rows, columns, values, task, options=options)
    without = fit_additive(bins, columns, target, task, options=options)
    assert torch.allclose(weighted.scores(bins), copied.scores(bins), atol=1e-6)
    assert not torch.allclose(without.scores(bins), copied.scores(bins), atol=1e-3)
