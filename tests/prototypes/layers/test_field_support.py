"""Supports from receptive fields: a unit does not change if pixels outside of its support change."""

from multiprocessing.pool import ThreadPool

import pytest
import torch
from torch import Tensor

from tests.small_models import build
from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes import PIPNet, ProtoPNet
from zoo.prototypes.layers.field_support import FieldSupport, MapPooling, Places, winning_cells
from zoo.training.modes import asking_for_scores
from zoo.views.html import page

DOMAIN = ImageDomain(classes=("a", "b"), size=(24, 20))
LOCAL = {"name": "bagnet", "widths": [8, 8], "depths": [1, 1], "strides": [2, 2], "wide": 2}  # 9 of 24 pixels
PADDED = {"name": "convnet", "widths": [4, 6], "strided": [2, 1]}


def models(pooling: str) -> list[SelfInterpretable]:
    torch.manual_seed(0)
    places = {"pooling": pooling, "support": "field"}
    net = ProtoPNet(DOMAIN, LOCAL, 2, 4, similarity="cosine", places=places, connections="own")
    net.prototypes.pushed.fill_(True)
    pip = PIPNet(DOMAIN, PADDED, prototypes=5, tail=0, threshold=0.25 if pooling == "sum" else 0.0, places=places)
    return [net.eval(), pip.eval()]


def changed_outside(x: Tensor, support: Tensor) -> Tensor:
    """The image with other pixels wherever the support (H, W) is 0."""
    return torch.where(support > 0, x, torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_the_cells_of_a_unit_depend_on_its_support_only(pooling: str) -> None:
    x = torch.randn(1, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    for model in models(pooling):
        evidence = model.evidence(x)
        assert evidence.support.shape[2:] == (24, 20) and 0 <= evidence.support.min() <= evidence.support.max()
        for k in (0, 3):
            other = model.evidence(changed_outside(x, evidence.support[0, k]))
            before, after = evidence.activation[0, k], other.activation[0, k]
            if before == 0:
                continue
            # Other cells may fire more in the new pixels; those of the support cannot fire less.
            assert after >= before - 1e-5


def test_pages_say_what_boxes_show() -> None:
    x = torch.randn(1, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    exact = page(models("max")[0].explain(x), ["image"])
    assert "pixels that a unit depends on" in exact and "receptive field is larger" not in exact
    cells = {"name": "convnet", "widths": [4, 6], "pool": []}  # a cell for each pixel, which sees more than that pixel
    published = ProtoPNet(DOMAIN, cells, 2, 4, similarity="cosine")
    published.prototypes.pushed.fill_(True)
    explanation = published.eval().explain(x)
    assert explanation.support is not None and explanation.support.shape[2:] == (24, 20)
    assert "receptive field is larger" in page(explanation, ["image"])


def test_the_winning_cell_alone_is_shown_for_the_maximum() -> None:
    maps = torch.tensor([[[[0.2, 0.9], [0.9, 0.1]]]])
    assert winning_cells(maps).tolist() == [[[[0, pytest.approx(0.9)], [0, 0]]]]
    pooling = MapPooling(Places(support="cell"), create_backbone(PADDED, 3), DOMAIN, "a model")
    assert pooling.support(maps).equal(winning_cells(maps)) and pooling(maps).tolist() == [[pytest.approx(0.9)]]
    assert pooling.support(maps).amax((2, 3)).equal(pooling(maps))  # what is shown is what counts


def test_support_and_boxes_by_hand() -> None:
    """Two cells of a 1 x 1 convolution of stride 2 see one pixel of each four; those of 3 x 3 overlap."""
    backbone = create_backbone({"name": "convnet", "widths": [4], "strided": [2]}, 3)
    seen = FieldSupport(backbone, ImageDomain(classes=("a", "b"), size=(4, 5)), "a model")
    assert seen.rows.tolist() == [[1, 1, 0, 0], [0, 1, 1, 1]]  # the first field starts at -1
    maps = torch.zeros(1, 1, 2, 3)
    maps[0, 0, 0, 0], maps[0, 0, 1, 0] = 0.5, 0.5
    expected = torch.tensor([0.25, 0.5, 0.25, 0.25])[:, None] * torch.tensor([1.0, 1, 0, 0, 0])
    torch.testing.assert_close(seen(maps)[0, 0], expected)
    assert seen.boxes(torch.tensor([0, 5])).tolist() == [[0, 0, 2, 2], [1, 3, 4, 5]]


def test_a_sum_loses_what_a_cell_gave() -> None:
    backbone = create_backbone(PADDED, 3)
    pooling = MapPooling(Places("sum"), backbone, DOMAIN, "a model")
    maps = torch.rand(2, 3, 4, 4)
    fewer = maps.clone()
    fewer[:, :, 1, 2] = 0
    torch.testing.assert_close(pooling(maps) - pooling(fewer), maps[:, :, 1, 2])
    assert pooling.support(maps) is maps and pooling.boxes is None


def test_unknown_fields_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="receptive field is known"):
        PIPNet(DOMAIN, "resnet10t", prototypes=5, tail=0, places={"support": "field"})
    with pytest.raises(ValueError, match="sees 9 pixels, more than the images"):
        FieldSupport(create_backbone(LOCAL, 3), ImageDomain(classes=("a", "b"), size=(8, 20)), "a model")
    with pytest.raises(ValueError, match="pooling"):
        Places(pooling="median")
    with pytest.raises(ValueError, match="support: cell shows one cell, and pooling: sum adds all of them"):
        Places(pooling="sum", support="cell")
    with pytest.raises(ValueError, match="connections"):
        ProtoPNet(DOMAIN, LOCAL, 2, 4, connections="none")


def test_own_connections_stay_non_negative_and_of_the_class() -> None:
    model = ProtoPNet(DOMAIN, LOCAL, 2, 4, connections="own")
    assert torch.equal(model.head.weight, model.own.float())
    with torch.no_grad():
        model.head.weight.sub_(1.5 * torch.eye(2, 4))
    model.on_train_batch_end(None, None, 0)
    assert torch.equal(model.head.weight, torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 1]]))


def test_own_connections_explain_a_class_by_its_own_prototypes() -> None:
    """Regression: relative to the runner-up, the rival's prototypes counted as well."""
    x = torch.randn(3, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    model = ProtoPNet(DOMAIN, LOCAL, 2, 4, connections="own").eval()
    model.prototypes.pushed.fill_(True)
    told = model.explain(x, torch.tensor([0, 1, 0]))
    assert told.contributions is not None
    assert torch.equal(told.contributions != 0, model.own[told.target])
    assert ProtoPNet(DOMAIN, LOCAL, 2, 4).reference == "runner-up"


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_scores_alone_cost_no_supports(pooling: str) -> None:
    x, computed = torch.randn(1, 3, 24, 20, generator=torch.Generator().manual_seed(0)), []
    for model in models(pooling):
        model.pooling.field.register_forward_hook(lambda *_: computed.append(True))
        scores = model(x)
        assert not computed
        explanation = model.explain(x)
        assert computed and explanation.support is not None and torch.equal(scores, explanation.scores)
        with ThreadPool(1) as other, asking_for_scores():  # what one thread asks for is not what the others get
            assert other.apply(model.explain, (x,)).support is not None
        computed.clear()


@pytest.mark.parametrize("name", ["pipnet", "protopnet", "protopool", "prototree", "sop"])
def test_evidence_without_supports_gives_the_same_scores(name: str) -> None:
    small = build(name)
    with torch.no_grad():
        whole = small.model.step(small.inputs)
        with asking_for_scores():
            alone = small.model.step(small.inputs)
    assert alone[1].support is None and whole[1].support is not None
    assert torch.equal(alone[0], whole[0])
