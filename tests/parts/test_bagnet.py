"""BagNet: the receptive field is as declared, and each patch is classified by itself."""

import pytest
import torch

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


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (ROWS, {}, "BagNet reads images; this domain is of modality 'table'"),
        (IMAGES, {}, "each patch has 33 pixels, more than the images, 12 x 10"),
        (IMAGES, {"widths": [8], "depths": [1, 1], "strides": [1]}, "must name the same stages"),
        (IMAGES, {"widths": [8], "depths": [1], "strides": [1], "wide": 2}, "wide must be 0 to 1.*got 2"),
    ],
)
def test_invalid_arguments(domain, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("bagnet", domain=domain, **options)
