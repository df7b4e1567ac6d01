"""SIC against the published formulas written out, with maps by automatic differentiation, and how it trains."""

import math
from copy import deepcopy
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.domain import ImageDomain
from zoo.prototypes import SIC
from zoo.prototypes.layers.class_draws import ClassDraws, draws_of
from zoo.training.black_box_file import Network
from zoo.training.projection_set import ProjectionSet

SIZES = {"widths": [6, 8], "dim": 16, "supports": 2, "patch": 3, "temperature": 0.05, "thumbnail": 8}
STAGES = [
    {"name": "train", "epochs": 3, "train": ["backbone", "projection"]},
    {"name": "gather"},
    {"name": "measure", "epochs": 1, "train": []},
]


@pytest.fixture(scope="module")
def gathered() -> SIC:
    torch.manual_seed(3)
    model = SIC(COLOURS, **SIZES).eval()
    with torch.no_grad():
        for i in (1, 3):
            layer = model.backbone.layers[i]
            layer.variance.copy_(torch.rand_like(layer.variance) + 0.01)
            layer.weight.copy_(torch.rand_like(layer.weight) + 0.5)
    model.gather(ProjectionSet(ColouredSquares(12)))
    return model


def b_cos(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """|cos|^1 ŵ x of every patch, patch by patch; gradients do not pass through the cosine."""
    unit = weight / weight.flatten(1).norm(dim=1)[:, None, None, None]
    patches = F.unfold(x, weight.shape[2], padding=padding, stride=stride)  # (B, n, cells)
    out = torch.einsum("on,bnc->boc", unit.flatten(1), patches)
    cosine = out.detach().abs() / (patches.detach().square().sum(1, keepdim=True) + 1e-6).sqrt()
    side = round(out.shape[2] ** 0.5)
    return (out * cosine).unflatten(2, (side, side))


def latent(model: SIC, u: Tensor) -> Tensor:
    z = u
    for conv, norm in ((0, 1), (2, 3)):
        layers = model.backbone.layers
        z = b_cos(z, layers[conv].weight, stride=2, padding=1)
        z = z * (layers[norm].weight / (layers[norm].variance + 1e-5).sqrt())[:, None, None]
    return b_cos(z.mean((2, 3), keepdim=True), model.projection.layers[0].weight).flatten(1).relu()


def test_scores_and_maps_are_the_published_formulas(gathered: SIC) -> None:
    pictures = ColouredSquares(5, seed=4).pictures.float() / 255
    u = torch.cat([pictures, 1 - pictures], 1).requires_grad_()
    z, supports = latent(gathered, u), gathered.bank.patches[:, 0].float()
    explanation = gathered.explain(COLOURS.normalise((255 * pictures).to(torch.uint8))).check()
    for q, s in enumerate(supports):
        along = z @ (s / s.norm())
        g = along * (along.abs() / z.norm(dim=1)).detach()
        torch.testing.assert_close(explanation.activation[:, q], g.detach(), rtol=1e-4, atol=1e-6)
        (slope,) = torch.autograd.grad(g.sum(), u, retain_graph=True)
        pixels = (slope * u).sum(1).detach()  # (B, H, W)
        patches = pixels.unflatten(1, (4, 3)).unflatten(3, (4, 3)).sum((2, 4))
        against = explanation.details["against"][:, q]
        torch.testing.assert_close(
            explanation.details["for"][:, q], patches.clamp_min(0).sum((1, 2)), rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(against, patches.clamp_max(0).sum((1, 2)), rtol=1e-4, atol=1e-6)
        shown = patches.clamp_min(0) / patches.amax((1, 2), keepdim=True).clamp_min(1e-12)
        torch.testing.assert_close(explanation.support[:, q], shown, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(explanation.details["for"] + explanation.details["against"], explanation.activation)
    expected = explanation.activation.view(5, 3, 2).sum(2) / 0.05 - math.log(2)
    torch.testing.assert_close(explanation.scores, expected, rtol=1e-5, atol=1e-5)
    assert ((explanation.contributions[:, :-1] != 0).sum(1) <= 2).all()


def test_a_support_image_is_as_similar_to_itself_as_its_vector_is_long(gathered: SIC) -> None:
    at = gathered.bank.provenance.index
    x = ColouredSquares(12).inputs[at]
    _, z, _ = gathered.latent(x)
    activation = gathered.explain(x).activation
    torch.testing.assert_close(activation.diagonal(), z.norm(dim=1), rtol=1e-2, atol=1e-3)
    assert gathered.units()[0].source["image"].startswith("red/")


def test_the_loss_is_cross_entropy_of_each_class_against_the_others(gathered: SIC) -> None:
    scores, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    chances = scores.sigmoid()
    wanted = torch.eye(3)[target]
    expected = -(wanted * chances.log() + (1 - wanted) * (1 - chances).log()).mean()
    evidence = gathered.evidence(ColouredSquares(4).inputs)
    torch.testing.assert_close(gathered.losses(scores, evidence, {"target": target})["task"], expected)


def test_supports_are_taken_from_the_images_nearest_to_the_mean_of_their_class() -> None:
    torch.manual_seed(3)
    model = SIC(COLOURS, **{**SIZES, "dim": None}, drawn_from=3).eval()
    squares = ColouredSquares(24)
    model.gather(ProjectionSet(squares))
    with torch.no_grad():
        z = F.normalize(model.latent(squares.inputs)[1], dim=1)
    for c in range(3):
        own = (squares.targets == c).nonzero()[:, 0]
        order = (z[own] @ z[own].mean(0)).argsort(descending=True)
        near = set(own[order[:3]].tolist())
        assert set(model.bank.provenance.index[2 * c : 2 * c + 2].tolist()) < near
        assert model.typical is not None and set(model.typical[3 * c : 3 * c + 3].tolist()) == near


def test_training_compares_with_images_drawn_at_each_step_and_gradients_reach_them() -> None:
    model = SIC(COLOURS, **SIZES).train()
    x = ColouredSquares(4, seed=1).inputs
    model.drawn = ColouredSquares(6, seed=2).inputs.clone().requires_grad_()
    scores, _ = model.step(x)
    (slope,) = torch.autograd.grad(scores.square().sum(), model.drawn)
    assert (slope.flatten(1).abs().sum(1) > 0).all()
    model.drawn = None
    assert (model.step(x)[0] == -math.log(2)).all()  # no supports are stored yet


def test_it_learns_and_its_supports_are_those_of_the_final_network() -> None:
    torch.manual_seed(0)
    stages = [{**STAGES[0], "epochs": 6}, *STAGES[1:]]
    model = SIC(COLOURS, **{**SIZES, "widths": [16, 16]}, recipe={"stages": stages, "lr": 0.003})
    with pytest.raises(RuntimeError, match=r"this SIC has no training images .*action gather"):
        model.explain(ColouredSquares(2).inputs)
    data = ToyData()
    fit(model, data)
    model.eval()
    stored, names = model.bank.patches.clone(), [unit.source["image"] for unit in model.units()]
    model.gather(ProjectionSet(data.train))
    assert torch.equal(stored, model.bank.patches)
    assert names == [unit.source["image"] for unit in model.units()]
    test = ColouredSquares(60, seed=2)
    assert model(test.inputs).argmax(1).eq(test.targets).float().mean() > 0.8


def test_supports_are_forgotten_while_the_network_changes() -> None:
    filled: list[bool] = []

    class Watched(SIC):
        def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
            filled.append(bool(self.bank.filled.any()))
            super().on_train_batch_end(outputs, batch, batch_idx)

        def validation_step(self, batch: object, batch_idx: int) -> None:
            assert self.trainer.sanity_checking or bool(self.bank.filled.all())
            super().validation_step(batch, batch_idx)

    fit(Watched(COLOURS, **SIZES, recipe={"stages": STAGES}), ToyData(48))
    assert filled == [False] * 9 + [True] * 3


def test_a_run_that_goes_on_without_a_validation_draws_the_same_images() -> None:
    class Forgetful(SIC):
        def on_validation_epoch_end(self) -> None:
            super().on_validation_epoch_end()
            self.typical = None  # as if the run was resumed here

    weights = []
    for kind in (SIC, Forgetful):
        torch.manual_seed(0)
        model = kind(COLOURS, **SIZES, drawn_from=3, recipe={"stages": STAGES})
        fit(model, ToyData(48))
        weights.append(deepcopy(model).state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert model.drawn is None and model.draws is None


def test_a_class_without_images_is_named_before_the_training() -> None:
    data = ToyData(48)
    data.train.targets.fill_(1)
    with pytest.raises(ValueError, match=r"2 of 3 classes have no training image to compare with: 'red' \(0\)"):
        fit(SIC(COLOURS, **SIZES, recipe={"stages": STAGES}), data)
    with pytest.raises(ValueError, match=r"classes \[1\] have no training items"):
        ClassDraws(torch.tensor([0, 2]), 3, 1, seed=0)


def test_draws_are_different_items_of_each_class_in_order() -> None:
    targets = torch.tensor([2, 0, 0, 1, 0, 2, 2, 2])
    draws = list(islice(ClassDraws(targets, 3, 2, seed=5), 50))
    assert draws == list(islice(ClassDraws(targets, 3, 2, seed=5), 50))
    for numbers in draws:
        assert targets[numbers].tolist() == [0, 0, 1, 1, 2, 2]
        assert numbers[0] != numbers[1] and numbers[2] == numbers[3] == 3 and numbers[4] != numbers[5]
    some = next(iter(ClassDraws(targets, 3, 1, seed=0, among=torch.tensor([7, 2, 3]))))
    assert some == [2, 3, 7]
    seen = {number for numbers in draws for number in numbers}
    assert seen == set(range(8))
    first = next(draws_of(ProjectionSet(ColouredSquares(9)), 3, 2, seed=0))
    assert first.shape == (6, 3, 12, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"supports": 0}, "supports must be at least 1; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"drawn_from": 1}, "drawn_from must be at least 2, the supports of each class; got 1"),
        ({"dim": 0}, "dim must be at least 1; got 0"),
        ({"widths": []}, "widths and strides must name the same layers"),
        ({"domain": ImageDomain(classes=("only",), size=(8, 8))}, "two or more classes; got 1 of modality 'image'"),
        ({"backbone": "vit_tiny_patch16_224"}, "B-cosif"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SIC(**{"domain": COLOURS, **SIZES, **arguments})


def test_a_recipe_that_does_not_choose_supports_at_its_end_is_refused() -> None:
    model = SIC(COLOURS, **SIZES, recipe={"stages": [STAGES[1], STAGES[0]]})
    with pytest.raises(ValueError, match=r"does not choose them after its last stage that trains; add {name: gather}"):
        fit(model, ToyData())


def test_a_b_cosified_network_starts_with_the_weights_of_a_teacher() -> None:
    convnet = {"name": "convnet", "widths": [6, 8], "pool": [0]}
    teacher = Network(COLOURS, convnet)
    model = SIC(COLOURS, **SIZES, backbone=convnet)
    model.copy_teacher(teacher)
    first = next(m.weight for m in teacher.modules() if isinstance(m, nn.Conv2d))
    assert torch.equal(model.backbone.layers[0].weight, torch.cat([first, -first], 1) / 2)
    with pytest.raises(ValueError, match="another backbone than SIC"):
        model.copy_teacher(Network(COLOURS, {**convnet, "widths": [4, 8]}))
    with pytest.raises(ValueError, match="a classifier with a backbone"):
        model.copy_teacher(nn.Linear(2, 2))


def test_only_a_b_cosified_network_starts_as_a_teacher() -> None:
    with pytest.raises(ValueError, match="SIC needs the same `backbone`"):
        SIC(COLOURS, **SIZES).copy_teacher(nn.Linear(2, 2))


def test_the_heat_of_a_class_is_the_positive_part_of_the_maps_of_its_supports(gathered: SIC) -> None:
    x = ColouredSquares(4, seed=6).inputs
    target = torch.tensor([0, 1, 2, 1])
    u, z, kept = gathered.latent(x)
    supports = F.normalize(gathered.bank.patches[:, 0].float(), dim=1).view(3, 2, -1)
    wanted = 0.0
    for q in range(2):
        own = supports[target, q]
        factor = (F.normalize(z, dim=1) * own).sum(1).abs()
        wanted = wanted + factor[:, None, None] * torch.einsum("bdhw,bd->bhw", gathered._latent_maps(u, kept), own)
    found = gathered.heat(x, target)
    torch.testing.assert_close(found, wanted.clamp_min(0) / gathered.temperature, rtol=1e-4, atol=1e-5)
    assert found.requires_grad
    gathered.drawn = ColouredSquares(6, seed=7).inputs
    try:
        assert not torch.allclose(gathered.heat(x, target), found)
    finally:
        gathered.drawn = None
