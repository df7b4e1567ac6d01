"""Impurity scores: at chance for pure concepts, rising with what is mixed in, and equal to the naive formula."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from zoo.metrics import NicheImpurity, OracleImpurity
from zoo.metrics.concepts.probes import fit_probes, run_probes, split_rows, standardise
from zoo.metrics.concepts.purity import correlation, masked_logits, oracle_impurity

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def labels(rows: int = 1500, count: int = 4) -> Tensor:
    return (torch.rand(rows, count) < 0.5).float()


def value(metric: OracleImpurity | NicheImpurity, representation: Tensor, concepts: Tensor) -> float:
    metric.update(representation, concepts)
    return float(metric.compute())


def mixed(concepts: Tensor, share: float, noise: Tensor) -> Tensor:
    """Numbers for concepts, each with a share of the next concept."""
    return concepts - 0.5 + share * (concepts.roll(-1, 1) - 0.5) + 0.2 * noise


def embedded(concepts: Tensor, share: float, noise: Tensor) -> Tensor:
    """Vectors of which one dimension tells the concept, one more and more of the next, one nothing."""
    other = share * (concepts.roll(-1, 1) - 0.5) + 0.3 * noise
    return torch.stack([concepts - 0.5, other, noise.roll(1, 1)], 2)


def test_true_concepts_are_pure() -> None:
    concepts = labels(6000)
    assert value(OracleImpurity(epochs=10), concepts, concepts) == 0
    assert value(OracleImpurity(epochs=10, diagonal=False), concepts, concepts) == 0
    assert value(NicheImpurity(epochs=10), concepts, concepts) == pytest.approx(NicheImpurity.chance, abs=0.02)
    vectors = embedded(concepts, 0.0, torch.randn_like(concepts))
    assert value(NicheImpurity(epochs=10), vectors, concepts) == pytest.approx(NicheImpurity.chance, abs=0.03)
    assert value(OracleImpurity(epochs=10), vectors, concepts) < 0.06


@pytest.mark.parametrize(("make", "shares"), [(OracleImpurity, (0.0, 0.1, 0.2, 0.4)), (NicheImpurity, SHARES)])
def test_impurity_of_numbers_rises_with_what_is_mixed_in(make, shares: tuple[float, ...]) -> None:
    """With half of the next concept mixed in, all of it can be told: the oracle score can rise no further."""
    concepts = labels()
    noise = torch.randn_like(concepts)
    found = [value(make(), mixed(concepts, share, noise), concepts) for share in shares]
    assert (np.diff(found) > 0).all(), found
    assert found[-1] > found[0] + 0.1


@pytest.mark.parametrize("diagonal", [True, False])
def test_oracle_impurity_of_embeddings_rises_with_what_is_mixed_in(diagonal: bool) -> None:
    concepts = labels(1000)
    noise = torch.randn_like(concepts)
    found = [value(OracleImpurity(diagonal), embedded(concepts, share, noise), concepts) for share in SHARES]
    assert (np.diff(found) > 0).all(), found
    assert found[-1] > found[0] + 0.3


def test_niche_impurity_of_embeddings_rises_with_what_is_mixed_in() -> None:
    """Beyond, what is mixed in correlates so much that it is in the niche itself."""
    concepts = labels(6000)
    noise = torch.randn_like(concepts)
    shares = (0.0, 0.1, 0.2, 0.3)
    found = [value(NicheImpurity(epochs=15), embedded(concepts, share, noise), concepts) for share in shares]
    assert (np.diff(found) > 0).all(), found
    assert found[-1] > found[0] + 0.05


def test_weak_concept_predictor_is_no_impurity_off_the_diagonal() -> None:
    concepts = labels(4000)
    weak = concepts - 0.5 + torch.randn_like(concepts)
    own, others = (value(OracleImpurity(diagonal, epochs=15), weak, concepts) for diagonal in (True, False))
    assert own > 2 * others and others < 0.07


def test_oracle_impurity_by_hand() -> None:
    """O - π of 2 concepts: Frobenius norm over k / 2; without the diagonal over √(k (k - 1)) / 2."""
    gaps = torch.tensor([[0.1, -0.3], [0.2, 0.0]], dtype=torch.float64)
    assert float(oracle_impurity(gaps)) == pytest.approx(gaps.norm().item())
    assert float(oracle_impurity(gaps, diagonal=False)) == pytest.approx((0.3**2 + 0.2**2) ** 0.5 / (2**0.5 / 2))
    worst = torch.full((3, 3), 0.5)
    assert float(oracle_impurity(worst)) == 1 and float(oracle_impurity(worst, diagonal=False)) == 1
    gaps[:, 1] = torch.nan  # a concept of one kind of label in the test rows
    assert float(oracle_impurity(gaps)) == pytest.approx(2 * ((0.1**2 + 0.2**2) / 2) ** 0.5)
    each = oracle_impurity(torch.tensor([[0.1, 0.2], [0.0, 0.4]]), average=False)
    torch.testing.assert_close(each, 2 * torch.tensor([0.1**2 + 0.2**2, 0.4**2]).div(2).sqrt())


def test_niche_impurity_is_that_of_the_naive_loop() -> None:
    """Every β and concept one forward pass with the niche's inputs set to 0, in the order (representation, m)."""
    concepts = labels(300, 3)
    representation = torch.cat([embedded(concepts, 0.5, torch.randn_like(concepts))] * 2, 2)[..., :4]
    metric = NicheImpurity(steps=7, average=False)
    metric.update(representation, concepts)
    found = metric.compute()
    x, c, train, test = metric.split()
    flat = standardise(x, train).flatten(1)
    layers = fit_probes(flat[None, train], c[train], (20, 20))
    expected = np.zeros(3)
    for beta in (np.arange(7) + 0.5) / 7:
        for j in range(3):
            hidden = flat[test].clone().view(-1, 3, 4)
            for i in range(3):
                related = [abs(np.corrcoef(x[train, i, d], c[train, j])[0, 1]) for d in range(4)]
                if max(related) > beta:
                    hidden[:, i] = 0
            logit = run_probes(layers, hidden.flatten(1)[None])[0, :, j]
            expected[j] += roc_auc_score(c[test, j], logit) / 7
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mean = NicheImpurity(steps=7)
    assert value(mean, representation, concepts) == pytest.approx(expected.mean(), abs=1e-6)


def test_correlation_is_that_of_the_known_rows() -> None:
    x, truth = torch.randn(200, 3) + 5, labels(200, 2)
    truth[::4, 1] = torch.nan
    x[:, 2] = 1.0
    found = correlation(x, truth)
    for d in range(2):
        for j in range(2):
            known = truth[:, j].isfinite()
            expected = np.corrcoef(x[known, d], truth[known, j])[0, 1]
            assert float(found[d, j]) == pytest.approx(expected, abs=1e-6)
    assert found[2].tolist() == [0, 0]


def test_hiding_inputs_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, truth, shown = torch.randn(50, 6), labels(50, 4), torch.rand(6, 4) < 0.5
    layers = fit_probes(inputs[None], truth, (20, 20), epochs=2)
    whole = masked_logits(layers, inputs, shown)
    naive = torch.stack([run_probes(layers, (inputs * shown[:, j])[None])[0, :, j] for j in range(4)], 1)
    torch.testing.assert_close(whole, naive)
    found = OracleImpurity(epochs=2).areas(inputs[:, :4, None], truth, *split_rows(50, 0))
    monkeypatch.setattr("zoo.metrics.concepts.purity.BLOCK", 1)
    torch.testing.assert_close(masked_logits(layers, inputs, shown), whole)
    assert torch.equal(OracleImpurity(epochs=2).areas(inputs[:, :4, None], truth, *split_rows(50, 0)), found)


def test_networks_side_by_side_learn_as_each_alone() -> None:
    inputs, truth = torch.randn(3, 200, 2), labels(200)
    truth[::5, 2] = torch.nan
    together = run_probes(fit_probes(inputs, truth, (8,), epochs=5, batch=64), inputs)
    for one, expected in zip(inputs, together, strict=True):
        alone = run_probes(fit_probes(one[None], truth, (8,), epochs=5, batch=64), one[None])[0]
        torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5)


def test_network_is_that_of_plain_modules() -> None:
    """The same weights in nn.Linear and nn.ReLU, trained by the same batches, end up the same."""
    inputs, truth = torch.randn(100, 2), labels(100, 3)
    truth[::7, 1] = torch.nan
    (weight, bias), (last, last_bias) = fit_probes(inputs[None], truth, (5,), epochs=0)
    plain = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    with torch.no_grad():
        for layer, (w, b) in zip(plain[::2], ((weight, bias), (last, last_bias)), strict=True):
            layer.weight.copy_(w[0].T), layer.bias.copy_(b[0, 0])
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    for _ in range(8):
        terms = torch.nn.functional.binary_cross_entropy_with_logits(
            plain(inputs), truth.nan_to_num(0), reduction="none"
        )
        optimizer.zero_grad()
        terms[truth.isfinite()].mean().backward()
        optimizer.step()
    found = run_probes(fit_probes(inputs[None], truth, (5,), epochs=8), inputs[None])[0]
    torch.testing.assert_close(found, plain(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [OracleImpurity, NicheImpurity])
def test_result_depends_on_the_seed_and_on_no_order(make) -> None:
    concepts = labels(200)
    representation = mixed(concepts, 0.5, torch.randn_like(concepts))
    concepts[3, 1] = torch.nan
    state = torch.get_rng_state()
    found = value(make(epochs=3), representation, concepts)
    assert torch.equal(torch.get_rng_state(), state)
    assert value(make(epochs=3), representation, concepts) == found
    assert value(make(epochs=3, seed=1), representation, concepts) != found
    assert value(make(epochs=3), representation.flip(0), concepts.flip(0)) == found
    left, right = make(epochs=3), make(epochs=3)
    right.update(representation[:50], concepts[:50])
    left.update(representation[50:], concepts[50:])
    left.merge_state(right)
    assert float(left.compute()) == found
    with torch.inference_mode():
        assert value(make(epochs=3), representation * 1, concepts * 1) == found


def test_split_is_a_fifth() -> None:
    train, test = split_rows(50, 3)
    assert len(test) == 10 and sorted([*train.tolist(), *test.tolist()]) == list(range(50))


def test_standardise_goes_by_some_rows_and_hides_the_unknown() -> None:
    x = torch.tensor([[1.0, 2.0, 5.0], [3.0, torch.nan, 5.0], [100.0, 4.0, 6.0]])
    found = standardise(x, torch.tensor([0, 1]))
    assert found[:2].tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]] and found.isfinite().all()


@pytest.mark.parametrize("make", [OracleImpurity, NicheImpurity])
@pytest.mark.parametrize(
    ("representation", "concepts", "message"),
    [
        (torch.zeros(5, 4), torch.zeros(5, 3), r"each of the 3 concepts, \(B, 3\) or \(B, 3, m\); got \(5, 4\)"),
        (torch.zeros(5, 3), torch.zeros(5), r"expects concepts \(B, k\); got \(5,\)"),
        (torch.full((5, 3), torch.inf), torch.zeros(5, 3), "NaN or infinite representations"),
        (torch.zeros(5, 3), torch.full((5, 3), 0.7), "got 0.7 in row 0, column 0. Pass the true labels"),
        (torch.zeros(4, 3), torch.zeros(5, 3), "equal numbers of rows; got representation of 4, concepts of 5"),
    ],
)
def test_refuses_what_is_no_representation(make, representation: Tensor, concepts: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().update(representation, concepts)


def test_too_few_rows_to_split() -> None:
    metric = NicheImpurity()
    metric.update(torch.zeros(9, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match="NicheImpurity needs at least 10 rows to split; got 9"):
        metric.compute()
