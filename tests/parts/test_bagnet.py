"""BagNet: the receptive field is as declared, and each patch is classified by itself."""

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.small_models import IMAGES, ROWS, bagnet
from zoo.domain import ImageDomain


def test_each_patch_sees_its_support_and_nothing_else() -> None:
    small = bagnet()
    model, x = small.model, small.inputs[:1].clone().requires_grad_()
    assert model.receptive_field == 5 and model.jump == 2
    evidence, largest = model.evidence(x), 0
    for k in range(evidence.activation.shape[1]):
        (gradient,) = torch.autograd.grad(evidence.state["unit_logits"][0, k].sum(), x, retain_graph=True)
        seen = gradient[0].abs().sum(0) > 0
        field = evidence.support[0, k].repeat_interleave(2, 0).repeat_interleave(2, 1)[:12, :10] > 0
        assert not (seen & ~field).any()
        rows, columns = seen.nonzero().T
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert height <= 5 and width <= 5
        largest = max(largest, height, width)
        top, left = model.units()[k].name.removeprefix("patch at ").split(", ")
        assert rows.min() >= int(top) and columns.min() >= int(left)
    assert largest == 5  # of some patch; dead units hide a line of others


def test_cells_of_any_convolutions_are_patches() -> None:
    """A padded trunk, whose first patches begin outside of the image; a gate closes patches entirely."""
    small = bagnet("gated")
    model, x = small.model, small.inputs[:1].clone().requires_grad_()
    assert model.receptive_field == 7 and model.jump == 4 and model.start == -3
    with torch.no_grad():
        torch.nn.init.normal_(model.gate.weight)
        model.gate.bias.copy_(-model.gate(model.backbone(x).flatten(2).mT).median() + model.gate.bias)
    evidence = model.evidence(x)
    closed = evidence.activation[0] == 0
    assert closed.any() and not closed.all()
    for k in range(evidence.activation.shape[1]):
        logits = evidence.activation[0, k] * evidence.state["unit_logits"][0, k]
        (gradient,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
        seen = gradient[0].abs().sum(0) > 0
        field = evidence.support[0, k].repeat_interleave(4, 0).repeat_interleave(4, 1)[:12, :10] > 0
        assert not (seen & ~field).any() and (bool(seen.any()) or closed[k])
    assert ((model.field > 0) & (model.field < 1)).any() and (model.field.flatten(1).amax(1) == 1).all()
    with pytest.raises(ValueError, match="receptive field is known"):
        bagnet(trunk={"name": "resnet18"})


def test_the_score_is_the_mean_of_local_classifiers() -> None:
    small = bagnet()
    cells = small.model.backbone(small.inputs)
    each = small.model.head(cells.flatten(2).mT)
    torch.testing.assert_close(small.model(small.inputs), each.mean(1))


@pytest.mark.parametrize(("wide", "field"), [(4, 33), (3, 17), (2, 9)])
def test_the_published_receptive_fields(wide: int, field: int) -> None:
    domain = ImageDomain(classes=("a", "b"), size=(64, 64))
    model = zoo.create_model("bagnet", domain=domain, widths=[4, 4, 4, 4], depths=[3, 4, 6, 3], wide=wide)
    assert model.receptive_field == field


def published_weights(classes: int = 3) -> dict[str, torch.Tensor]:
    """Random weights of a small BagNet under the published names: stages of 8 and 16 channels, of 2 and 1 blocks."""
    draw, state = torch.Generator().manual_seed(0), {}

    def convolution(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=draw) / (shape[1] * shape[2] * shape[3]) ** 0.5

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(channels, generator=draw) + 0.5

    convolution("conv1", 2, 3, 1, 1)
    convolution("conv2", 2, 2, 3, 3)
    norm("bn1", 2)
    for name, before, width, kernel in (("1.0", 2, 8, 3), ("1.1", 8, 8, 1), ("2.0", 8, 16, 3)):
        sizes = {"conv1": (width // 4, before, 1), "conv2": (width // 4, width // 4, kernel)}
        for i, (outs, ins, side) in enumerate([*sizes.values(), (width, width // 4, 1)], 1):
            convolution(f"layer{name}.conv{i}", outs, ins, side, side)
            norm(f"layer{name}.bn{i}", outs)
        if before != width:
            convolution(f"layer{name}.downsample.0", width, before, 1, 1)
            norm(f"layer{name}.downsample.1", width)
    state["fc.weight"], state["fc.bias"] = (
        torch.randn(classes, 16, generator=draw),
        torch.randn(classes, generator=draw),
    )
    return state


def published_logits(state: dict[str, torch.Tensor], x: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """The published computation: the shortcut is strided, then cut at the bottom and at the right."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = norm(F.conv2d(F.conv2d(x, state["conv1.weight"]), state["conv2.weight"]), "bn1").relu()
    for name in ("1.0", "1.1", "2.0"):
        stride = strides[int(name[0]) - 1] if name.endswith("0") else 1
        body = x
        for i in (1, 2, 3):
            body = F.conv2d(body, state[f"layer{name}.conv{i}.weight"], stride=stride if i == 2 else 1)
            body = norm(body, f"layer{name}.bn{i}")
            body = body.relu() if i < 3 else body
        if f"layer{name}.downsample.0.weight" in state:
            x = F.conv2d(x, state[f"layer{name}.downsample.0.weight"], stride=stride)
            x = norm(x, f"layer{name}.downsample.1")
        x = (body + x[:, :, : body.shape[2], : body.shape[3]]).relu()
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@torch.no_grad()
@pytest.mark.parametrize("strides", [(2, 1), (1, 2)])
def test_published_weights_give_published_logits(strides: tuple[int, ...]) -> None:
    """The shortcut was cut centrally, which changed the logits of published weights by a tenth."""
    state, x = published_weights(), torch.randn(2, 3, 20, 20)
    model = zoo.parts.from_bagnet(state, ImageDomain(classes=("a", "b", "c"), size=(20, 20)), strides)
    torch.testing.assert_close(model(x), published_logits(state, x, strides))
    model.explain(x).check()


def test_weights_of_other_networks_are_refused() -> None:
    domain = ImageDomain(classes=("a", "b"), size=(20, 20))
    with pytest.raises(ValueError, match=r"2 classes and 3 channels: head.bias is \(3,\), expected \(2,\)"):
        zoo.parts.from_bagnet(published_weights(), domain, (2, 1))
    with pytest.raises(ValueError, match=r"not the weights of a published BagNet.*named conv1\.weight"):
        zoo.parts.from_bagnet({"stem.weight": torch.zeros(1)}, domain)


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (IMAGES, {"shortcut": "left"}, "shortcut must be one of centre, corner; got 'left'"),
        (ROWS, {}, "BagNet reads images; this domain is of modality 'table'"),
        (IMAGES, {}, "each patch has 33 pixels, more than the images, 12 x 10"),
        (IMAGES, {"widths": [8], "depths": [1, 1], "strides": [1]}, "must name the same stages"),
        (IMAGES, {"widths": [8], "depths": [1], "strides": [1], "wide": 2}, "wide must be 0 to 1.*got 2"),
    ],
)
def test_invalid_arguments(domain, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("bagnet", domain=domain, **options)
