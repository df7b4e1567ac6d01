"""ProbCBM: its formulas by hand, interventions by anchors, and uncertainty that means something."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import zoo
from tests.small_models import CONCEPTS, IMAGES, ROWS, RandomImages, probcbm
from zoo.concepts import ProbCBM
from zoo.concepts.layers.probabilistic import AttentionPooling, ConceptLinear, DistanceHead
from zoo.core.evidence import Evidence


@pytest.fixture
def model() -> ProbCBM:
    torch.manual_seed(0)
    return probcbm().model


def evidence_of(model: ProbCBM) -> Evidence:
    with torch.no_grad():
        return model.step(RandomImages(5, seed=1).inputs)[1]


def batch(model: ProbCBM) -> dict[str, Tensor]:
    concepts = (torch.arange(25).view(5, 5) % 3 == 0).float()
    return {"input": RandomImages(5, seed=1).inputs, "target": torch.tensor([0, 1, 2, 0, 1]), "concepts": concepts}


def test_presence_is_a_softmax_over_the_distances_to_two_anchors(model: ProbCBM) -> None:
    evidence = evidence_of(model)
    absent, present = model.concepts.anchors()
    distances = torch.stack([(evidence.state["embedding"] - a).norm(dim=2) for a in (absent, present)])
    expected = (-model.concepts.log_scale.exp() * distances).softmax(0)[1]
    torch.testing.assert_close(evidence.activation, expected)


def test_score_is_the_root_mean_square_distance() -> None:
    head, points = DistanceHead(6, 4, 3), torch.randn(5, 6)
    difference = head.project(points)[:, None] - head.vectors
    torch.testing.assert_close(head(points), -5 * difference.square().mean(2).sqrt(), rtol=1e-4, atol=1e-5)


def test_attention_pools_every_concept_by_itself() -> None:
    pool, cells = AttentionPooling(3, 4), torch.randn(2, 3, 4, 6)
    for k in range(3):
        weight = ((pool.first[k] @ cells[:, k]).tanh() * pool.second[k][0][:, None]).sum(1).softmax(1)
        torch.testing.assert_close(pool(cells)[:, k], (cells[:, k] * weight[:, None]).sum(2))


def test_embeddings_by_hand(model: ProbCBM) -> None:
    """Mean and log variance of each concept by itself, from its own layers (published: PIENet, uncertainty module)."""
    layers, width = model.concepts, model.concepts.width
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.5)
        maps = layers.project(model.backbone(RandomImages(5, seed=1).inputs)).flatten(2)
    found = evidence_of(model).state
    for k in range(layers.concepts):
        cells = maps[:, k * width : (k + 1) * width].transpose(1, 2)  # (B, L, d)

        def linear(layer: ConceptLinear, x: Tensor, k: int = k) -> Tensor:
            return x @ layer.weight[k].T + layer.bias[k]

        def pooled(pool: AttentionPooling, cells: Tensor = cells, k: int = k) -> Tensor:
            weight = ((cells @ pool.first[k].T).tanh() @ pool.second[k].T).softmax(1)
            return (weight * cells).sum(1)

        average = cells.mean(1)
        mean = linear(layers.pooled, average) + linear(layers.residual, pooled(layers.mean_attention)).sigmoid()
        mean = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
        mean = mean * layers.norm.weight[k] + layers.norm.bias[k]
        variance = linear(layers.variance, pooled(layers.variance_attention)) + linear(layers.pooled_variance, average)
        torch.testing.assert_close(found["embedding"][:, k], mean / mean.norm(dim=1, keepdim=True))
        torch.testing.assert_close(found["log_variance"][:, k], variance.clamp(max=10))


def test_kl_is_that_of_two_gaussians(model: ProbCBM) -> None:
    """Sum over the embedding, mean over rows and concepts."""
    evidence = evidence_of(model)
    mean, deviation = evidence.state["embedding"], (0.5 * evidence.state["log_variance"]).exp()
    expected = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(2).mean()
    found = model.losses(model.readout(evidence), evidence, batch(model))["kl"]
    torch.testing.assert_close(found, expected)


def test_intervention_puts_the_anchor_in_place_and_leaves_no_doubt(model: ProbCBM) -> None:
    evidence = evidence_of(model)
    edited = model.edit(evidence, {"round": 1.0, "red": 0.0})
    absent, present = model.concepts.anchors()
    assert torch.equal(edited.state["embedding"][:, 0], present[0].expand(5, -1))
    assert torch.equal(edited.state["embedding"][:, 2], absent[2].expand(5, -1))
    assert torch.equal(edited.state["embedding"][:, 1], evidence.state["embedding"][:, 1])
    assert (model.uncertainty(edited)[:, [0, 2]] == 0).all() and (model.uncertainty(edited)[:, 1] > 0).all()
    assert not torch.allclose(model.readout(edited), model.readout(evidence))


def test_explanation_tells_uncertainty_and_claims_no_contribution(model: ProbCBM) -> None:
    explanation = model.explain(RandomImages(5, seed=1).inputs)
    assert explanation.contributions is None
    assert set(explanation.details) == {"probability", "absent", "present", "uncertainty"}
    variance = evidence_of(model).state["log_variance"].exp()
    torch.testing.assert_close(explanation.details["uncertainty"], variance.prod(2) ** (1 / variance.shape[2]))


def test_the_task_never_reaches_the_concepts(model: ProbCBM) -> None:
    data = batch(model)
    model.train()
    scores, evidence = model.step(data["input"])
    model.losses(scores, evidence, data)["task"].backward()
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in model.concepts.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


def test_missing_labels_do_not_count(model: ProbCBM) -> None:
    data = batch(model)
    evidence = evidence_of(model)
    data["concepts"][:, 1:] = torch.nan
    found = model.losses(model.readout(evidence), evidence, data)["concepts"]
    p, c = evidence.activation[:, 0], data["concepts"][:, 0]
    torch.testing.assert_close(found, -(c * p.log() + (1 - c) * (1 - p).log()).mean())


def test_learns_concepts_and_then_classes() -> None:
    torch.manual_seed(0)
    domain = replace(IMAGES, concepts=("bright",))
    model = ProbCBM(domain, backbone={"name": "convnet", "widths": [8], "pool": []}, width=4, class_width=6, samples=4)
    bright = torch.arange(48) % 2
    x = torch.randn(48, *domain.shape) * 0.3 + (2.0 * bright - 1)[:, None, None, None]
    data = {"input": x, "target": bright, "concepts": bright[:, None].float()}
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        loss = sum(model.coefficients[n] * t for n, t in model.losses(*model.train().step(x), data).items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    explanation = model.eval().explain(x)
    assert ((explanation.details["probability"][:, 0] > 0.5) == bright.bool()).float().mean() > 0.95
    assert (explanation.scores.argmax(1) == bright).float().mean() > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": ROWS}, "ProbCBM classifies images with binary concepts; got the modality 'table'"),
        ({"samples": 0}, "samples must be at least 1; got 0"),
        ({"domain": IMAGES}, "ProbCBM learns annotated concepts, and this data has none"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("probcbm", **{"domain": replace(IMAGES, concepts=CONCEPTS), "backbone": "convnet", **change})
