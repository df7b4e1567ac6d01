"""Keypoint counting against a double loop over patches, and what its explanation promises."""

import pytest
import torch
from torch.nn import functional as F

from tests.prototypes.layers.test_matching import pairs_by_loop
from tests.small_models import IMAGES, RandomImages, halves, kcc
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.domain import ImageDomain
from zoo.prototypes import KeypointCounting
from zoo.prototypes.kcc import outwards
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [8], "pool": [0]}


@pytest.mark.parametrize("foreground", ["none", "patches", "pairs"])
def test_counts_are_those_of_a_double_loop(foreground: str) -> None:
    """Only the foreground competed; as published, all patches compete, and then pairs in the foreground count."""
    model, x = kcc(exemplars=2, points={"keypoints": 0, "foreground": foreground}).model, halves()
    explanation = model.explain(x).check()
    with torch.no_grad():
        maps = model.backbone(x)
    vectors, cells = model.vectors(maps), model.usable.shape[1]
    every = torch.ones(5, cells, dtype=torch.bool)
    mask = every if foreground == "none" else model.in_foreground(maps)
    exemplars = model.bank.patches.flatten(0, 1)
    usable = model.usable.flatten()
    assert 0 < usable.float().mean() < 1 or foreground == "none"
    for b in range(5):
        if foreground == "pairs":
            all_pairs = pairs_by_loop(vectors[b], exemplars, every[b], torch.ones_like(usable))
            pairs = [(i, j) for i, j in all_pairs if mask[b, i] and usable[j]]
            assert 0 < len(pairs) < len(all_pairs)
        else:
            pairs = pairs_by_loop(vectors[b], exemplars, mask[b], usable)
            assert len(pairs) > 3
        counts, score = torch.zeros(6), torch.zeros(6)
        for i, j in pairs:
            similarity = (1 + F.cosine_similarity(vectors[b, i], exemplars[j].float(), dim=0).item()) / 2
            counts[j // cells] += 1
            score[j // cells] += 1 + similarity / (cells + 1)
        assert explanation.details["keypoints"][b].tolist() == counts.tolist()
        torch.testing.assert_close(explanation.activation[b], score, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(explanation.scores[b], score.view(3, 2).sum(1), rtol=1e-5, atol=1e-5)
        assert torch.equal(explanation.scores[b].floor(), counts.view(3, 2).sum(1))
        query, other = explanation.details["query cell"][b], explanation.details["exemplar cell"][b]  # (K, P) each
        found = [(int(query[k, p]), k * cells + int(other[k, p])) for k, p in (query >= 0).nonzero().tolist()]
        assert sorted(found) == pairs


@pytest.mark.parametrize("foreground", ["patches", "pairs"])
def test_pairs_that_need_not_be_mutual_are_those_of_a_loop(foreground: str) -> None:
    points = {"keypoints": 0, "foreground": foreground, "mutual": False}
    model, x = kcc(exemplars=2, points=points).model, halves()
    explanation = model.explain(x).check()
    with torch.no_grad():
        maps = model.backbone(x)
    vectors, mask, usable = model.vectors(maps), model.in_foreground(maps), model.usable.flatten()
    exemplars, cells = model.bank.patches.float().flatten(0, 1), model.usable.shape[1]
    for b in range(5):
        counts = torch.zeros(6)
        for i in mask[b].nonzero()[:, 0].tolist():
            distance = (vectors[b, i] - exemplars).norm(dim=1)
            if foreground == "patches":
                distance[~usable] = torch.inf
            nearest = int(distance.argmin())
            counts[nearest // cells] += usable[nearest]
        assert explanation.details["keypoints"][b].tolist() == counts.tolist() and counts.sum() > 3


@pytest.mark.parametrize("keypoints", [0, 4])
def test_an_exemplar_matches_all_of_its_keypoints_and_no_other(keypoints: int) -> None:
    points = {"keypoints": keypoints, "foreground": "none"}
    model = kcc(exemplars=3, points=points).model  # every image is an exemplar
    explanation = model.explain(RandomImages().inputs).check()
    count = keypoints or model.usable.shape[1]
    slot = {int(i): k for k, i in enumerate(model.bank.provenance.index)}
    for b in range(9):
        expected = torch.zeros(9)
        expected[slot[b]] = count
        assert explanation.details["keypoints"][b].tolist() == expected.tolist()
        assert explanation.activation[b, slot[b]].item() == pytest.approx(count * (1 + 1 / (count + 1)), rel=1e-3)
        cells = explanation.details["query cell"][b, slot[b]]
        assert torch.equal(cells, explanation.details["exemplar cell"][b, slot[b]])
        assert len(set(cells.tolist())) == count
        assert ((explanation.support[b, slot[b]] > 0.99).flatten().nonzero()[:, 0] == cells).all()
        assert f"{count} of {count} matched keypoints are in exemplars of" in explanation.statements[b]


def test_counts_do_not_exceed_the_keypoints() -> None:
    model = kcc(exemplars=2, points={"keypoints": 3, "foreground": "none"}).model
    explanation = model.explain(halves()).check()
    assert explanation.details["keypoints"].sum(1).tolist() == [3] * 5
    assert explanation.details["query cell"].shape == (5, 6, 3)


def test_the_component_points_from_the_border_to_the_middle() -> None:
    direction = F.normalize(torch.randn(5), dim=0)
    cells = torch.zeros(4, 4, 5)
    cells[1:3, 1:3] = 2 * direction
    covariance = torch.eye(5) / 10 + direction[:, None] * direction
    for sign in (1, -1):
        axis = outwards(sign * cells.flatten(0, 1), covariance.double(), (4, 4))
        torch.testing.assert_close(axis, sign * direction, rtol=1e-4, atol=1e-4)


def test_learns_nothing_and_still_classifies_after_an_ordinary_fit() -> None:
    domain = COLOURS
    model = KeypointCounting(domain, backbone=TINY, exemplars=6, points={"foreground": "none"}, thumbnail=12)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    with pytest.raises(
        RuntimeError, match=r"this KeypointCounting has no training images .*action gather.*call gather\(\)"
    ):
        model.explain(ColouredSquares(2).inputs)
    fit(model, ToyData())
    model.eval()
    test = ColouredSquares(60, seed=2)
    explanation = model.explain(test.inputs).check()
    assert explanation.target.eq(test.targets).float().mean() > 0.6
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert model.units()[0].source["image"].startswith("red/")


def test_gathering_again_forgets_what_was_there() -> None:
    model = kcc(exemplars=3).model
    names = [unit.source["image"] for unit in model.units()]
    model.gather(ProjectionSet(RandomImages(6, seed=7)))
    again = model.units()
    assert names == [f"noise-{c + 3 * q}.png" for c in range(3) for q in range(3)]
    assert [unit.source.get("image") for unit in again[:3]] == ["noise-0.png", "noise-3.png", None]
    assert (model.bank.patches[2] == 0).all() and not model.usable[2].any()
    model.explain(halves()).check()


def test_a_class_without_images_is_named() -> None:
    domain = ImageDomain(classes=("circle", "square", "star", "moon"), size=(12, 10))
    model = KeypointCounting(domain, backbone=TINY, exemplars=1, thumbnail=8)
    with pytest.raises(ValueError, match=r"1 of 4 classes have no training image to compare with: 'moon' \(3\)"):
        model.gather(ProjectionSet(RandomImages()))


def test_older_checkpoints_keep_their_rules() -> None:
    former = {"exemplars": 6, "keypoints": 4, "foreground": True, "margin": 0.3}
    points = {"keypoints": 4, "foreground": "patches", "margin": 0.3, "representative": "similarity"}
    assert KeypointCounting.upgrade_arguments(former) == {"exemplars": 6, "points": points}
    without = KeypointCounting.upgrade_arguments({"foreground": False})["points"]
    assert without == {"foreground": "none", "representative": "similarity"}
    current = dict(KeypointCounting(IMAGES, backbone=TINY).hparams)
    assert KeypointCounting.upgrade_arguments(current) == current


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "measure", "epochs": 1, "train": []}], "its recipe has no action gather; write"),
        ([{"name": "gather"}, {"name": "joint", "epochs": 1, "train": ["backbone"]}], "its recipe trains backbone"),
    ],
)
def test_recipes_that_gather_nothing_or_train_are_refused(stages: list[dict], message: str) -> None:
    model = KeypointCounting(COLOURS, backbone=TINY, exemplars=1, recipe={"stages": stages})
    with pytest.raises(ValueError, match=message):
        fit(model, ToyData())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exemplars": 0}, "exemplars must be at least 1; got 0"),
        ({"points": {"keypoints": -1}}, "keypoints must be at least 0; got -1"),
        ({"points": {"foreground": True}}, "foreground must be one of pairs, patches, none; got 'True'"),
        ({"choice": "random"}, "choice must be one of medoids, nearest; got 'random'"),
        ({"reduction": {"dim": 99}}, "dim must be 1 to 8"),
        ({"reduction": {"dims": 9}}, "reduction has no option 'dims'; did you mean 'dim'"),
        (
            {"backbone": {"name": "convnet", "widths": [4] * 4, "pool": [0, 1, 2]}},
            "12 x 10 is 1 x 1; choose a backbone",
        ),
        ({"domain": ImageDomain(classes=("only",), size=(8, 8))}, "two or more classes; got 1 of modality 'image'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointCounting(**{"domain": IMAGES, "backbone": TINY, **arguments})
