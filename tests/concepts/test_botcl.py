"""BotCL: attention and features as described, the loss of each stage, galleries and deactivation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.small_models import IMAGES, ROWS, RandomImages, botcl
from zoo.concepts import BotCL
from zoo.concepts.layers.slot_attention import position_code
from zoo.training.projection_set import ProjectionSet

X = RandomImages(5, seed=1).inputs


@pytest.mark.parametrize("attention", ["sigmoid", "softmax"])
def test_attention_as_described(attention: str) -> None:
    torch.manual_seed(0)
    model = botcl(attention=attention).model
    with torch.no_grad():
        evidence = model.step(X)[1]
        features = model.project(model.backbone(X))
        b, d, h, w = features.shape
        for i in range(b):
            cells = features[i].flatten(1).T + position_code(d, h, w, X.device).T  # (L, d)
            z = model.slots @ model.keys(cells).T / d**0.5
            z = z / z.sum(1, keepdim=True) * z.sum()
            expected = z.sigmoid() * (z.softmax(0) if attention == "softmax" else 1)
            torch.testing.assert_close(evidence.support[i].flatten(1), expected, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(evidence.activation[i], expected.sum(1).tanh(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("attention", ["sigmoid", "softmax"])
def test_features_are_weighted_by_the_attention(attention: str) -> None:
    torch.manual_seed(0)
    model = botcl(attention=attention).model.train()
    state = model.evidence(X).state
    cells = model.project(model.backbone(X)).flatten(2)  # in training again, so with the same batch statistics
    for i in range(5):
        for k in range(4):
            weight = state["attention"][i, k]
            total = weight.sum() if attention == "sigmoid" else 8
            torch.testing.assert_close(state["features"][i, k], cells[i] @ weight / total, rtol=1e-4, atol=1e-5)


def test_sums_saturate_at_the_start_and_means_do_not() -> None:
    """Sums of 49 sigmoids leave the tanh no gradient, which is why the area term is there."""
    domain = zoo.domain.ImageDomain(classes=("a", "b"), size=(28, 28), channels=1, mean=(0.1,), std=(0.3,))
    backbone = {"name": "convnet", "widths": [8, 8], "strided": True}
    x = torch.randn(8, *domain.shape, generator=torch.Generator().manual_seed(0))
    shares = {}
    for pooling in ("sum", "mean"):
        torch.manual_seed(0)
        model = BotCL(domain, backbone=backbone, concepts=6, dim=8, pooling=pooling).eval()
        shares[pooling] = (model.explain(x).activation > 0.999).float().mean().item()
    assert shares["sum"] > 0.9 and shares["mean"] == 0


def batch() -> dict[str, Tensor]:
    return {"input": X, "target": torch.tensor([0, 1, 2, 0, 1])}


def test_terms_of_both_supervisions() -> None:
    shared = {"task", "area", "quantity", "consistency", "distinctiveness"}
    for supervision, own in (("contrastive", "retrieval"), ("reconstruction", "reconstruction")):
        torch.manual_seed(0)
        model = botcl(supervision=supervision).model.train()
        model.stages = model.stages[1:]  # past the stage in which the backbone learns alone
        scores, evidence = model.step(X)
        terms = model.losses(scores, evidence, batch())
        assert set(terms) == shared | {own}
        sum(model.coefficients[name] * term for name, term in terms.items()).backward()
        assert model.slots.grad is not None and model.slots.grad.isfinite().all() and model.slots.grad.abs().sum() > 0
    assert botcl(supervision="reconstruction").model.coefficients["area"] == 5
    assert botcl(supervision="reconstruction", recipe={"coefficients": {"area": 2.0}}).model.coefficients["area"] == 2


def test_first_stage_trains_the_backbone_with_a_classifier_on_the_maximum() -> None:
    torch.manual_seed(0)
    model = botcl().model.train()
    scores, evidence = model.step(X)
    terms = model.losses(scores, evidence, batch())
    maps = evidence.state["maps"]
    expected = F.cross_entropy(model.classifier(maps.amax((2, 3))), batch()["target"])
    assert set(terms) == {"task"} and torch.equal(terms["task"], expected)


def test_reconstruction_aims_at_pixels() -> None:
    model = botcl(supervision="reconstruction").model
    white = IMAGES.normalise(torch.full((1, *IMAGES.shape), 255, dtype=torch.uint8))
    torch.testing.assert_close(model._pixels(white), torch.ones(1, *IMAGES.shape))
    picture = model.reconstruct(model.step(X)[1])
    assert picture.shape == X.shape and picture.min() >= 0 and picture.max() <= 1
    with pytest.raises(ValueError, match="no decoder; train it with supervision 'reconstruction'"):
        botcl().model.reconstruct(model.step(X)[1])


def test_deactivation_takes_the_concept_out() -> None:
    model = botcl().model
    with torch.no_grad():
        scores, evidence = model.step(X)
        without = model.readout(model.edit(evidence, {"concept 2": 0.0}))
    torch.testing.assert_close(scores - without, evidence.activation[:, 1:2] * model.head.weight[:, 1])


def test_gallery_holds_the_strongest_training_images() -> None:
    torch.manual_seed(0)
    model, data = botcl().model, RandomImages()
    with torch.no_grad():
        mass = model.step(data.inputs)[1].state["mass"]
    expected = mass.T.sort(dim=1, descending=True, stable=True)
    assert torch.equal(model.images.examples.index, expected.indices[:, :2])
    torch.testing.assert_close(model.images.examples.value, expected.values[:, :2])
    unit = model.units()[2]
    assert unit.source == {"supervision": "discovered", "training images": expected.indices[2, :2].tolist()}
    assert unit.picture is not None and unit.picture.shape == (3, 8, 16) and unit.picture.max() > 0


def test_gallery_does_not_depend_on_the_batches() -> None:
    model, data = botcl().model, RandomImages()
    projection_set = ProjectionSet(data, batch_size=2)
    before = model.images.examples.index.clone()
    found = model.images.examples.find(projection_set, lambda x: model.step(x)[1].state["mass"])
    assert torch.equal(found.index, before)


def test_gallery_is_forgotten_when_concepts_learn_on() -> None:
    model = botcl().model
    model.on_stage_start(model.stages[-1])  # the head alone
    assert model.units()[0].picture is not None
    model.on_stage_start(model.stages[1])
    assert model.units()[0].picture is None and model.units()[0].source == {"supervision": "discovered"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"supervision": "none"}, "supervision must be one of contrastive, reconstruction; got 'none'"),
        ({"attention": "hard"}, "attention must be one of sigmoid, softmax; got 'hard'"),
        ({"concepts": 0}, "concepts must be at least 1; got 0"),
        ({"dim": 6}, "dim must be a multiple of 4, for the position code; got 6"),
        ({"domain": ROWS}, "BotCL classifies images; got the modality 'table'"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("botcl", **{"domain": IMAGES, "backbone": "convnet", **change})
