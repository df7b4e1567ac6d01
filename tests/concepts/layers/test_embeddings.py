"""Concept embeddings: one matrix product equals a layer per concept; mixing and interventions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.concepts.table_batch import evidence_of
from tests.small_models import build
from zoo.concepts.layers.embeddings import ConceptEmbedding, mixed_embeddings
from zoo.core.module import SelfInterpretable


@pytest.fixture(params=["cem", "intcem"])
def model(request: pytest.FixtureRequest) -> SelfInterpretable:
    torch.manual_seed(0)
    return build(request.param, **({"policy": [8]} if request.param == "intcem" else {})).model


@pytest.mark.parametrize("shared", [True, False])
def test_one_matrix_product_equals_one_layer_a_concept(shared: bool) -> None:
    d, k, m = 7, 5, 4
    fused = ConceptEmbedding(d, k, m, shared)
    h = torch.randn(6, d)
    positive, negative, logit = fused(h)
    for i in range(k):
        layer = nn.Linear(d, 2 * m)
        layer.weight.data = fused.embed.weight[2 * m * i : 2 * m * (i + 1)]
        layer.bias.data = fused.embed.bias[2 * m * i : 2 * m * (i + 1)]
        both = F.leaky_relu(layer(h))
        assert (positive[:, i] - both[:, :m]).abs().max() < 1e-6
        assert (negative[:, i] - both[:, m:]).abs().max() < 1e-6
        row = 0 if shared else i
        assert (logit[:, i] - both @ fused.score[row] - fused.bias[row]).abs().max() < 1e-6


def test_embedding_is_mixed_by_the_probability(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    p, c = evidence.activation[..., None], mixed_embeddings(evidence)
    torch.testing.assert_close(c, p * evidence.state["positive"] + (1 - p) * evidence.state["negative"])


def test_no_mask_and_own_value_change_nothing(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    scores, every = model.readout(evidence), torch.ones_like(evidence.activation, dtype=torch.bool)
    assert torch.equal(model.readout(model.intervene(evidence, ~every, 1 - evidence.activation)), scores)
    assert torch.equal(model.readout(model.intervene(evidence, every, evidence.activation)), scores)


def test_disjoint_interventions_commute(model: SelfInterpretable) -> None:
    evidence, a, b = evidence_of(model), {"round": 1.0}, {"red": 0.0, "blue": 1.0}
    first = model.readout(model.edit(model.edit(evidence, a), b))
    assert torch.equal(first, model.readout(model.edit(model.edit(evidence, b), a)))
    assert not torch.allclose(first, model.readout(evidence))


def test_closed_form_counterfactual_equals_a_full_readout(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    scores, p = model.annotated.counterfactual_scores(model, evidence), model.annotated.probability(evidence)
    for k, name in enumerate(model.domain.concepts):
        others = [j for j in (2, 3, 4) if k > 1 and j != k]  # of the colours one is present
        for truth in (0, 1):
            rest = {j: (1 - truth) * p[:, j] / sum(p[:, i] for i in others) for j in others}
            expected = model.readout(model.edit(evidence, {name: float(truth), **rest}))
            torch.testing.assert_close(scores[:, truth, k], expected, rtol=1e-5, atol=1e-5)
