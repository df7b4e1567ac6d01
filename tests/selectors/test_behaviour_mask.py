"""BehaviourMask: its losses against independent formulas, and what its masks promise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import IMAGES, SERIES, Examples, build
from zoo.networks.elements import Elements
from zoo.selectors import BehaviourMask
from zoo.selectors.layers.behaviour import (
    answer_divergence,
    behaviour_consistency,
    label_consistency,
    roughness,
    size_divergence,
)
from zoo.selectors.layers.landmarks import Landmarks
from zoo.selectors.layers.runs import runs_of, selected_steps
from zoo.selectors.layers.step_baseline import StepBaseline
from zoo.training.projection_set import ProjectionSet

BACKBONE = {"name": "convnet1d", "widths": [8, 8], "kernels": [4, 3]}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence as entropy of the mean minus mean of the entropies."""
    entropy = lambda each: -(each * np.log(each)).sum()  # noqa: E731
    return float(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)


def test_divergences_of_answers_are_those_of_entropies() -> None:
    first, second = draw(6, 4), draw(6, 4, seed=1)
    p, q = first.softmax(1).numpy(), second.softmax(1).numpy()
    wanted = [divergence(a, b) for a, b in zip(p, q, strict=True)]
    assert answer_divergence(first, second).tolist() == pytest.approx(wanted, abs=1e-12)
    assert float(answer_divergence(first, first).abs().max()) < 1e-12
    far = torch.tensor([[99.0, -99.0]])
    torch.testing.assert_close(answer_divergence(far, -far), torch.tensor([math.log(2)]))
    pairs = [(divergence(p[i], p[j]) - divergence(q[i], q[j])) ** 2 for i in range(6) for j in range(i)]
    assert float(label_consistency(first, second)) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_behaviour_is_the_difference_of_similarities_over_pairs() -> None:
    first, second = draw(5, 3), draw(5, 7, seed=1)

    def cosine(x: Tensor, i: int, j: int) -> float:
        return float(x[i] @ x[j] / (x[i].norm() * x[j].norm()))

    pairs = [(cosine(first, i, j) - cosine(second, i, j)) ** 2 for i in range(5) for j in range(i)]
    assert float(behaviour_consistency(first, second)) == pytest.approx(np.mean(pairs), abs=1e-12)
    turned = torch.linalg.qr(draw(3, 3, seed=2))[0]
    assert float(behaviour_consistency(first, 2.5 * first @ turned)) < 1e-20  # angles stay
    assert float(behaviour_consistency(first[:1], second[:1])) == float(label_consistency(first[:1], second[:1])) == 0


def test_size_is_a_divergence_of_bernoulli_laws() -> None:
    logits, rate = draw(4, 9), 0.2
    law, prior = (
        torch.distributions.Bernoulli(logits=logits),
        torch.distributions.Bernoulli(torch.tensor(rate).double()),
    )
    wanted = torch.distributions.kl_divergence(law, prior).mean()
    torch.testing.assert_close(size_divergence(logits, rate), wanted, rtol=1e-7, atol=0)
    assert float(size_divergence(torch.full((2, 3), math.log(0.2 / 0.8)), rate)) == pytest.approx(0, abs=1e-7)
    assert bool(size_divergence(torch.tensor([[500.0, -500.0]]), rate).isfinite())


def test_smoothness_is_a_mean_over_steps() -> None:
    chance = draw(3, 6, 2).sigmoid()
    values = chance.numpy()
    wanted = np.mean([abs(values[b, t + 1, v] - values[b, t, v]) for b in range(3) for t in range(5) for v in range(2)])
    assert float(roughness(chance)) == pytest.approx(wanted, abs=1e-12)
    assert float(roughness(chance[:, :1])) == 0


@pytest.mark.parametrize("copies", [2, 16])
def test_weights_do_not_depend_on_the_size_of_a_batch(copies: int) -> None:
    """Terms of rows are equal for repeated rows, also their gradient, added over the copies."""
    logits = draw(4, 10).requires_grad_()
    terms = [lambda z: size_divergence(z, 0.3), lambda z: roughness(z.sigmoid()[..., None])]
    for term in (*terms, lambda z: answer_divergence(z, z.detach().flip(1)).mean()):
        once, many = term(logits), term(logits.repeat(copies, 1))
        torch.testing.assert_close(once, many)
        torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (once, many)))


def test_pair_terms_have_one_expectation_at_every_batch_size() -> None:
    """The mean over all subsets of rows of one size is the value of all rows."""
    first, second = draw(6, 4), draw(6, 4, seed=3)
    for term in (behaviour_consistency, label_consistency):
        for size in (2, 3, 5):
            subsets = torch.combinations(torch.arange(6), size)
            mean = torch.stack([term(first[rows], second[rows]) for rows in subsets]).mean()
            torch.testing.assert_close(mean, term(first, second))


def test_the_baseline_is_the_training_mean_and_noise_around_it() -> None:
    rows = 3 * draw(70, *SERIES.shape).float() + 5
    layer = StepBaseline(SERIES, 1.0)
    layer.fit(ProjectionSet(Examples(rows)))
    torch.testing.assert_close(layer.mean, rows.mean(0))
    torch.testing.assert_close(layer.std, rows.std(0, correction=0))
    shown = torch.zeros(20_000, *SERIES.shape)
    assert torch.equal(layer(rows[:2], shown[:2]), layer.mean.expand(2, -1, -1))
    torch.manual_seed(0)
    noisy = layer(rows[:1].expand_as(shown), shown, True)
    torch.testing.assert_close(noisy.mean(0), layer.mean, atol=0.15, rtol=0)
    torch.testing.assert_close(noisy.std(0), layer.std, atol=0.1, rtol=0)
    torch.testing.assert_close(layer(rows, torch.ones_like(rows), True), rows)


@pytest.mark.parametrize("variant", ["", "timexpp", "patches"])
def test_values_outside_of_the_mask_do_not_matter(variant: str) -> None:
    """Locality: given the mask, any other values outside of it leave the scores bit-equal."""
    small = build("behaviour_mask", variant)
    model, x = small.model, small.inputs
    assert isinstance(model, BehaviourMask)
    with torch.no_grad():
        evidence = model.evidence(x)
        mask = evidence.activation
        assert 0 < mask.mean() < 1 and torch.equal(mask, (evidence.state["logit"].sigmoid() > 0.5).float())
        shown = model.elements.expand(mask.bool(), x)
        for rest in (torch.randn_like(x) * 10, torch.full_like(x, torch.nan), x.flip(0)):
            state = {**evidence.state, "input": torch.where(shown, x, rest)}
            other = type(evidence)(mask, evidence.support, state)
            none = torch.zeros_like(mask, dtype=torch.bool)
            assert torch.equal(model.readout(model.intervene(other, none, mask)), model(x))
        filled = torch.where(shown, x, model.baseline.mean)
        torch.testing.assert_close(model.head(model.backbone(filled)), model(x))
        assert not torch.equal(model.readout(model.edit(evidence, {0: 1 - mask[:, 0]})), model(x))


@pytest.mark.parametrize("preset", ["timex", "timexpp"])
def test_every_term_teaches_the_generator(preset: str) -> None:
    model = build("behaviour_mask", "" if preset == "timex" else "timexpp").model
    assert isinstance(model, BehaviourMask)
    x, target = draw(6, *SERIES.shape).float(), torch.tensor([0, 1, 2, 0, 1, 2])
    model.train()
    model.original.eval().requires_grad_(False)
    scores, evidence = model.step(x)
    assert set(evidence.activation.unique().tolist()) <= {0.0, 1.0}
    terms = model.losses(scores, evidence, {"input": x, "target": target})
    taught = {"timex": {"labels", "behaviour", "landmarks"}, "timexpp": {"consistency"}}[preset]
    assert set(terms) == {"task", "size", "smoothness"} | taught
    for name, term in terms.items():
        model.zero_grad()
        term.backward(retain_graph=True)
        found = model.generator.score.weight.grad
        if name == "landmarks":  # which follow embeddings, and move none
            assert model.landmarks is not None and found is None
            assert model.landmarks.vectors.grad is not None and bool(model.landmarks.vectors.grad.any())
        else:
            assert found is not None and bool(found.any()), name
        assert all(p.grad is None for p in model.original.parameters())


def test_masks_are_those_of_predictions_once_the_generator_is_fixed() -> None:
    small = build("behaviour_mask", "timexpp")
    model, x = small.model, small.inputs
    assert isinstance(model, BehaviourMask)
    model.train()
    model.backbone.eval()  # batch norm as in predictions
    torch.manual_seed(0)
    drawn = [model.evidence(x).state["seen"] for _ in range(2)]
    assert not torch.equal(*drawn)
    model.generator.eval()
    fixed = model.step(x)[0]
    assert torch.equal(fixed, model.eval()(x))


def test_before_the_start_the_classifier_learns_on_complete_series() -> None:
    torch.manual_seed(0)
    model = BehaviourMask(SERIES, backbone=BACKBONE, landmarks=3).train()
    x, target = draw(6, *SERIES.shape).float(), torch.tensor([0, 1, 2, 0, 1, 2])
    scores, evidence = model.step(x)
    assert set(model.losses(scores, evidence, {"input": x, "target": target})) == {"task"}
    with pytest.raises(RuntimeError, match="'fit_baseline' and 'start'"):
        model.explain(x)
    model.start(ProjectionSet(Examples(x)))
    for ours, theirs in zip(model.original[0].parameters(), model.backbone.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    model.eval()
    torch.testing.assert_close(model.original(x), model.head(model.backbone(x)))


def test_landmarks_are_spread_over_classes_and_become_training_series() -> None:
    codes, labels = draw(12, 4).float(), torch.tensor([0] * 8 + [1] * 3 + [2])
    layer = Landmarks(5, 4)
    layer.start(codes, labels)
    assert torch.equal(layer.vectors, codes[[0, 8, 11, 1, 9]])  # one of each class, then the next of each
    with torch.no_grad():
        layer.vectors.copy_(3 * codes[[2, 5, 7, 9, 11]] + 0.01)
    layer.project(codes, labels)
    assert layer.index.tolist() == [2, 5, 7, 9, 11] and layer.label.tolist() == [0, 0, 0, 1, 2]
    assert torch.equal(layer.vectors, codes[layer.index])
    assert layer.similarity(codes[layer.index]).argmax(1).tolist() == [0, 1, 2, 3, 4]
    likeness = F.cosine_similarity(codes[:, None], layer.vectors[None], dim=2)
    torch.testing.assert_close(layer.similarity(codes), likeness)


def test_statements_name_runs_of_steps() -> None:
    assert runs_of([True, True, False, True, False]) == [(0, 1), (3, 3)]
    assert runs_of([False, False]) == [] and runs_of([True]) == [(0, 0)]
    mask = torch.zeros(SERIES.length, 2, dtype=torch.bool)
    mask[2:5, 0] = mask[8, 0] = mask[10, 1] = True
    said = selected_steps(mask.flatten(), Elements(SERIES))
    assert (
        said == "5 of 22 values are selected: pulse: 2–4 and 8; pressure: 10. The predictor does not read the others."
    )
    wide = torch.zeros(4, 2, dtype=torch.bool)
    wide[3, 0] = True  # the last of four stretches of three steps has two
    assert "2 of 22 values are selected: pulse: 9–10." in selected_steps(wide.flatten(), Elements(SERIES, patch=3))
    assert selected_steps(torch.zeros(22, dtype=torch.bool), Elements(SERIES)).startswith(
        "0 of 22 values are selected."
    )
    small = build("behaviour_mask")
    statement = small.model.explain(small.inputs).statements[0]
    assert "are selected" in statement and "Nearest landmark: training series " in statement


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="Use LEX"):
        BehaviourMask(IMAGES, backbone=BACKBONE)
    with pytest.raises(ValueError, match="rate in"):
        BehaviourMask(SERIES, backbone=BACKBONE, rate=1.0)
    stages = [{"name": "fit_baseline"}, {"name": "train", "epochs": 1, "train": ["head"]}]
    with pytest.raises(ValueError, match="needs the action 'start'"):
        BehaviourMask(SERIES, backbone=BACKBONE, recipe={"stages": stages}).check_recipe()
    late = [*stages[:1], {"name": "start"}, {"name": "project"}, {"name": "on", "epochs": 1, "train": ["backbone"]}]
    with pytest.raises(ValueError, match="train the head alone"):
        BehaviourMask(SERIES, backbone=BACKBONE, recipe={"stages": late}).check_recipe()
