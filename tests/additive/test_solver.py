"""The parts of the additive solver against plain loops and against scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from zoo.additive.layers.blocks import BinColumn, main_block, pair_block, pair_table
from zoo.additive.layers.counts import coarse_bins, main_gram, main_moment
from zoo.additive.layers.fast import quadrant_gains, rank_pairs
from zoo.additive.layers.likelihood import derivatives
from zoo.additive.layers.purify import purify_pair
from zoo.additive.layers.reml import solve

COLUMNS = [BinColumn(9, True), BinColumn(4, False), BinColumn(6, True, 2)]


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows(random: torch.Generator, count: int) -> torch.Tensor:
    return torch.stack([torch.randint(0, c.bins, (count,), generator=random) for c in COLUMNS])


def design(bins: torch.Tensor) -> torch.Tensor:
    blocks = [main_block(column) for column in COLUMNS]
    return torch.cat(
        [torch.ones(bins.shape[1], 1).double(), *(b.basis[x] for b, x in zip(blocks, bins, strict=True))], 1
    )


def test_gram_and_moment_are_those_of_the_design(random: torch.Generator) -> None:
    bins, weight = rows(random, 300), torch.rand(300, generator=random).double()
    blocks = [main_block(column) for column in COLUMNS]
    x = design(bins)
    torch.testing.assert_close(main_gram(bins, blocks, weight), x.T @ (weight[:, None] * x))
    torch.testing.assert_close(main_moment(bins, blocks, weight), x.T @ weight)


@pytest.mark.parametrize("column", [*COLUMNS, BinColumn(2, True), BinColumn(256, True)])
def test_a_scale_is_the_mean_variance_over_the_bins(column: BinColumn) -> None:
    block = main_block(column)
    torch.testing.assert_close(block.spectra @ (block.basis**2).mean(0), torch.ones(len(block.spectra)).double())


def test_newton_finds_the_optimum_of_the_objective(random: torch.Generator) -> None:
    """Logistic regression with the penalty of given scales, against scipy."""
    bins = rows(random, 400)
    target = (torch.rand(400, generator=random) < torch.sigmoid(bins[0] / 4.0 - 1)).double()
    x = design(bins)
    blocks = [main_block(column) for column in COLUMNS]
    variance = torch.cat([torch.tensor([1e4]).double(), *(0.3 * block.spectra.sum(0) for block in blocks)])
    theta = torch.zeros(x.shape[1]).double()
    for _ in range(20):
        residual, weight = derivatives("binary", x @ theta[:, None], target, 0, 1.0)
        gram = main_gram(bins, blocks, weight)
        theta = solve(gram, gram @ theta + main_moment(bins, blocks, residual), variance, negligible=0).mode

    def objective(t: np.ndarray) -> tuple[float, np.ndarray]:
        score = x.numpy() @ t
        value = np.logaddexp(0, score).sum() - target.numpy() @ score + (t**2 / variance.numpy()).sum() / 2
        return value, x.numpy().T @ (1 / (1 + np.exp(-score)) - target.numpy()) + t / variance.numpy()

    best = minimize(objective, np.zeros(len(theta)), jac=True, method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(theta.numpy(), best.x, atol=1e-5)


def test_posterior_against_plain_algebra(random: torch.Generator) -> None:
    x = torch.randn(50, 6, generator=random).double()
    gram, moment, variance = x.T @ x, x.T @ torch.randn(50, generator=random).double(), torch.rand(6, generator=random)
    variance = variance.double()
    found = solve(gram, moment, variance, negligible=0)
    covariance = torch.linalg.inv(gram + torch.diag(1 / variance))
    torch.testing.assert_close(found.mode, covariance @ moment)
    torch.testing.assert_close(found.root().T @ found.root(), covariance)
    torch.testing.assert_close(found.expected, (gram - gram @ covariance @ gram).diagonal())
    assert found.freedom == pytest.approx(float((covariance @ gram).trace()))


def test_the_table_of_a_pair_extends_its_cells(random: torch.Generator) -> None:
    cells = torch.tensor([0, 7, 12, 53])
    for one, two in itertools.combinations(COLUMNS, 2):
        block = pair_block(one, two, cells % (one.bins * two.bins), 12)
        theta = torch.randn(12, generator=random).double()
        table = pair_table(one, two, theta)
        torch.testing.assert_close(block.basis @ theta, table.flatten()[cells % (one.bins * two.bins)])


def test_coarse_bins_keep_the_order_and_the_missing_bin() -> None:
    merged, small = coarse_bins(BinColumn(101, True, 1), torch.ones(101), 8)
    assert small == BinColumn(9, True, 1)
    assert merged[100] == 8 and (merged.diff() >= 0).all()
    assert torch.bincount(merged[:100]).float().std() < 1


def test_fast_against_a_plain_loop(random: torch.Generator) -> None:
    residual = torch.randn(5, 7, generator=random).double()
    weight = torch.rand(5, 7, generator=random).double() + 0.1
    gains = quadrant_gains(residual, weight)
    for a, b in itertools.product(range(4), range(6)):
        gain = -float(residual.sum() ** 2 / weight.sum())
        for up, right in itertools.product((slice(0, a + 1), slice(a + 1, 5)), (slice(0, b + 1), slice(b + 1, 7))):
            gain += float(residual[up, right].sum() ** 2 / weight[up, right].sum())
        assert float(gains[a, b]) == pytest.approx(gain / 2)


def test_fast_finds_the_pair(random: torch.Generator) -> None:
    bins = torch.randint(0, 8, (4, 4000), generator=random)
    residual = ((bins[1] > 3) ^ (bins[2] > 4)).double() - 0.5 + torch.randn(4000, generator=random)
    first = rank_pairs(bins, [8] * 4, residual[:, None], torch.ones(4000, 1).double())[0]
    assert first[:2] == (1, 2)


def test_purification_against_a_plain_loop(random: torch.Generator) -> None:
    table = torch.randn(4, 3, 2, generator=random).double()
    density = torch.rand(4, 3, generator=random).double()
    density[1, 2] = 0
    pure, along, across = purify_pair(table, density)
    for a, b, c in itertools.product(range(4), range(3), range(2)):
        assert float(pure[a, b, c] + along[a, c] + across[b, c]) == pytest.approx(float(table[a, b, c]))
    for c in range(2):
        for a in range(4):
            assert abs(sum(float(density[a, b] * pure[a, b, c]) for b in range(3))) < 1e-8
        for b in range(3):
            assert abs(sum(float(density[a, b] * pure[a, b, c]) for a in range(4))) < 1e-8
