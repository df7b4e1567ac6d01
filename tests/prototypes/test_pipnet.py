"""PIP-Net: its terms worked out by hand, its sparse weights, and the statements of its explanations."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.small_models import IMAGES, RandomImages, pipnet
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.core.evidence import Evidence
from zoo.domain import ImageDomain, TableDomain
from zoo.prototypes import PIPNet
from zoo.prototypes.layers.second_view import alignment
from zoo.prototypes.pipnet import compressed
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage

TINY = {"name": "convnet", "widths": [4], "pool": []}


class TwoViews(ToyData):
    """Coloured squares, with the same square on other noise as the second view."""

    class Pairs(Dataset):
        def __init__(self, items: ColouredSquares) -> None:
            self.items = items

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, i: int) -> dict[str, Tensor]:
            item = self.items[i]
            return {**item, "view": item["input"] + 0.1 * torch.randn_like(item["input"])}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.Pairs(self.train), 16)


def test_every_cell_shares_out_one() -> None:
    small = pipnet(threshold=0.0)
    with torch.no_grad():
        logits = small.model.backbone(small.inputs)
        evidence = small.model.evidence(small.inputs)
    torch.testing.assert_close(evidence.support.sum(1), torch.ones(5, *logits.shape[2:]))
    expected = (logits.double().exp() / logits.double().exp().sum(1, keepdim=True)).flatten(2).max(2).values
    torch.testing.assert_close(evidence.activation.double(), expected, rtol=1e-5, atol=1e-6)


def test_presences_below_the_threshold_count_as_zero_outside_of_training() -> None:
    """They all counted, so that scores held many small terms that the published model leaves out."""
    small = pipnet(threshold=0.17)
    with torch.no_grad():
        z = small.model.backbone(small.inputs).double().exp()
        presence = (z / z.sum(1, keepdim=True)).flatten(2).amax(2)
        kept = torch.where(presence < 0.17, 0, presence)
        assert 0 < (kept == 0).float().mean() < 1
        weight = small.model.head.weight.double()
        torch.testing.assert_close(small.model(small.inputs).double(), kept @ weight.T, rtol=1e-5, atol=1e-6)
        small.model.training = True  # of the model alone, so that batch norm stays as it is
        training = small.model.evidence(small.inputs).activation
    torch.testing.assert_close(training.double(), presence, rtol=1e-5, atol=1e-6)


def test_the_published_threshold_is_the_default() -> None:
    assert pipnet().model.least_presence == 0.1 and PIPNet.upgrade_arguments({})["threshold"] == 0


def test_prototypes_that_are_nowhere_in_the_training_images_lose_their_weights() -> None:
    model, data = pipnet().model, RandomImages()
    with torch.no_grad():
        best = model.presence(data.inputs).flatten(2).amax((0, 2))
    model.least_presence = float(best.median())
    model.gallery(ProjectionSet(data))
    assert torch.equal((model.head.weight == 0).all(0), best <= model.least_presence)
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]; got 1.5"):
        pipnet(threshold=1.5)


def test_alignment_of_identical_views_is_the_log_of_the_squared_length() -> None:
    z = torch.randn(3, 5, 2, 4).softmax(1)
    expected = -z.double().square().sum(1).log().mean()
    torch.testing.assert_close(alignment(z, z).double(), expected, rtol=1e-5, atol=1e-6)
    one_hot = torch.eye(5).T[None, :, :, None]
    assert alignment(one_hot, one_hot).item() == pytest.approx(0, abs=1e-6)


def test_alignment_by_hand_and_its_gradient() -> None:
    """Two cells: inner products 0.5 · 0.2 + 0.5 · 0.8 = 0.5 and 0.9 · 0.6 + 0.1 · 0.4 = 0.58."""
    one = torch.tensor([[0.5, 0.9], [0.5, 0.1]]).view(1, 2, 1, 2).requires_grad_()
    two = torch.tensor([[0.2, 0.6], [0.8, 0.4]]).view(1, 2, 1, 2)
    value = alignment(one, two)
    assert value.item() == pytest.approx(-(math.log(0.5) + math.log(0.58)) / 2, abs=1e-6)
    value.backward()  # half of the whole derivative -z' / (z · z') / 2 cells, since each view follows the other
    torch.testing.assert_close(one.grad[0, :, 0, 0], torch.tensor([-0.2, -0.8]) / 0.5 / 2 / 2)


def test_scores_in_training_and_evaluation_by_hand() -> None:
    """p = (0.5, 1), W = ((2, 0), (1, 3)): p·W = (1, 3.5), and log(score² + 1) while training."""
    model = PIPNet(ImageDomain(classes=("a", "b"), size=(4, 4)), backbone=TINY, prototypes=2, tail=0)
    model.head.weight.data = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    evidence = Evidence(torch.tensor([[0.5, 1.0]]))
    assert model.eval().readout(evidence).tolist() == [[1.0, 3.5]]
    expected = [[math.log(2.0), math.log(13.25)]]
    torch.testing.assert_close(model.train().readout(evidence), torch.tensor(expected))
    terms = model.eval().losses(model.readout(evidence), evidence, {"target": torch.tensor([1])})
    assert terms["classification"].item() == pytest.approx(math.log(1 + 2 / 13.25), abs=1e-6)
    assert set(terms) == {"classification"}


def test_losses_of_a_batch_against_the_formulas() -> None:
    """Without a Trainer the epoch is 0: of a recipe that starts with the head, and of one that pretrains."""
    stages = [{"name": "joint", "epochs": 4, "train": ["backbone", "head"]}]
    model = PIPNet(IMAGES, backbone=TINY, tail=0, recipe={"stages": stages}).train()
    model.backbone.eval()  # batch norm would see each view alone
    batch = {"input": RandomImages(6).inputs, "view": RandomImages(6, seed=3).inputs, "target": torch.arange(6) % 3}
    with torch.no_grad():
        terms = model.losses(*model.step(batch["input"]), batch)
        z, other = (model.presence(batch[name]).double() for name in ("input", "view"))
        p, q = z.amax((2, 3)), other.amax((2, 3))
        weight = model.head.weight.double()
        scores = torch.log((torch.cat([p, q]) @ weight.T).square() + 1)
    log_p = scores - scores.exp().sum(1, keepdim=True).log()
    expected = {
        "classification": -log_p[torch.arange(12), batch["target"].repeat(2)].mean(),
        "alignment": -(z * other).sum(1).log().mean(),
        "presence": -(p.sum(0).tanh().log().mean() + q.sum(0).tanh().log().mean()) / 2,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].double(), value, rtol=1e-5, atol=1e-5)

    first = {"name": "pretrain", "epochs": 5, "train": ["backbone"]}
    pretrained = PIPNet(IMAGES, backbone=TINY, tail=0, recipe={"stages": [first, *stages]}).train()
    pretrained.load_state_dict(model.state_dict())
    pretrained.backbone.eval()
    with torch.no_grad():
        alone = pretrained.losses(*pretrained.step(batch["input"]), batch)
    assert alone.keys() == {"pretrain_alignment", "pretrain_presence"}
    torch.testing.assert_close(alone["pretrain_alignment"].double(), expected["alignment"] / 5, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone["pretrain_presence"].double(), expected["presence"], rtol=1e-5, atol=1e-5)


def test_the_map_of_a_mirror_image_is_mirrored_back() -> None:
    """Against a loop over cells: cell (i, j) of an image is compared with (i, w - 1 - j) of its mirror image."""
    stages = [{"name": "joint", "epochs": 4, "train": ["backbone", "head"]}]
    model = PIPNet(IMAGES, backbone=TINY, tail=0, recipe={"stages": stages}).train()
    model.backbone.eval()
    batch = {"input": RandomImages(3).inputs, "view": RandomImages(3, seed=3).inputs, "target": torch.arange(3)}
    batch["mirrored"] = torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        found = model.losses(*model.step(batch["input"]), batch)["alignment"]
        z, other = (model.presence(batch[name]).double() for name in ("input", "view"))
    b, _, h, w = z.shape
    terms = [
        math.log(float(z[n, :, i, j] @ other[n, :, i, w - 1 - j])) for n in range(b) for i in range(h) for j in range(w)
    ]
    assert found.item() == pytest.approx(-sum(terms) / len(terms), rel=1e-5)


def test_compressed_keeps_the_order() -> None:
    scores = torch.tensor([0.0, 1e-3, 0.5, 3.0, 80.0])
    assert compressed(scores).diff().gt(0).all() and compressed(scores)[0] == 0


def test_without_a_second_view_training_says_what_to_set() -> None:
    model = PIPNet(COLOURS, backbone=TINY, tail=0)
    with pytest.raises(ValueError, match=r"has one \(keys: input, target\); set data.init_args.views to 2"):
        fit(model, ToyData())


def test_learns_separable_images_with_few_weights_that_are_never_negative() -> None:
    stages = [
        {"name": "pretrain", "epochs": 2, "train": ["backbone", "addon"]},
        {"name": "head", "epochs": 1, "train": ["head"]},
        {"name": "joint", "epochs": 10, "train": ["backbone", "addon", "head"]},
        {"name": "gallery"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    lr = {"backbone": 0.01, "addon": 0.02, "head": 0.05}
    model = PIPNet(
        COLOURS, backbone=backbone, prototypes=8, tail=0, shrink=0.01, thumbnail=12, recipe={"stages": stages, "lr": lr}
    )
    lowest = []
    readout = model.readout

    def watched(evidence: Evidence) -> Tensor:
        lowest.append(model.head.weight.min().item())
        return readout(evidence)

    model.readout = watched
    trainer = fit(model, TwoViews(240))
    model.readout = readout
    model.eval()
    assert min(lowest) >= 0 and len(lowest) > 100
    weight = model.head.weight
    assert weight.eq(0).float().mean() > 0.2
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    test = ColouredSquares(90, seed=2)
    explanation = model.explain(test.inputs).check()
    assert explanation.target.eq(test.targets).float().mean() > 0.9
    assert metrics["val/global_size"] == (weight > 0).any(0).sum()
    val = model.explain(ColouredSquares(48, seed=1).inputs)
    assert metrics["val/local_size"] == pytest.approx((val.contributions > 1e-3).sum(1).float().mean().item())
    for k, unit in enumerate(explanation.units):
        assert (unit.picture is not None) == bool(weight[:, k].any()) == ("weights" in unit.source)


def test_the_head_alone_shrinks_only_where_it_learns() -> None:
    model = pipnet().model
    before = model.head.weight.detach().clone()
    model.head.requires_grad_(False)
    model.on_train_batch_end(None, None, 0)
    assert torch.equal(model.head.weight, before)
    model.head.requires_grad_(True)
    model.on_train_batch_end(None, None, 0)
    torch.testing.assert_close(model.head.weight.detach(), (before - 1e-3).clamp_min(0))


def test_gallery_finds_the_strongest_patches() -> None:
    model, data = pipnet().model, RandomImages()
    with torch.no_grad():
        model.head.weight.copy_((torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) - 0.5).clamp_min(0))
        model.head.weight[:, 2] = 0
        model.gallery(ProjectionSet(data))
        z = model.presence(data.inputs).flatten(2)  # (9, D, cells)
    value, cell = z.max(2)
    for k in range(z.shape[1]):
        order = value[:, k].argsort(descending=True)[:3]
        assert model.patches.examples.index[k].tolist() == order.tolist()
        assert model.patches.examples.cell[k].tolist() == cell[order, k].tolist()
        torch.testing.assert_close(model.patches.examples.value[k], value[order, k])
    used = (model.head.weight > 0).any(0)
    assert 0 < used.sum() < len(used)
    for k, unit in enumerate(model.units()):
        assert (unit.picture is not None) == bool(used[k])
        if used[k]:
            assert unit.source["image"] == f"noise-{int(model.patches.examples.index[k, 0])}.png"
            assert len(unit.source["patches"]) == 3 and "distance" not in unit.source
        else:
            assert unit.source == {"relevant": False}


@pytest.mark.parametrize(("train", "kept"), [(("head",), True), (("backbone", "head"), False), (("tail",), False)])
def test_patches_are_forgotten_when_the_prototypes_change(train: tuple[str, ...], kept: bool) -> None:
    model = pipnet().model
    model.on_stage_start(Stage("any", 1, train))
    assert bool((model.patches.examples.index >= 0).all()) == kept
    assert any(unit.picture is not None for unit in model.units()) == kept


def test_units_name_the_classes_they_have_a_weight_for() -> None:
    model = pipnet().model
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[0, 1], model.head.weight[2, 1], model.head.weight[1, 2] = 0.5, 1.5, 2.0
    units = model.units()
    assert list(units[1].source["weights"].items()) == [("star", 1.5), ("circle", 0.5)] and units[1].target is None
    assert units[2].target == 1 and units[2].source["weights"] == {"square": 2.0}
    assert units[0].source["relevant"] is False


def test_no_evidence_for_any_class_is_said() -> None:
    small = pipnet()
    with torch.no_grad():
        small.model.head.weight.zero_()
        small.model.head.weight[1, 0] = 2.0
    p = small.model.explain(small.inputs, 1).activation[:, 0]
    small.model.abstain_below = 2 * p.median().item()
    statements = small.model.explain(small.inputs, 1).statements
    for row, text in enumerate(statements):
        silent = 2 * p[row] < small.model.abstain_below
        assert text == (
            f"no evidence for any class: every score is below {small.model.abstain_below:g}"
            if silent
            else "1 prototype for square"
        )
    assert len(set(statements)) == 2
    assert small.model.explain(small.inputs, 0).statements[int(p.argmax())] == "0 prototypes for circle"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prototypes": 1}, "prototypes must be at least 2; got 1"),
        ({"prototypes": 0}, "prototypes must be at least 2; got 0"),
        ({"tail": -1}, "tail must be at least 0; got -1"),
        ({"tail": 4}, r"last 4 blocks of this backbone .*: it has 4 blocks\. .* or set tail to 0"),
        ({"backbone": {"name": "vit_tiny_patch16_224"}}, r"it has 1 blocks\. Expected a chain of more than 2 blocks"),
        ({"shrink": -0.1}, "shrink must be at least 0; got -0.1"),
        ({"patches": 0}, "patches must be at least 1; got 0"),
        ({"domain": ImageDomain(classes=("only",), size=(8, 8))}, "two or more classes; got 1 of modality 'image'"),
        ({"domain": TableDomain(classes=("a", "b"), features=("x",))}, "got 2 of modality 'table'"),
        ({"recipe": {"lr": {"tali": 1.0}}}, None),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str | None) -> None:
    given = {"domain": IMAGES, "backbone": TINY, **arguments}
    if message is None:
        with pytest.raises(ValueError, match="lr names 'tali', which is not a parameter group; did you mean 'tail'"):
            PIPNet(**given).configure_optimizers()
        return
    with pytest.raises(ValueError, match=message):
        PIPNet(**given)


def test_a_gallery_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="the training set is empty, so there are no examples to show"):
        pipnet().model.gallery(ProjectionSet(RandomImages(0)))


def test_one_view_is_enough_without_alignment() -> None:
    coefficients = {"alignment": 0, "pretrain_alignment": 0, "pretrain_presence": 0}
    recipe = {"stages": [{"name": "joint", "epochs": 1, "train": ["backbone", "addon", "head"]}]}
    model = PIPNet(
        COLOURS,
        {"name": "convnet", "widths": [4], "strided": True},
        prototypes=5,
        tail=0,
        places={"pooling": "sum", "support": "field"},
        recipe={**recipe, "coefficients": coefficients},
    )
    assert model.head.weight.mean().item() == pytest.approx(1 / 36, rel=0.2)  # 6 x 6 cells, so that scores start near 1
    x = ColouredSquares(2).inputs
    scores, evidence = model.train().step(x)
    terms = model.losses(scores, evidence, {"input": x, "target": torch.tensor([0, 1])})
    assert terms.keys() == {"classification", "presence"}
    torch.testing.assert_close(scores, evidence.activation @ model.head.weight.T)  # not compressed
    torch.testing.assert_close(evidence.activation.sum(1), torch.full((2,), 36.0))
