"""Random streams, elements, masks and imputers, against independent formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from zoo.domain import GraphDomain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.metrics.faithfulness.elements import cells_of, element_shape, over_input, present, random_masks
from zoo.metrics.faithfulness.imputers import (
    NAMES,
    Blur,
    ConditionalGaussian,
    CorpusTokens,
    Marginal,
    MaskToken,
    Mean,
    NoisyLinear,
    imputers_for,
)
from zoo.metrics.faithfulness.streams import integers, normal, uniform

IMAGE = ImageDomain(classes=("a", "b"), size=(12, 16), channels=3)
TABLE = TableDomain(classes=("a", "b"), features=tuple("abcdef"))
SERIES = SeriesDomain(classes=("a", "b"), variables=("u", "v", "w"), length=20)
TEXT = TextDomain(classes=("a", "b"), vocabulary=tuple("abcdefgh"), length=15)
DOMAINS = {"image": IMAGE, "table": TABLE, "series": SERIES, "text": TEXT}


def inputs(domain: ImageDomain | TableDomain | SeriesDomain | TextDomain, count: int) -> Tensor:
    return domain.example(count, torch.Generator().manual_seed(0))


def test_streams_are_uniform_normal_and_independent() -> None:
    ids = torch.arange(200)
    draws = uniform(ids, 100, seed=1)
    assert (
        kstest(draws.flatten(), "uniform").pvalue > 0.01 and kstest(normal(ids, 100, 1).flatten(), "norm").pvalue > 0.01
    )
    rows = torch.corrcoef(draws)
    assert (rows - torch.eye(200)).abs().max() < 0.5 and abs(rows.triu(1).sum() / 19900) < 0.01
    for other in (uniform(ids, 100, 2), uniform(ids, 100, 1, "masks"), uniform(ids + 1, 100, 1)):
        assert abs(torch.corrcoef(torch.stack([draws.flatten(), other.flatten()]))[0, 1]) < 0.03
    assert uniform(ids[50:60], 30, 1).equal(draws[50:60, :30])  # neither the batch nor the count matters
    counts = torch.bincount(integers(ids, 100, 7, 3).flatten(), minlength=7)
    assert counts.sum() == 20_000 and (counts / 20_000 - 1 / 7).abs().max() < 0.02


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_cells_are_even(rows: int, columns: int, tall: int, wide: int) -> None:
    cells = cells_of((rows, columns), (rows * tall, columns * wide)).view(rows * tall, columns * wide)
    expected = torch.arange(rows * columns).view(rows, columns).repeat_interleave(tall, 0).repeat_interleave(wide, 1)
    assert cells.equal(expected)


def test_a_grid_of_time_spreads_over_variables() -> None:
    cells = cells_of((4,), (8, 3)).view(8, 3)
    assert cells.equal((torch.arange(8) // 2)[:, None].expand(8, 3))
    with pytest.raises(ValueError, match=r"a support grid \(2, 2\) has more axes than the elements of the input"):
        cells_of((2, 2), (5,))


@pytest.mark.parametrize("name", DOMAINS)
def test_masks_have_the_shares(name: str) -> None:
    domain = DOMAINS[name]
    x, ids = inputs(domain, 40), torch.arange(40)
    masks, there = random_masks(x, ids, domain, (0.1, 0.4), 8, seed=0), present(x, domain)
    assert masks.shape == (40, 8, there.shape[1]) and not bool((masks & ~there[:, None]).any())
    share = masks.sum(2) / there.sum(1, keepdim=True)
    few, many = share[:, 0::2].mean(), share[:, 1::2].mean()
    assert few == pytest.approx(0.1, abs=0.08) and many == pytest.approx(0.4, abs=0.08) and masks.any(2).all()
    assert random_masks(x[5:9], ids[5:9], domain, (0.1, 0.4), 8, seed=0).equal(masks[5:9])
    assert not random_masks(x, ids, domain, (0.1, 0.4), 8, seed=1).equal(masks)


def test_masks_of_images_are_rectangles() -> None:
    masks = random_masks(inputs(IMAGE, 9), torch.arange(9), IMAGE, (0.2,), 4, 0).unflatten(2, (12, 16))
    rows, columns = masks.any(3), masks.any(2)
    assert masks.equal(rows[..., None] & columns[..., None, :])
    for line in (rows, columns):  # without holes
        assert bool(((line[..., 1:] & ~line[..., :-1]).sum(-1) <= 1).all())


@pytest.mark.parametrize("name", DOMAINS)
def test_imputers_change_nothing_but_the_mask(name: str) -> None:
    domain = DOMAINS[name]
    reference, x, ids = inputs(domain, 64), inputs(domain, 6).flip(0), torch.arange(6)
    masks = random_masks(x, ids, domain, (0.3,), 5, 0)
    some = imputers_for(domain, reference)
    assert [i.name for i in some] == list(NAMES[domain.modality])
    for imputer in some:
        filled = imputer(x, masks, ids)
        kept = ~over_input(masks, domain).expand_as(filled)
        assert filled.dtype == x.dtype and filled[kept].equal(x[:, None].expand_as(filled)[kept])
        assert imputer(x[2:4], masks[2:4], ids[2:4]).allclose(filled[2:4], atol=1e-6)  # nor does the batch
        assert imputer(x, masks & False, ids).equal(x[:, None].expand_as(filled))


def test_mean_and_marginal_by_hand() -> None:
    reference, x = inputs(TABLE, 50), inputs(TABLE, 3)
    masks = torch.ones(3, 400, 6, dtype=torch.bool)
    assert Mean(reference, TABLE)(x, masks, torch.arange(3)).allclose(reference.mean(0).expand(3, 400, 6))
    drawn = Marginal(reference, TABLE)(x, masks, torch.arange(3)).flatten(0, 1)
    assert bool((drawn[:, None] == reference[None]).all(2).any(1).all())  # whole rows of the reference
    assert (drawn.mean(0) - reference.mean(0)).abs().max() < 0.15
    image = inputs(IMAGE, 9)
    assert Mean(image, IMAGE).value.flatten().tolist() == pytest.approx(image.mean((0, 2, 3)).tolist())


def test_conditional_gaussian_has_the_conditional_mean_and_variance() -> None:
    draw = torch.Generator().manual_seed(0)
    reference = torch.randn(4000, 6, generator=draw) @ torch.randn(6, 6, generator=draw)
    x, out = reference[:1], torch.tensor([True, False, True, False, False, False])
    filled = ConditionalGaussian(reference, TABLE, ridge=0)(x, out.expand(1, 20_000, 6), torch.arange(1))[0].double()
    covariance, mean = reference.double().T.cov().numpy(), reference.double().mean(0).numpy()
    a, b = out.numpy(), ~out.numpy()
    weights = np.linalg.solve(covariance[np.ix_(b, b)], covariance[np.ix_(b, a)]).T
    expected = mean[a] + weights @ (x[0].double().numpy()[b] - mean[b])
    spread = covariance[np.ix_(a, a)] - weights @ covariance[np.ix_(b, a)]
    assert filled[:, a].mean(0).numpy() == pytest.approx(expected, abs=0.06)
    assert filled[:, a].T.cov().numpy() == pytest.approx(spread, abs=0.08)
    with pytest.raises(ValueError, match="at most 512 elements; these inputs have 576"):
        ConditionalGaussian(torch.zeros(4, 3, 12, 16), IMAGE)


def test_noisy_linear_solves_the_system() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 12, 16, generator=draw)
    hole = torch.zeros(2, 1, 12, 16)
    hole[0, :, 3:9, 4:12], hole[1, :, :5, :5] = 1, 1
    filled = NoisyLinear(IMAGE, sweeps=400).solve(x, hole).double()
    for b in range(2):
        places = [tuple(p) for p in hole[b, 0].nonzero().tolist()]
        number = {p: i for i, p in enumerate(places)}
        system, right = np.eye(len(places)), np.zeros((len(places), 3))
        for (row, column), i in number.items():
            near = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if dr or dc]
            near = [(row + dr, column + dc, 1 / 12 if dr and dc else 1 / 6) for dr, dc in near]
            near = [n for n in near if 0 <= n[0] < 12 and 0 <= n[1] < 16]
            total = sum(weight for *_, weight in near)
            for r, c, weight in near:
                if (r, c) in number:
                    system[i, number[r, c]] -= weight / total
                else:
                    right[i] += weight / total * x[b, :, r, c].numpy()
        solved = np.linalg.solve(system, right)
        found = torch.stack([filled[b, :, r, c] for r, c in places]).numpy()
        assert found == pytest.approx(solved, abs=1e-4)
        quick = NoisyLinear(IMAGE).solve(x, hole)
        inside = hole[b].bool().expand(3, -1, -1)
        assert (quick.double() - filled)[b][inside].abs().mean() < 0.02  # of contrasts of 1


def test_noise_and_blur() -> None:
    x, ids = torch.zeros(4, 3, 12, 16), torch.arange(4)
    masks = torch.ones(4, 2, 192, dtype=torch.bool)
    noise = NoisyLinear(IMAGE, noise=0.5)(x, masks, ids)
    assert noise.std() == pytest.approx(0.5, rel=0.1) and noise[:, 0].equal(noise[:, 1])
    flat = torch.full((1, 3, 12, 16), 0.7)
    assert Blur(IMAGE)(flat, masks[:1], ids[:1]).allclose(flat[:, None].expand(1, 2, 3, 12, 16))
    point = torch.zeros(1, 3, 12, 16)
    point[..., 6, 8] = 1
    smooth = Blur(IMAGE, share=0.1)(point, masks[:1], ids[:1])[0, 0, 0]
    assert smooth.sum() == pytest.approx(1, abs=1e-5) and smooth.argmax() == 6 * 16 + 8
    ratio = (smooth[6, 9] / smooth[6, 8]).item()
    assert ratio == pytest.approx(np.exp(-0.5 / 1.2**2), rel=1e-4)


def test_tokens() -> None:
    reference = torch.tensor([[2, 2, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    x = torch.full((1, 15), 7)
    masks = torch.ones(1, 1000, 15, dtype=torch.bool)
    assert bool((MaskToken(TEXT)(x, masks, torch.arange(1)) == 1).all())
    drawn = CorpusTokens(reference, TEXT)(x, masks, torch.arange(1))
    assert set(drawn.unique().tolist()) == {2, 5} and (drawn == 2).double().mean() == pytest.approx(0.75, abs=0.02)


def test_nodes_and_edges_of_graphs_are_removed() -> None:
    graphs = GraphDomain(classes=("a", "b"), nodes=4, edges=5)
    x = graphs.example(3, torch.Generator().manual_seed(0))
    (remove,) = imputers_for(graphs, x)
    masks = random_masks(x, torch.arange(3), graphs, (0.3, 0.6), 4, 0)
    there = present(x, graphs)
    assert masks.shape == (3, 4, 9) and not (masks & ~there[:, None]).any()
    assert torch.equal(masks.sum(2)[0], (there[0].sum() * torch.tensor([0.3, 0.6, 0.3, 0.6])).round().long())
    removed = remove(x, masks, torch.arange(3))
    for one, mask, left in zip(x, masks, removed, strict=True):
        for m, row in zip(mask, left, strict=True):
            assert not row[m].any() and torch.equal(row[~m], one[~m])


def test_unknown_imputer() -> None:
    with pytest.raises(ValueError, match=r"no imputer 'blurr' for inputs of modality image; did you mean 'blur'"):
        imputers_for(IMAGE, inputs(IMAGE, 3), ("blurr",))


def test_shapes_of_elements() -> None:
    assert element_shape(IMAGE) == (12, 16) and element_shape(SERIES) == (20, 3) and element_shape(TABLE) == (6,)
    x = torch.tensor([[2, 3, 0, 0] + [0] * 11])
    assert present(x, TEXT)[0].tolist() == [True, True] + [False] * 13
