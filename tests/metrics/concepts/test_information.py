"""Mutual information against scikit-learn, and where the truth is known."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.metrics import mutual_info_score
from torch import Tensor

from zoo.metrics.concepts.information import count_inside, dense_codes, mutual_information, nearest
from zoo.utils import progress


def variables(rows: int = 500) -> tuple[Tensor, Tensor]:
    """Continuous (rows, 4), of unlike scales and dependent, and labels (rows, 2)."""
    x = torch.randn(rows, 4, dtype=torch.float64)
    x[:, 1] += x[:, 0]
    labels = torch.stack([torch.randint(0, 7, (rows,)), (x[:, 0] > 0.3).long()], 1)
    x[:, 3] = 30 + 5 * (x[:, 3] + labels[:, 0])
    return x, labels


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_continuous_variables_are_as_in_scikit_learn(neighbours: int) -> None:
    x, _ = variables()
    found = mutual_information(x, neighbours=neighbours)
    for column in range(4):
        expected = mutual_info_regression(x, x[:, column], n_neighbors=neighbours, random_state=0)
        np.testing.assert_allclose(found[:, column], expected, atol=1e-6)
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_continuous_and_discrete_are_as_in_scikit_learn(neighbours: int) -> None:
    x, labels = variables()
    found = mutual_information(x, labels, neighbours=neighbours)
    for column in range(2):
        expected = mutual_info_classif(x, labels[:, column], n_neighbors=neighbours, random_state=0)
        np.testing.assert_allclose(found[:, column], expected, atol=1e-6)
    torch.testing.assert_close(mutual_information(labels, x, neighbours=neighbours), found.T)
    mixed = mutual_information(torch.cat([x, labels], 1), neighbours=neighbours)
    torch.testing.assert_close(mixed[:4, 4:], found)
    torch.testing.assert_close(mixed, mixed.T)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_continuous_and_discrete_are_as_in_the_naive_loop(neighbours: int) -> None:
    """One label has a single row, which does not count, another fewer rows than neighbours."""
    x, labels = variables(120)
    labels[0, 0], labels[1:3, 0] = 8, 7
    found = mutual_information(x, labels, neighbours=neighbours)
    for i, j in np.ndindex(4, 2):
        label = labels[:, j]
        used = (label == label[:, None]).sum(1) > 1
        value, label, terms = x[used, i], label[used], []
        distances = (value - value[:, None]).abs()
        for row, same in zip(distances, label == label[:, None], strict=True):
            near = min(neighbours, int(same.sum()) - 1)
            inside = int((row < row[same].sort().values[near]).sum())
            terms.append(digamma(near) - digamma(int(same.sum())) - digamma(inside))
        expected = max(0.0, digamma(len(value)) + float(np.mean(terms)))
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-9)


def test_discrete_variables_are_as_in_scikit_learn() -> None:
    _, labels = variables()
    numbers = torch.cat([labels.double(), torch.randn(500, 1).sign().double()], 1)
    found = mutual_information(numbers)
    for i in range(3):
        for j in range(3):
            assert float(found[i, j]) == pytest.approx(mutual_info_score(numbers[:, i], numbers[:, j]), abs=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_normal_variables_have_the_information_of_the_formula(correlation: float) -> None:
    x = torch.randn(4000, 2, dtype=torch.float64)
    x[:, 1] = correlation * x[:, 0] + math.sqrt(1 - correlation**2) * x[:, 1]
    assert float(mutual_information(x)[0, 1]) == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.05)


def test_vectors_have_the_information_of_the_formula() -> None:
    """Two of three dimensions are shared with correlation 0.8; a vector also stands beside numbers and labels."""
    x, noise = torch.randn(2, 3000, 3, dtype=torch.float64)
    y = 0.8 * x + 0.6 * noise
    y[:, 2] = noise[:, 2]
    truth = -math.log(1 - 0.8**2)
    found = float(mutual_information(x[:, None], y[:, None]))
    assert found == pytest.approx(truth, rel=0.12)
    assert float(mutual_information(x[:, None], y[:, :1])) == pytest.approx(truth / 2, rel=0.12)
    labels = (x[:, :1] > 0).long()
    assert float(mutual_information(x[:, None], labels)) == pytest.approx(math.log(2), rel=0.12)


def test_vector_of_one_dimension_is_a_number() -> None:
    x, labels = variables(300)
    torch.testing.assert_close(mutual_information(x[..., None]), mutual_information(x))
    torch.testing.assert_close(mutual_information(x[..., None], labels), mutual_information(x, labels))
    # A second dimension that never varies changes no distance, but takes the way of vectors.
    flat = torch.stack([x, torch.zeros_like(x)], 2)
    torch.testing.assert_close(mutual_information(flat), mutual_information(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(mutual_information(flat, labels), mutual_information(x, labels), rtol=0, atol=1e-6)


def test_information_about_itself() -> None:
    """Of a number without ties all that the estimator can tell; half of the rows tied are one value with noise."""
    x = torch.randn(1000, 2)
    x[:500, 1] = 0.25
    whole, tied = mutual_information(x).diagonal().tolist()
    assert whole == pytest.approx(digamma(1000) - digamma(4), abs=1e-9)
    assert math.log(2) < tied < whole - 1
    labels = (torch.arange(1000) % 4)[:, None]
    assert float(mutual_information(labels)) == pytest.approx(math.log(4))


def test_same_seed_same_result_and_repeats_are_averaged() -> None:
    x = (torch.randn(200, 3) * 20).round() / 20  # with ties, where noise matters
    assert torch.equal(mutual_information(x, seed=1), mutual_information(x, seed=1))
    assert not torch.equal(mutual_information(x, seed=1), mutual_information(x, seed=2))
    spread = lambda repeats: torch.stack([mutual_information(x, repeats=repeats, seed=s) for s in range(8)]).std(0)  # noqa: E731
    assert spread(10).mean() < 0.7 * spread(1).mean()


def test_missing_labels_leave_rows_out_of_their_pairs_only() -> None:
    x, labels = variables()
    known = labels.double()
    known[::3, 0], gone = torch.nan, torch.arange(500) % 3 > 0
    found = mutual_information(x, known)
    torch.testing.assert_close(found[:, 1], mutual_information(x, labels)[:, 1])
    expected = mutual_info_classif(x[gone], labels[gone, 0], random_state=0)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
    pairs = mutual_information(known)
    assert float(pairs[0, 1]) == pytest.approx(mutual_info_score(labels[gone, 0], labels[gone, 1]), abs=1e-12)
    never = torch.full((500, 1), torch.nan)
    assert mutual_information(never, known).isnan().all() and mutual_information(x, never).isnan().all()


def test_what_never_varies_tells_nothing() -> None:
    x, _ = variables(100)
    x[:, 0] = 0.3
    assert float(mutual_information(x)[0].abs().max()) < 1e-12
    assert float(mutual_information(torch.ones(100, 1, 3), x[:, None, :2]).abs().max()) < 0.5


def test_neighbours_on_the_border_do_not_count() -> None:
    """The third neighbour lies exactly on the border; x + (y - x) is not always y, so sums get 8 % of these wrong."""
    points = torch.randn(200, 20, 1, dtype=torch.float64)
    radius = torch.stack([nearest(variable, 3) for variable in points])
    assert (count_inside(points, radius) == 3).all()
    assert (count_inside(points.repeat(1, 1, 2), radius) == 3).all()
    values = points[..., 0]
    ordered = values.sort(1).values
    sums = torch.searchsorted(ordered, values + radius) - torch.searchsorted(ordered, values - radius, right=True)
    assert (sums != 3).float().mean() > 0.02


def test_dense_codes() -> None:
    codes = dense_codes(torch.tensor([[0.5, 3.0], [-1.0, torch.nan], [0.5, -2.0], [7.0, 3.0]]))
    assert codes.tolist() == [[1, 1], [0, -1], [1, 0], [2, 1]]


def test_refuses_what_it_cannot_estimate() -> None:
    x, labels = variables(100)
    with pytest.raises(ValueError, match="3 neighbours need at least 4 rows; got 3"):
        mutual_information(x[:3])
    x[5, 1] = torch.nan
    with pytest.raises(ValueError, match="a continuous variable has NaN or infinite values"):
        mutual_information(x, labels)
    with pytest.warns(UserWarning, match="nearest neighbours in 9 dimensions underestimate"):
        mutual_information(torch.randn(50, 2, 9))


def test_progress_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    x, _ = variables(60)
    mutual_information(x)
    assert capsys.readouterr().err == ""
    mutual_information(x, progress="pairs")
    assert "pairs" in capsys.readouterr().err
