"""ProtoPNet: its terms on an example worked out by hand, and what push and prune promise."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.small_models import IMAGES, RandomImages, build, protopnet
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.core.evidence import Evidence
from zoo.domain import ImageDomain
from zoo.prototypes import ProtoPNet
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage

TINY = {"name": "convnet", "widths": [4], "pool": []}

# Three images of two patches each; two classes with two prototypes each; all distances are whole numbers.
PATCHES = torch.tensor([[[1, 0, 0], [0, 0, 4]], [[0, 3, 0], [4, 0, 1]], [[2, 0, 0], [0, 1, 0]]]).float()  # (B, HW, D)
PROTOTYPES = torch.tensor([[0, 0, 0], [4, 0, 0], [0, 3, 0], [0, 0, 5]]).float()
DISTANCES = torch.tensor([[1, 9, 10, 1], [9, 1, 0, 32], [1, 4, 4, 26]]).float()  # to the nearer patch
TARGETS = torch.tensor([0, 1, 0])


@pytest.fixture
def by_hand() -> ProtoPNet:
    """A model whose embedding is the identity: the pixels of a 1 x 2 image are its patches."""
    domain = ImageDomain(classes=("left", "right"), size=(1, 2))
    model = ProtoPNet(domain, backbone=TINY, prototypes_per_class=2, dim=3)
    model.embed = lambda x: x
    with torch.no_grad():
        model.prototypes.vectors.copy_(PROTOTYPES)
    return model


def images() -> Tensor:
    return PATCHES.mT[:, :, None]  # (B, 3, 1, 2)


@pytest.mark.parametrize("training", [True, False])
def test_evidence_by_hand(by_hand: ProtoPNet, training: bool) -> None:
    evidence = by_hand.train(training).evidence(images())
    torch.testing.assert_close(evidence.state["distance"], DISTANCES, rtol=1e-5, atol=1e-5)
    logs = [[math.log((d + 1) / (d + 1e-4)) for d in row] for row in DISTANCES.tolist()]
    torch.testing.assert_close(evidence.activation, torch.tensor(logs), rtol=1e-2 if training else 1e-5, atol=1e-5)
    assert (evidence.support is None) == training
    if not training:  # in full view: each patch of the first image against the first prototype
        largest = math.log(1e4)
        expected = [math.log(2 / 1.0001) / largest, math.log(17 / 16.0001) / largest]
        torch.testing.assert_close(evidence.support[0, 0, 0], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_scores_by_hand(by_hand: ProtoPNet) -> None:
    a, b, c, d = (math.log((v + 1) / (v + 1e-4)) for v in DISTANCES[2].tolist())
    expected = torch.tensor([a + b - (c + d) / 2, c + d - (a + b) / 2])
    torch.testing.assert_close(by_hand.eval()(images())[2], expected, rtol=1e-5, atol=1e-5)


def test_losses_by_hand(by_hand: ProtoPNet) -> None:
    scores = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [0.0, math.log(3)]])
    evidence = Evidence(torch.zeros(3, 4), None, {"distance": DISTANCES})
    terms = by_hand.losses(scores, evidence, {"input": images(), "target": TARGETS})
    assert {name: term.item() for name, term in terms.items()} == {
        "cross_entropy": pytest.approx((math.log(4 / 3) + math.log(2) + math.log(4)) / 3),
        "cluster": pytest.approx((1 + 0 + 1) / 3),
        "separation": pytest.approx(-(1 + 1 + 4) / 3),
        "l1": pytest.approx(4 * 0.5),
    }
    with torch.no_grad():
        by_hand.head.weight.copy_(torch.tensor([[7.0, -7, 0.25, -3], [2, -1, 7, 7]]))  # own-class weights are free
    assert by_hand.losses(scores, evidence, {"target": TARGETS})["l1"].item() == pytest.approx(6.25)


def test_gradients_by_hand(by_hand: ProtoPNet) -> None:
    """Each image moves the prototype at its smallest distance: by 2 (p - z) / 3 for cluster, the opposite otherwise."""
    terms = by_hand.losses(*by_hand.train().step(images()), {"input": images(), "target": TARGETS})
    vectors = by_hand.prototypes.vectors
    cluster, separation = (
        torch.autograd.grad(terms[name], vectors, retain_graph=True)[0] for name in ("cluster", "separation")
    )
    expected = torch.tensor([[-2, -2, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]) / 3
    torch.testing.assert_close(cluster, expected, rtol=1e-5, atol=1e-5)
    expected = torch.tensor([[0, 0, 0], [0, 0, 2], [0, -4, 0], [0, 0, -2]]) / 3
    torch.testing.assert_close(separation, expected, rtol=1e-5, atol=1e-5)


def test_published_coefficients_weigh_the_terms(by_hand: ProtoPNet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("log", "log_dict"):
        monkeypatch.setattr(by_hand, name, lambda *args, **kwargs: None)
    terms = by_hand.losses(*by_hand.step(images()), {"target": TARGETS})
    weights = {"cross_entropy": 1, "cluster": 0.8, "separation": 0.08, "l1": 1e-4}
    expected = sum(weights[name] * term.item() for name, term in terms.items())
    assert by_hand.training_step((images(), TARGETS), 0).item() == pytest.approx(expected, rel=1e-5)


def test_head_starts_at_one_and_minus_a_half(by_hand: ProtoPNet) -> None:
    assert by_hand.head.weight.tolist() == [[1, 1, -0.5, -0.5], [-0.5, -0.5, 1, 1]]
    assert by_hand.head.bias is None


def test_cosine_similarity_is_that_of_torch() -> None:
    model, x = build("protopnet", "cosine").model, RandomImages(4, seed=3).inputs
    with torch.no_grad():
        z = model.addon(model.backbone(x)).flatten(2).mT[:, None]  # (B, 1, HW, D), lengths as they come
        cosine = F.cosine_similarity(z, 3 * model.prototypes.vectors[None, :, None], dim=-1)  # (B, P, HW)
        evidence = model.evidence(x)
    torch.testing.assert_close(evidence.activation, cosine.amax(2), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(evidence.support.flatten(2), (1 + cosine) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("similarity", ["log", "cosine"])
def test_sums_over_cells_have_supports_up_to_one(similarity: str) -> None:
    """Supports of summed log similarities exceeded 1, so that such a model could not be explained."""
    model = ProtoPNet(IMAGES, TINY, 1, dim=4, similarity=similarity, places={"pooling": "sum"}).eval()
    model.push(ProjectionSet(RandomImages(12)))
    one = model.explain(RandomImages(12).inputs).check()
    assert one.support is not None and one.support.min() >= 0 and one.support.max() <= 1
    assert one.support.max() > 0.99  # every prototype is a patch of one of these images


def test_unpushed_model_predicts_but_refuses_to_explain() -> None:
    model = ProtoPNet(IMAGES, backbone=TINY, prototypes_per_class=1, dim=4).eval()
    x = RandomImages(2).inputs
    assert model(x).shape == (2, 3)
    assert all(unit.picture is None and not unit.source for unit in model.units())
    with pytest.raises(RuntimeError, match=r"not patches of training images.* ends in push .* or call push\(\)"):
        model.explain(x)
    with pytest.raises(RuntimeError, match="not patches of training images"):
        model.prune(ProjectionSet(RandomImages()))


@pytest.mark.parametrize(("train", "ready"), [(("head",), True), (("backbone", "head"), False), (("addon",), False)])
def test_only_a_stage_of_the_head_keeps_a_pushed_model_ready(train: tuple[str, ...], ready: bool) -> None:
    model = protopnet().model
    model.on_stage_start(Stage("any", 1, train))
    assert bool(model.prototypes.pushed) == ready


def pushed_with_copies(per_class: int = 3) -> ProtoPNet:
    """A pushed model in which the first two prototypes of every class are the same patch."""
    model = ProtoPNet(IMAGES, backbone=TINY, prototypes_per_class=per_class, dim=3, thumbnail=10).eval()
    model.embed = lambda x: x  # pixels of noise: no two patches are alike
    data = RandomImages(30)
    with torch.no_grad():
        patches = model.embed(data.inputs).flatten(2)  # (30, D, HW)
        for label in range(3):  # each prototype starts at a patch of its class: two at one, the others elsewhere
            for place in range(per_class):
                patch = patches[label + 3 * max(place - 1, 0), :, 40 + 7 * max(place - 1, 0)]
                model.prototypes.vectors[label * per_class + place] = patch
        model.head.weight.copy_(torch.randn_like(model.head.weight))
    model.push(ProjectionSet(data))
    return model


def test_prune_keeps_every_score_and_gives_the_weights_to_the_first() -> None:
    model, x = pushed_with_copies(), RandomImages(8, seed=5).inputs
    before, weight = model.explain(x), model.head.weight.clone()
    source = torch.stack([model.prototypes.provenance.index, model.prototypes.provenance.cell], 1)
    assert (source[[0, 3, 6]] == source[[1, 4, 7]]).all() and (source[[0, 3, 6]] != source[[2, 5, 8]]).any(1).all()
    model.prune(ProjectionSet(RandomImages(30)))
    after = model.explain(x, before.target).check()
    torch.testing.assert_close(after.scores, before.scores, rtol=1e-6, atol=1e-5)
    first, second = [0, 3, 6], [1, 4, 7]
    assert torch.equal(model.head.weight[:, first], weight[:, first] + weight[:, second])
    assert model.head.weight[:, second].eq(0).all() and after.contributions[:, second].eq(0).all()
    assert after.support[:, second].eq(0).all()
    assert [bool(unit.source.get("pruned")) for unit in model.units()] == [False, True, False] * 3


def test_the_published_rule_drops_prototypes_near_other_classes() -> None:
    model, data = pushed_with_copies(), RandomImages(30)
    with torch.no_grad():
        model.prototypes.vectors[4] = 0.0  # of the second class; near patches of all classes
        vectors, patches = model.prototypes.vectors.double(), data.inputs.double().flatten(2)  # (30, D, HW)
    model.prune_nearest, model.prune_below = 6, 3
    expected = []
    for j in range(9):
        distance = [(patches[i] - vectors[j][:, None]).square().sum(0).min().item() for i in range(30)]
        nearest = sorted(range(30), key=lambda i: distance[i])[:6]
        expected.append(sum(int(data.targets[i]) == j // 3 for i in nearest) >= 3)
    model.prune(ProjectionSet(data))
    assert model.prototypes.alive.tolist() == expected and 0 < sum(expected) < 9
    terms = model.losses(*model.step(data.inputs), {"input": data.inputs, "target": data.targets})
    assert all(term.isfinite() for term in terms.values())  # also for classes without prototypes


def test_what_is_pruned_counts_in_no_term_of_the_loss() -> None:
    small = protopnet()
    model = small.model
    batch = {"input": small.inputs, "target": torch.tensor([0, 1, 2, 0, 1])}
    model.prototypes.alive[1] = False
    before = model.losses(*model.step(small.inputs), batch)
    with torch.no_grad():
        model.prototypes.vectors[1] += 100
        model.head.weight[2, 1] = 7.0
    after = model.losses(*model.step(small.inputs), batch)
    for name in ("cluster", "separation", "l1"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-4)


def test_pruning_again_gives_no_weights_to_what_is_pruned() -> None:
    """A prototype that came to share its patch with one pruned earlier was dropped, and with it its score."""
    model, x = pushed_with_copies(), RandomImages(8, seed=5).inputs
    model.prune(ProjectionSet(RandomImages(30)))
    with torch.no_grad():
        vectors = model.prototypes.vectors
        vectors[2] = vectors[1].clone()  # the third is pushed to where the pruned second is,
        vectors[0] = model.embed(RandomImages(30).inputs[9:10])[0, :, 5, 5]  # and the first elsewhere
    model.push(ProjectionSet(RandomImages(30)))
    before = model.explain(x)
    model.prune(ProjectionSet(RandomImages(30)))
    assert model.prototypes.alive[:3].tolist() == [True, False, True]
    torch.testing.assert_close(model.explain(x).scores, before.scores, rtol=1e-6, atol=1e-5)


def test_units_of_a_copy_are_its_own() -> None:
    """Units are remembered between calls; a copy of a model must not remember those from before its push."""
    model = ProtoPNet(IMAGES, backbone=TINY, prototypes_per_class=1, dim=4).eval()
    assert model.units()[0].source == {}
    model.push(ProjectionSet(RandomImages()))
    assert copy.deepcopy(model).units()[0].source["image"].startswith("noise-")
    assert model.units()[0].source["image"].startswith("noise-")


def test_learns_separable_images_and_keeps_its_accuracy_through_push() -> None:
    recipe = [
        {"name": "joint", "epochs": 8, "train": ["backbone", "addon", "prototypes"]},
        {"name": "push"},
        {"name": "last", "epochs": 3, "train": ["head"]},
    ]
    model = ProtoPNet(
        COLOURS,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        prototypes_per_class=2,
        dim=8,
        thumbnail=12,
        recipe={"stages": recipe, "lr": 0.01},
    )
    fit(model, ToyData(240))
    model.eval()
    test = ColouredSquares(90, seed=2)
    explanation = model.explain(test.inputs).check()
    assert explanation.target.eq(test.targets).float().mean() > 0.95
    for label in range(3):  # what speaks most for a class is a prototype of that class
        best = model.explain(test.inputs[test.targets == label], label).contributions.mean(0).argmax()
        assert model.units()[best].target == label


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prototypes_per_class": -1}, ValueError, "prototypes_per_class must be at least 1; got -1"),
        ({"prototypes_per_class": 0}, ValueError, "prototypes_per_class must be at least 1; got 0"),
        ({"dim": 0}, ValueError, "dim must be at least 1; got 0"),
        ({"thumbnail": -3}, ValueError, "thumbnail must be at least 1; got -3"),
        ({"similarity": "euclid"}, ValueError, "similarity must be one of log, cosine; got 'euclid'"),
        ({"recipe": {"optimizer": "adamm"}}, ValueError, "optimizer must be one of adam, adamw, sgd; got 'adamm'"),
        ({"backbone": "resnet43"}, ValueError, r"no backbone named 'resnet43' .*timm.*; did you mean 'resnet34'"),
        ({"backbone": "konvnet"}, ValueError, "no backbone named 'konvnet'.*did you mean 'convnet'"),
        ({"backbone": {"widths": [4]}}, ValueError, "backbone needs a 'name'; got only widths"),
        (
            {"backbone": {"name": "resnet18", "weights": "nowhere/resnet.safetensors"}},
            FileNotFoundError,
            r"no backbone weights at nowhere.resnet\.safetensors\. Give a safetensors file, or pretrained: true",
        ),
        (
            {"backbone": {"name": "resnet18", "weights": "$NO_SUCH_VARIABLE/a.safetensors"}},
            FileNotFoundError,
            "set that environment variable",
        ),
        (
            {"backbone": {"name": "resnet18", "weights": "a.safetensors", "pretrained": True}},
            ValueError,
            "both 'weights' .* and 'pretrained'",
        ),
        (
            {"domain": ImageDomain(classes=("only",), size=(8, 8))},
            ValueError,
            "classifies images into two or more classes; got 1 of modality 'image'",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ProtoPNet(**{"domain": IMAGES, "backbone": TINY, **arguments})


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"does not fit this backbone: \d+ weights are missing .* 1 have another shape"
    ):
        ProtoPNet(IMAGES, backbone={"name": "resnet18", "weights": str(tmp_path / "other.safetensors")})


@pytest.mark.parametrize(
    "stages",
    [
        [{"name": "joint", "epochs": 1, "train": ["addon", "prototypes"]}],
        [{"name": "push"}, {"name": "joint", "epochs": 1, "train": ["prototypes"]}],
        [
            {"name": "joint", "epochs": 1, "train": ["prototypes"]},
            {"name": "push"},
            {"name": "last", "epochs": 1, "train": ["head"]},
            {"name": "joint", "epochs": 1, "train": ["backbone"]},
        ],
    ],
)
def test_recipes_that_end_without_a_projection_are_refused_before_training(stages: list[dict]) -> None:
    """Regression: they trained to the end, and then there was no model to save."""
    model = zoo.create_model(
        "protopnet",
        domain=COLOURS,
        backbone={"name": "convnet", "widths": [8]},
        prototypes_per_class=1,
        recipe={"stages": stages},
    )
    with pytest.raises(
        ValueError, match=r"not patches of training images at the end of this recipe: .* add \{name: push\}"
    ):
        fit(model, ToyData())


def test_push_before_each_epoch_keeps_prototypes_at_patches() -> None:
    """Prototypes that do not learn follow the backbone; at the end they are patches and the model is ready."""
    recipe = {
        "stages": [
            {"name": "joint", "epochs": 2, "train": ["backbone", "addon"], "each_epoch": ["push"]},
            {"name": "push"},
            {"name": "last", "epochs": 1, "train": ["head"]},
        ]
    }
    torch.manual_seed(0)
    model, pushes = ProtoPNet(COLOURS, backbone=TINY, prototypes_per_class=1, dim=4, recipe=recipe), []
    project = model.prototypes.project
    model.prototypes.project = lambda *args, **kwargs: (pushes.append(model.current_epoch), project(*args, **kwargs))
    fit(model, ToyData(24))
    assert pushes == [0, 1, 2]
    model.require_ready()
    wrong = {"stages": [{"name": "joint", "epochs": 1, "train": ["head"], "each_epoch": ["pull"]}]}
    with pytest.raises(ValueError, match="runs 'pull' before each epoch, but ProtoPNet has no such action"):
        fit(ProtoPNet(COLOURS, backbone=TINY, prototypes_per_class=1, dim=4, recipe=wrong), ToyData(24))
