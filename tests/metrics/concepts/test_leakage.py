"""Leakage: none for true labels, rising with what is leaked, and the ceilings of the toys."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from torch import Tensor

from zoo.data.synthetic.toys import dot, trig
from zoo.metrics import (
    CompletenessRatio,
    ConceptCeiling,
    ConceptTaskLeakage,
    InterConceptLeakage,
    concept_ceiling,
    leak_test,
)


def task(rows: int = 600, count: int = 4, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Concepts (rows, count) and the classes that they tell something of."""
    target = torch.randint(0, classes, (rows,))
    concepts = (torch.rand(classes, count) < 0.5).float()[target]
    return torch.where(torch.rand(rows, count) < 0.2, 1 - concepts, concepts), target


def leaking(concepts: Tensor, target: Tensor, share: float) -> Tensor:
    """Probabilities of the concepts that also tell, the more the greater the share, of the class."""
    hint = torch.linspace(-1, 1, int(target.max()) + 1)[target][:, None]
    return (2 * concepts - 1 + 0.3 * torch.randn_like(concepts) + share * hint).sigmoid()


def leakage_to_task(scores: Tensor, concepts: Tensor, target: Tensor, **options: object) -> Tensor:
    metric = ConceptTaskLeakage(**options)
    metric.update(scores, concepts, target)
    return metric.compute()


def leakage_between(scores: Tensor, concepts: Tensor, **options: object) -> Tensor:
    metric = InterConceptLeakage(**options)
    metric.update(scores, concepts)
    return metric.compute()


def test_true_labels_leak_nothing() -> None:
    concepts, target = task()
    assert float(leakage_to_task(concepts, concepts, target)) == ConceptTaskLeakage.chance == 0
    assert float(leakage_between(concepts, concepts)) == InterConceptLeakage.chance == 0
    for scores in (0.2 + 0.6 * concepts, -7 * concepts):  # two values are no more than labels
        assert float(leakage_to_task(scores, concepts, target)) < 1e-12
        assert float(leakage_between(scores, concepts)) < 1e-12


def test_true_labels_leak_next_to_nothing_where_some_are_unknown() -> None:
    concepts, target = task(3000)
    known = concepts.masked_fill(torch.rand_like(concepts) < 0.2, torch.nan)
    assert float(leakage_to_task(concepts, known, target)) < 0.01
    assert float(leakage_between(concepts, known)) < 0.01


def test_scores_with_nothing_but_noise_leak_little() -> None:
    concepts, target = task(3000)
    assert float(leakage_to_task(leaking(concepts, target, 0.0), concepts, target)) < 0.01
    assert float(leakage_between(leaking(concepts, target, 0.0), concepts)) < 0.002


def test_leakage_rises_with_what_is_leaked() -> None:
    concepts, target = task(1500)
    scores = [leaking(concepts, target, share) for share in (0.0, 0.8, 1.2, 1.6)]
    for found in (
        [float(leakage_to_task(s, concepts, target)) for s in scores],
        [float(leakage_between(s, concepts)) for s in scores],
    ):
        assert (np.diff(found) > 0).all(), found
        assert found[-1] > 10 * found[0]


def test_concepts_task_leakage_is_the_formula_on_scikit_learns_estimates() -> None:
    concepts, target = task()
    scores = leaking(concepts, target, 0.7)
    entropy = mutual_info_score(target, target)
    found = mutual_info_classif(scores.double(), target, random_state=0) / entropy
    true = np.array([mutual_info_score(c, target) for c in concepts.T]) / entropy
    expected = np.maximum(0, found - true)
    np.testing.assert_allclose(leakage_to_task(scores, concepts, target, average=False), expected, atol=1e-6)
    assert float(leakage_to_task(scores, concepts, target)) == pytest.approx(expected.mean(), abs=1e-6)


def test_interconcept_leakage_is_the_formula_on_scikit_learns_estimates() -> None:
    concepts, target = task()
    scores = leaking(concepts, target, 1.5)
    x = scores.double().numpy()
    found = np.stack([mutual_info_regression(x, column, random_state=0) for column in x.T])
    true = np.array([[mutual_info_score(a, b) for b in concepts.T] for a in concepts.T])
    norm = lambda m: m / np.sqrt(np.outer(np.diag(m), np.diag(m)))  # noqa: E731
    pairs = np.maximum(0, norm(found) - norm(true))
    np.fill_diagonal(pairs, 0)
    np.testing.assert_allclose(leakage_between(scores, concepts, average=False), pairs.sum(1) / 3, atol=1e-5)
    assert float(leakage_between(scores, concepts)) == pytest.approx(pairs.sum() / 12, abs=1e-5)


def test_embeddings_leak_where_their_probabilities_do_not() -> None:
    concepts, target = task(800)
    hint = torch.nn.functional.one_hot(target).float()[:, None, :2].expand(-1, 4, -1)
    vectors = torch.cat([leaking(concepts, target, 0.0)[..., None], hint + 0.1 * torch.randn(800, 4, 2)], 2)
    assert float(leakage_to_task(vectors, concepts, target)) > 0.3
    assert float(leakage_between(vectors, concepts)) > 0.05
    with pytest.warns(UserWarning, match="nearest neighbours in 12 dimensions"):
        leakage_to_task(vectors.repeat(1, 1, 4), concepts, target)


def test_targets_may_be_values() -> None:
    concepts, _ = task(500)
    values = concepts.sum(1) + torch.randn(500)
    known = 2 * concepts - 1 + 0.1 * torch.randn_like(concepts)
    told = known + 0.5 * values[:, None]
    assert float(leakage_to_task(known, concepts, values)) < 0.02
    assert float(leakage_to_task(told, concepts, values)) > 0.04
    torch.testing.assert_close(
        leakage_to_task(told, concepts, values[:, None]), leakage_to_task(told, concepts, values)
    )


def test_concept_that_never_varies_or_is_unknown() -> None:
    concepts, target = task()
    scores = leaking(concepts, target, 1.0)
    concepts[:, 0], concepts[:, 1], scores[:, 2] = 1.0, torch.nan, 0.5
    found = leakage_between(scores, concepts, average=False)
    assert found.isnan().tolist() == [False, True, False, False] and found[0] > 0
    assert leakage_to_task(scores, concepts, target, average=False)[2] == 0


@pytest.mark.parametrize("measure", [leakage_to_task, lambda s, c, _, **o: leakage_between(s, c, **o)])
def test_leakage_depends_on_the_seed_and_on_no_order(measure) -> None:
    concepts, target = task(200)
    scores = (leaking(concepts, target, 0.5) * 30).round() / 30  # ties, so that noise matters
    found = measure(scores, concepts, target)
    assert torch.equal(measure(scores, concepts, target), found)
    assert torch.equal(measure(scores.flip(0), concepts.flip(0), target.flip(0)), found)
    assert not torch.equal(measure(scores, concepts, target, seed=1), found)


def test_parts_merged_are_the_whole() -> None:
    concepts, target = task(200)
    data = (leaking(concepts, target, 0.5), concepts, target)
    one_hot = torch.nn.functional.one_hot(target).float()
    for make, tensors in (
        (ConceptTaskLeakage, data),
        (InterConceptLeakage, data[:2]),
        (ConceptCeiling, data[1:]),
        (CompletenessRatio, (torch.rand(200, 5), one_hot + torch.rand(200, 5), target)),
    ):
        whole, left, right = make(), make(), make()
        whole.update(*tensors)
        left.update(*(t[:80] for t in tensors))
        right.update(*(t[80:] for t in tensors))
        left.merge_state(right)
        assert torch.equal(left.compute(), whole.compute())


def test_completeness_is_the_ratio_of_accuracies() -> None:
    target = torch.tensor([0, 1, 1, 0])
    metric = CompletenessRatio()
    metric.update(torch.eye(2)[[0, 1, 0, 1]], torch.eye(2)[[0, 1, 1, 1]], target)
    assert float(metric.compute()) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("toy", "ceiling"), [(trig, 0.813), (dot, 0.750)])
def test_ceiling_of_the_toys(toy, ceiling: float) -> None:
    _, concepts, label = toy(200_000, torch.Generator().manual_seed(0))
    assert float(concept_ceiling(concepts, label.long())) == pytest.approx(ceiling, abs=0.005)


def test_ceiling_is_the_table_of_majorities() -> None:
    concepts, target = task(150, count=3)
    concepts[:20, 1] = torch.nan
    target = target * 7  # classes need not be dense
    table: dict[tuple, list[int]] = {}
    for row, label in zip(concepts[20:].tolist(), target[20:].tolist(), strict=True):
        table.setdefault(tuple(row), []).append(label)
    right = sum(max(found.count(c) for c in set(found)) for found in table.values())
    assert float(concept_ceiling(concepts, target)) == pytest.approx(right / 130)
    metric = ConceptCeiling()
    metric.update(concepts, target)
    assert float(metric.compute()) == pytest.approx(right / 130)


def soft_trig(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Concepts of Trig, the label, and the probabilities of a model that is sure in proportion to the hidden values."""
    x, concepts, label = trig(rows, torch.Generator().manual_seed(1))
    return concepts, label.long(), x[:, :6:2].sigmoid()  # sin a + a has the sign of a


def soft_dot(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Concepts of Dot, the label, and probabilities right about the concepts that smuggle v₁ - v₂ and w₁ - w₂."""
    x, concepts, label = dot(rows, torch.Generator().manual_seed(1))
    v, w = (x[:, :2] + x[:, 2:]) / 2, (x[:, :2] - x[:, 2:]) / 2
    smuggled = torch.stack([v[:, 0] - v[:, 1], w[:, 0] - w[:, 1]], 1)
    return concepts, label.long(), 0.25 + 0.5 * concepts + 0.2 * smuggled.tanh()


@pytest.mark.parametrize(
    ("soft", "model", "ceiling"),
    [(soft_trig, LogisticRegression(), 0.813), (soft_dot, HistGradientBoostingClassifier(random_state=0), 0.75)],
)
def test_soft_concepts_of_the_toys_exceed_the_ceiling_and_hard_ones_cannot(soft, model, ceiling: float) -> None:
    concepts, label, probability = soft(6000)
    assert ((probability > 0.5) == (concepts > 0.5)).all()  # so the model is right about every concept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {}
        for name, seen in (("soft", probability.numpy()), ("hard", (probability > 0.5).float().numpy())):
            model.fit(seen[:4000], label[:4000].numpy())
            found[name] = leak_test(torch.from_numpy(model.predict(seen[4000:])), label[4000:], ceiling)
    assert found["soft"].leaks and found["soft"].accuracy > ceiling + 0.05 and found["soft"].p_value < 1e-6
    assert not found["hard"].leaks and found["hard"].accuracy < ceiling + 0.02
    own = concept_ceiling(concepts[4000:], label[4000:])
    assert found["hard"].accuracy <= float(own) and leak_test(label[4000:], label[4000:], own).leaks


def test_leak_test_is_the_exact_binomial() -> None:
    target = torch.zeros(4, dtype=torch.long)
    found = leak_test(torch.tensor([0, 0, 0, 1]), target, 0.5, level=0.5)
    assert (found.accuracy, found.ceiling, found.leaks) == (0.75, 0.5, True)
    assert found.p_value == pytest.approx(5 / 16)
    assert not leak_test(torch.tensor([0, 0, 0, 1]), target, 0.5).leaks
    assert not leak_test(target, target, 1.0).leaks


def test_refuses_what_has_no_ceiling() -> None:
    concepts, target = task(20)
    with pytest.raises(ValueError, match=r"integers \(20,\); got torch.float32 of shape \(20,\)"):
        concept_ceiling(concepts, target.float())
    with pytest.raises(ValueError, match="every row has one"):
        concept_ceiling(torch.full((20, 2), torch.nan), target)
    with pytest.raises(ValueError, match=r"ceiling must be an accuracy in \(0, 1\]; got 75.0"):
        leak_test(target, target, 75)
    with pytest.raises(ValueError, match=r"the same rows, \(N,\); got \(20,\) and \(19,\)"):
        leak_test(target, target[1:], 0.75)


def test_refuses_what_cannot_leak() -> None:
    concepts, target = task(20)
    with pytest.raises(ValueError, match="needs at least 2 concepts; got 1"):
        InterConceptLeakage().update(concepts[:, :1], concepts[:, :1])
    with pytest.raises(ValueError, match=r"classes \(B,\), or values \(B,\) or \(B, C\); got torch.int64"):
        ConceptTaskLeakage().update(concepts, concepts, target[:, None])
    with pytest.raises(ValueError, match="equal numbers of rows; got scores of 20, concepts of 20, target of 19"):
        ConceptTaskLeakage().update(concepts, concepts, target[1:])
    with pytest.raises(ValueError, match="NaN or infinite representations"):
        InterConceptLeakage().update(concepts / 0, concepts)
