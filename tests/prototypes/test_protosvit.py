"""ProtoS-ViT's head: assignment, smoothing and losses by hand, and that it learns."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.prototypes.test_pipnet import TwoViews
from tests.small_models import IMAGES, RandomImages, build, protosvit
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.domain import ImageDomain
from zoo.prototypes import ProtoSViT
from zoo.prototypes.protosvit import entropy, hoyer_square, jensen_shannon
from zoo.training.stages import Stage

TINY = {"name": "convnet", "widths": [4], "pool": []}


def test_patches_are_assigned_by_their_cosine() -> None:
    small = protosvit(temperature=0.5)
    model = small.model
    with torch.no_grad():
        tokens = model.project(model.backbone(small.inputs)).flatten(2).mT[:, :, None].double()  # (B, cells, 1, D)
        cosine = F.cosine_similarity(tokens, model.prototypes.double(), dim=-1)  # (B, cells, K)
        expected = (cosine / 0.5).exp() / (cosine / 0.5).exp().sum(2, keepdim=True)
        torch.testing.assert_close(model.assign(small.inputs).flatten(2).mT.double(), expected, rtol=1e-4, atol=1e-5)


def test_patches_are_projected_from_their_principal_components() -> None:
    small = build("protosvit", "components")
    model = small.model
    assert model.components.basis.shape == (model.backbone.channels, 3)
    with torch.no_grad():
        patches = model.backbone(small.inputs).flatten(2).mT.double()  # (B, cells, channels)
        found = (patches - model.components.centre.double()) @ model.components.basis.double()
        tokens = found @ model.project.weight[:, :, 0, 0].T.double() + model.project.bias.double()
        cosine = F.cosine_similarity(tokens[:, :, None], model.prototypes.double(), dim=-1)
        expected = (cosine / model.temperature).softmax(2)
        torch.testing.assert_close(model.assign(small.inputs).flatten(2).mT.double(), expected, rtol=1e-3, atol=1e-4)


def test_smoothing_is_a_mean_of_the_neighbours_of_the_same_prototype() -> None:
    """An even kernel: the centre of a 3 x 3 map becomes its mean, and a corner counts its own cell four times."""
    model = protosvit().model
    assignment = torch.zeros(1, 5, 3, 3)
    assignment[0, 2] = torch.arange(9.0).view(3, 3) / 8
    with torch.no_grad():
        even = model.smoothed(assignment)
        model.smooth[2] = torch.tensor([[-99.0] * 3, [0.0, math.log(2.0), -99.0], [-99.0] * 3])
        turned = model.smoothed(assignment)
    assert even[0, 2, 1, 1].item() == pytest.approx(0.5) and even[0, [0, 1, 3, 4]].eq(0).all()
    assert even[0, 2, 0, 0].item() == pytest.approx((4 * 0 + 2 * 1 + 2 * 3 + 4) / 8 / 9)
    # a third of the left neighbour (0.375) and two thirds of the cell itself (0.5)
    assert turned[0, 2, 1, 1].item() == pytest.approx(0.375 / 3 + 0.5 * 2 / 3)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_the_activation_is_pooled_from_the_support(pooling: str) -> None:
    small = protosvit(pooling=pooling, kernel=1)
    with torch.no_grad():
        evidence, assignment = small.model.evidence(small.inputs), small.model.assign(small.inputs)
    torch.testing.assert_close(evidence.support, assignment)  # one cell's kernel changes nothing
    flat = assignment.flatten(2)
    torch.testing.assert_close(evidence.activation, flat.max(2).values if pooling == "max" else flat.mean(2))


def test_entropy_by_hand() -> None:
    even, sharp = torch.full((1, 4, 1, 1), 0.25), torch.eye(4)[None, :, :1, None]
    assert entropy(even).item() == pytest.approx(math.log(4), abs=1e-6)
    assert entropy(sharp).item() == pytest.approx(0, abs=1e-6)
    assert entropy(torch.cat([even, sharp])).item() == pytest.approx(math.log(4) / 2, abs=1e-6)


def test_hoyer_square_by_hand() -> None:
    """(3 + 4)² / (9 + 16) = 49 / 25, and 1 for a single prototype."""
    assert hoyer_square(torch.tensor([[3.0, 4.0, 0.0]])).item() == pytest.approx(1.96)
    assert hoyer_square(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 9.0]])).item() == pytest.approx((1.96 + 1) / 2)
    assert hoyer_square(torch.ones(2, 7)).item() == pytest.approx(7)
    assert hoyer_square(torch.zeros(1, 3)).item() == 0


def test_jensen_shannon_by_hand() -> None:
    """Of what has nothing in common log 2, of equals 0, and in between the two divergences from the middle."""
    one, two, even = (torch.tensor(v).view(1, 2, 1, 1) for v in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]))
    assert jensen_shannon(one, two).item() == pytest.approx(math.log(2), abs=1e-6)
    assert jensen_shannon(even, even).item() == pytest.approx(0, abs=1e-7)
    expected = (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25) + math.log(1 / 0.75)) / 2
    assert jensen_shannon(even, one).item() == pytest.approx(expected, abs=1e-6)
    a, b = torch.randn(2, 5, 3, 3).softmax(1), torch.randn(2, 5, 3, 3).softmax(1)
    torch.testing.assert_close(jensen_shannon(a, b), jensen_shannon(b, a))


def test_losses_of_a_batch() -> None:
    model = ProtoSViT(IMAGES, backbone=TINY, prototypes=4, projection={"dim": 5}).train()
    model.backbone.eval()
    batch = {"input": RandomImages(6).inputs, "view": RandomImages(6, seed=3).inputs, "target": torch.arange(6) % 3}
    with torch.no_grad():
        scores, evidence = model.step(batch["input"])
        terms = model.losses(scores, evidence, batch)
        assignment, g = model.assign(batch["input"]), evidence.activation
        g_by_hand = model.smoothed(assignment).flatten(2).max(2).values
        divergence = jensen_shannon(assignment, model.assign(batch["view"]))
    torch.testing.assert_close(g, g_by_hand)
    assert terms.keys() == {name for name, weight in model.coefficients.items() if weight}
    torch.testing.assert_close(terms["consistency"], divergence)
    torch.testing.assert_close(terms["coverage"], -g.sum(0).tanh().log().mean(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(terms["hoyer"], hoyer_square(g))
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(g @ model.head.weight.T, batch["target"]))
    model.eval()
    assert set(model.losses(scores, evidence, {"target": batch["target"]})) == {"cross_entropy"}


def test_published_terms_by_loops() -> None:
    coefficients = {"consistency": 0.0, "entropy": 0.0, "importance": 0.01, "patch_coverage": 1.0}
    model = ProtoSViT(
        IMAGES, backbone=TINY, prototypes=4, projection={"dim": 5}, recipe={"coefficients": coefficients}
    ).train()
    batch = {"input": RandomImages(6).inputs, "target": torch.arange(6) % 3}
    with torch.no_grad():
        scores, evidence = model.step(batch["input"])
        terms = model.losses(scores, evidence, batch)
        weight, assignment = model.head.weight, evidence.state["assignment"]
        ratios = []
        for g in evidence.activation:
            u = [float(weight[c, k] * g[k]) for c in range(3) for k in range(4)]
            ratios.append(sum(u) ** 2 / sum(v * v for v in u) / 12**0.5)
        sums = [float(assignment[:, k].sum()) for k in range(4)]
    assert terms["importance"].item() == pytest.approx(sum(ratios) / 6, rel=1e-5)
    expected = -sum(math.log(math.tanh(total)) for total in sums) / 4
    assert terms["patch_coverage"].item() == pytest.approx(expected, abs=1e-5)


def test_consistency_without_a_second_view_says_what_to_set() -> None:
    model = ProtoSViT(COLOURS, backbone=TINY, prototypes=4)
    with pytest.raises(ValueError, match=r"this batch has one \(keys: input, target\); .* or the coefficient of"):
        fit(model, ToyData())


@pytest.mark.parametrize("views", [1, 2])
def test_learns_separable_images(views: int) -> None:
    stages = [
        {"name": "train", "epochs": 12, "train": ["backbone", "project", "prototypes", "smooth", "head"]},
        {"name": "gallery"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    model = ProtoSViT(
        COLOURS,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        prototypes=6,
        projection={"dim": 8},
        shrink=0.01,
        thumbnail=12,
        recipe={
            "stages": stages,
            "lr": {"backbone": 0.01, "project": 0.01, "prototypes": 0.01, "smooth": 0.01, "head": 0.1},
            "coefficients": {"consistency": 1.0 if views == 2 else 0.0},
        },
    )
    trainer = fit(model, TwoViews(240) if views == 2 else ToyData(240))
    model.eval()
    test = ColouredSquares(90, seed=2)
    explanation = model.explain(test.inputs).check()
    assert explanation.target.eq(test.targets).float().mean() > 0.9
    assert model.head.weight.min() >= 0 and model.head.weight.eq(0).any()
    assert trainer.callback_metrics["val/global_size"] == (model.head.weight > 0).any(0).sum()
    assert all((unit.picture is None) == ("weights" not in unit.source) for unit in explanation.units)
    spoken = (explanation.contributions > 1e-3).sum(1).tolist()
    for text, count in zip(explanation.statements, spoken, strict=True):
        assert text.startswith(f"{count} prototype")


def test_patches_are_forgotten_when_the_prototypes_change() -> None:
    model = protosvit().model
    model.on_stage_start(Stage("last", 1, ("head",)))
    assert any(unit.picture is not None for unit in model.units())
    model.on_stage_start(Stage("any", 1, ("smooth",)))
    assert all(unit.picture is None for unit in model.units())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prototypes": 1}, "prototypes must be at least 2; got 1"),
        ({"projection": {"dim": 0}}, "dim must be at least 1; got 0"),
        ({"temperature": 0}, "temperature must be above 0; got 0"),
        ({"kernel": 2}, "kernel must be an odd number of cells; got 2"),
        ({"kernel": -1}, "kernel must be an odd number of cells; got -1"),
        ({"pooling": "sum"}, "pooling must be one of max, mean; got 'sum'"),
        ({"shrink": -1.0}, "shrink must be at least 0; got -1.0"),
        ({"patches": 0}, "patches must be at least 1; got 0"),
        ({"recipe": {"coefficients": {"hoyr": 1.0}}}, "no loss term 'hoyr'; did you mean 'hoyer'"),
        ({"domain": ImageDomain(classes=("only",), size=(8, 8))}, "two or more classes; got 1 of modality 'image'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProtoSViT(**{"domain": IMAGES, "backbone": TINY, **arguments})
