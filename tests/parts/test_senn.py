"""Self-explaining networks: the stability term, compared with full Jacobians."""

from itertools import product

import pytest
import torch
from torch.autograd.functional import jacobian

import zoo
from tests.small_models import IMAGES, ROWS, SENTENCES, senn


def full_stability(model, x: torch.Tensor) -> torch.Tensor:
    """|∇f - θᵀ ∇h|² summed over classes, mean over the batch, from the Jacobians of f and h."""
    total = torch.zeros(())
    for row in x:
        of_score = jacobian(lambda t: model.readout(model.evidence(t[None]))[0], row)  # (C, *shape)
        of_concepts = jacobian(lambda t: model.evidence(t[None]).activation[0], row)  # (K, *shape)
        theta = model.evidence(row[None]).state["unit_logits"][0]
        linear = torch.einsum("kc,k...->c...", theta, of_concepts)
        total = total + (of_score - linear).square().sum()
    return total / len(x)


@pytest.mark.parametrize("concepts", ["learned", "elements"])
@torch.no_grad()
def test_the_score_is_the_sum_of_concepts_times_relevances(concepts: str) -> None:
    model = zoo.create_model("senn", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, concepts=concepts, count=4)
    model.eval()
    x = torch.randn(3, 3)
    h = model.encoder(x) if concepts == "learned" else x
    theta = model.relevance(model.backbone(x)).view(3, h.shape[1], -1)
    scores = torch.stack([sum(h[i, k] * theta[i, k] for k in range(h.shape[1])) for i in range(3)])
    torch.testing.assert_close(model(x), scores)


@pytest.mark.parametrize("concepts", ["learned", "elements"])
def test_the_estimate_of_stability_is_unbiased(concepts: str) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("senn", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, concepts=concepts, count=4)
    x = torch.randn(3, 3)
    expected = full_stability(model.eval(), x).detach()
    model.train()
    evidence = model.evidence(x)
    draws = torch.stack([model._stability(evidence).detach() for _ in range(800)])
    error = draws.std() / 800**0.5
    assert abs(draws.mean() - expected) < 5 * error + 1e-6
    assert error < 0.1 * expected  # else the line above could not fail


def test_stability_teaches_the_concepts_as_the_full_jacobians_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The concepts were detached, so that the encoder never learned to be stable."""
    torch.manual_seed(0)
    model = zoo.create_model("senn", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, count=4).eval()
    x, parameters = torch.randn(2, 3), [*model.encoder.parameters(), *model.backbone.parameters()]

    def of_score(row: torch.Tensor) -> torch.Tensor:
        return model.readout(model.evidence(row[None]))[0]

    loss = torch.zeros(())
    for row in x:
        theta = model.evidence(row[None]).state["unit_logits"][0]
        of_concepts = jacobian(lambda t: model.evidence(t[None]).activation[0], row, create_graph=True)
        linear = torch.einsum("kc,kf->cf", theta, of_concepts)
        loss = loss + (jacobian(of_score, row, create_graph=True) - linear).square().sum() / len(x)
    expected = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    evidence, found = model.train().evidence(x), []
    for signs in product((0, 1), repeat=3):  # their mean is the sum over the three classes, exactly
        monkeypatch.setattr(torch, "randint", lambda *_, signs=signs, **__: torch.tensor(signs, dtype=torch.float32))
        stability = model._stability(evidence)
        found.append(torch.autograd.grad(stability, parameters, retain_graph=True, materialize_grads=True))
    for exact, *estimates in zip(expected, *found, strict=True):
        torch.testing.assert_close(torch.stack(estimates).mean(0), exact, rtol=1e-4, atol=1e-6)
    assert expected[0].abs().max() > 1e-3


def test_terms_of_a_batch() -> None:
    model = senn().model.train()
    scores, evidence = model.step(torch.randn(3, 3, 12, 10))
    terms = model.losses(scores, evidence, {"input": torch.randn(3, 3, 12, 10), "target": torch.tensor([0, 1, 2])})
    assert terms.keys() == {"task", "stability", "reconstruction", "sparsity"}
    terms["stability"].backward()
    assert model.relevance.weight.grad.any()
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
    assert model.eval().losses(scores, evidence, {"input": torch.zeros(3, 3, 12, 10), "target": torch.zeros(3).long()})


def test_elements_are_the_inputs_own_values() -> None:
    small = senn(concepts="elements", elements={"patch": 3})
    explanation = small.model.explain(small.inputs)
    first = small.inputs[:, :, :3, :3].mean((1, 2, 3))
    torch.testing.assert_close(explanation.activation[:, 0], first)
    assert explanation.units[0].name == "patch at 0, 0" and explanation.support.shape == (5, 16, 4, 4)
    rows = zoo.create_model("senn", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, concepts="elements").eval()
    assert [u.name for u in rows.units()] == list(ROWS.features)
    assert torch.equal(rows.explain(torch.ones(1, 3)).activation, torch.ones(1, 3))


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (SENTENCES, {}, "requires continuous inputs"),
        (ROWS, {"concepts": "given"}, "concepts must be one of learned, elements; got 'given'"),
        (IMAGES, {"count": 0}, "count must be at least 1; got 0"),
    ],
)
def test_invalid_arguments(domain, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("senn", domain=domain, backbone="mlp", **options)
