"""The fine annotation loss: norms of activations outside of masks, by a plain loop."""

import pytest
import torch

from tests.small_models import IMAGES, RandomImages, protopnet
from zoo.prototypes import ProtoPNet
from zoo.prototypes.layers.fine_annotation import fine_annotation


def test_by_hand() -> None:
    maps = torch.tensor([[[[3.0, 4.0]], [[1.0, -2.0]]]])  # one image, two prototypes, two cells
    own = torch.tensor([[True, False]])
    relevant = torch.tensor([[[1.0, 0, 0, 0]]])  # one pixel of the first cell is marked
    assert fine_annotation(maps, own, {"relevant": relevant}).item() == pytest.approx(4 + 1)
    assert fine_annotation(maps, ~own, {"relevant": relevant}).item() == pytest.approx(0 + 5)
    everywhere = torch.ones(1, 1, 4)
    assert fine_annotation(maps, own | True, {"relevant": everywhere}).item() == 0


def test_images_without_a_mask_do_not_count_and_flat_maps_have_a_gradient() -> None:
    maps = torch.rand(3, 4, 2, 2).requires_grad_()
    own = torch.rand(3, 4) > 0.5
    relevant = torch.zeros(3, 6, 6)
    relevant[0, :3, :3] = 1
    relevant[1:] = torch.nan
    loss = fine_annotation(maps, own, {"relevant": relevant})
    one = fine_annotation(maps[:1], own[:1], {"relevant": relevant[:1]})
    torch.testing.assert_close(loss, one)
    loss.backward()
    assert maps.grad is not None and not maps.grad[1:].any() and maps.grad.isfinite().all()
    assert fine_annotation(maps, own, {"relevant": relevant * torch.nan}).item() == 0
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    fine_annotation(zero, own[:1, :1], {"relevant": relevant[:1]}).backward()
    assert zero.grad is not None and zero.grad.eq(0).all()


def test_of_a_model_it_is_a_sum_over_prototypes_and_cells() -> None:
    """All from distances that are computed anew, prototype by prototype and cell by cell."""
    recipe = {"coefficients": {"fine_annotation": 0.1}}
    model = protopnet(recipe=recipe).model.train()
    x, target = RandomImages(4, seed=5).inputs, torch.tensor([0, 1, 2, 0])
    relevant = (torch.rand(4, *IMAGES.size, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    relevant[3] = torch.nan
    scores, evidence = model.step(x)
    found = model.losses(scores, evidence, {"input": x, "target": target, "relevant": relevant})["fine_annotation"]
    with torch.no_grad():
        z = model.addon(model.backbone(x))
    rows, columns = z.shape[2:]
    total = 0.0
    for i in range(3):
        for j, vector in enumerate(model.prototypes.vectors.detach()):
            square = 0.0
            for r in range(rows):
                for c in range(columns):
                    d = float((z[i, :, r, c] - vector).square().sum())
                    top, bottom = r * 12 // rows, -(-(r + 1) * 12 // rows)
                    left, right = c * 10 // columns, -(-(c + 1) * 10 // columns)
                    inside = bool(relevant[i, top:bottom, left:right].any()) and j // 2 == int(target[i])
                    square += 0 if inside else torch.log(torch.tensor((d + 1) / (d + 1e-4))).item() ** 2
            total += square**0.5 / 3
    assert found.item() == pytest.approx(total, rel=1e-4)


def test_it_needs_masks_and_costs_nothing_without_its_coefficient() -> None:
    x = RandomImages(4).inputs
    model = protopnet(recipe={"coefficients": {"fine_annotation": 0.1}}).model.train()
    with pytest.raises(ValueError, match=r"fine_annotation needs masks .* data.init_args.masks of ImageFolder"):
        model.losses(*model.step(x), {"input": x, "target": torch.zeros(4).long()})
    plain = protopnet().model.train()
    assert "map" not in plain.evidence(x).state
    assert "fine_annotation" not in plain.losses(*plain.step(x), {"target": torch.zeros(4).long()})
    assert "map" not in model.eval().evidence(x).state
    with pytest.raises(ValueError, match="no loss term 'fine_anotation'; did you mean 'fine_annotation'"):
        ProtoPNet(IMAGES, recipe={"coefficients": {"fine_anotation": 1.0}})
