"""C3M: the floor of the published concept loss, mixup by hand, and who learns from what."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.small_models import ROWS, SENTENCES, c3m
from zoo.concepts.c3m import aspect_loss, mix
from zoo.training.projection_set import ProjectionSet

ASPECTS = [[0, 1, 2], [3, 4, 5]]


def solved(scale: float) -> tuple[Tensor, Tensor]:
    """Scores that are right by a wide margin, and their labels."""
    labels = torch.eye(3)[torch.tensor([[0, 2], [1, 1], [2, 0]])].flatten(1)
    return scale * (2 * labels - 1), labels


def test_published_loss_has_a_floor_and_the_default_has_none() -> None:
    logits, labels = solved(100.0)
    floor = math.log(1 + 2 / math.e)
    assert floor == pytest.approx(0.551, abs=5e-4)
    assert aspect_loss(logits, labels, ASPECTS, "sigmoid").item() == pytest.approx(floor, abs=1e-5)
    assert aspect_loss(logits, labels, ASPECTS).item() == pytest.approx(0, abs=1e-6)
    assert aspect_loss(torch.zeros(3, 6), labels, ASPECTS).item() == pytest.approx(math.log(3), abs=1e-6)


def test_loss_is_a_mean_over_labelled_aspects() -> None:
    logits, labels = torch.randn(3, 6), solved(1.0)[1]
    labels[1, 3:] = torch.nan
    labels[2, 4] = torch.nan  # one unknown value makes the aspect unknown
    expected = [F.cross_entropy(logits[i, :3][None], labels[i, :3].argmax()[None]) for i in range(3)]
    expected.append(F.cross_entropy(logits[0, 3:][None], labels[0, 3:].argmax()[None]))
    torch.testing.assert_close(aspect_loss(logits, labels, ASPECTS), torch.stack(expected).mean())
    assert aspect_loss(logits, torch.full((3, 6), torch.nan), ASPECTS) == 0


@pytest.mark.parametrize("bottleneck", ["logit", "softmax"])
def test_scores_by_hand(bottleneck: str) -> None:
    small = c3m(bottleneck=bottleneck)
    model = small.model
    logits = model.backbone(small.inputs) @ model.concepts.weight.T + model.concepts.bias
    v = logits if bottleneck == "logit" else torch.cat([logits[:, :2].softmax(1), logits[:, 2:].softmax(1)], 1)
    torch.testing.assert_close(model(small.inputs), v @ model.head.weight.T + model.head.bias)


def batch() -> dict[str, Tensor]:
    concepts = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]])
    return {"input": c3m().inputs, "target": torch.tensor([0, 1, 2, 1, 0]), "concepts": concepts}


def test_mixup_mixes_vectors_and_both_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = c3m().model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for block in model.backbone.blocks:
        block.dropout = 0.0
    share, partner = torch.tensor(0.3), torch.tensor([3, 0, 4, 1, 2])
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: share)
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: partner)
    data = batch()
    scores, evidence = model.step(data["input"])
    h = model.backbone(data["input"])
    torch.testing.assert_close(evidence.state["logit"], model.concepts(0.3 * h + 0.7 * h[partner]))
    torch.testing.assert_close(mix(h, share, partner), 0.3 * h + 0.7 * h[partner])
    terms = model.losses(scores, evidence, data)
    both = [F.cross_entropy(scores, data["target"]), F.cross_entropy(scores, data["target"][partner])]
    torch.testing.assert_close(terms["task"], 0.3 * both[0] + 0.7 * both[1])
    groups = model.annotated.exclusive
    both = [aspect_loss(evidence.state["logit"], c, groups) for c in (data["concepts"], data["concepts"][partner])]
    torch.testing.assert_close(terms["concepts"], 0.3 * both[0] + 0.7 * both[1])


def test_nothing_is_mixed_in_evaluation_or_without_mixup() -> None:
    assert "partner" not in c3m().model.step(batch()["input"])[1].state
    assert "partner" not in c3m(mixup=0.0).model.train().step(batch()["input"])[1].state


@pytest.mark.parametrize(("training", "reaches"), [("joint", True), ("sequential", False), ("independent", False)])
def test_only_joint_training_lets_the_task_reach_the_concepts(training: str, reaches: bool) -> None:
    model = c3m(training=training, mixup=0.0).model.train()
    model.losses(*model.step(batch()["input"]), batch())["task"].backward()
    gradient = model.concepts.weight.grad
    assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reaches


def test_aspects_are_answered_by_percentiles_or_by_one_hot() -> None:
    small = c3m()
    data = [dict(zip(("input", "target"), (x, torch.tensor(0)), strict=True)) for x in small.inputs]
    small.model.calibrate(ProjectionSet(data))
    with torch.no_grad():
        logits = small.model.concepts(small.model.backbone(small.inputs)).sort(0).values
    torch.testing.assert_close(small.model.annotated.percentiles, logits[[0, 4]])
    answer = torch.tensor([[1.0, 0, 0, 1]])
    torch.testing.assert_close(small.model.annotated.values(answer)[0, 0], logits[4, 0])
    assert torch.equal(c3m(bottleneck="softmax").model.annotated.values(answer), answer)


def test_probabilities_of_an_aspect_sum_to_one() -> None:
    small = c3m()
    shares = small.model.explain(small.inputs).details["probability"]
    torch.testing.assert_close(shares.unflatten(1, (2, 2)).sum(2), torch.ones(5, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"domain": ROWS, "backbone": "mlp"},
            "every concept in an exclusive group, .*; 'large' is in no exclusive group",
        ),
        ({"domain": replace(SENTENCES, exclusive=("food",))}, "'noise: high' is in no exclusive group"),
        ({"bottleneck": "sigmoid"}, "bottleneck must be one of logit, softmax; got 'sigmoid'"),
        ({"concept_loss": "bce"}, "concept_loss must be one of softmax, sigmoid; got 'bce'"),
        ({"mixup": -1.0}, "mixup must be at least 0; got -1.0"),
        ({"backbone": "mlp"}, "the backbone of a text is 'transformer', 'convnet1d' or 'hf'; got 'mlp'"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("c3m", **{"domain": SENTENCES, "backbone": "transformer", **change})
