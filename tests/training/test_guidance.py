"""Guidance by masks: the loss against its formula, what is refused, and every family with units that have places."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor, nn

from tests import small_models
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.core.module import SelfInterpretable
from zoo.data import PartBirds
from zoo.domain import ImageDomain, TextDomain
from zoo.parts import Bcos
from zoo.prototypes import ProtoPNet
from zoo.training.cached_features import CachedFeatures
from zoo.training.further_terms import further_terms
from zoo.training.guidance import Guidance, GuidanceTerm
from zoo.training.recipe import parse_recipe

IMAGES = ImageDomain(classes=("a", "b", "c"), size=(8, 8), channels=3)
TEXTS = TextDomain(classes=("a", "b"), vocabulary=("good", "bad"), length=12)


class Cells(nn.Module):
    """Scores are sums over 4 x 4 cells of two pixels by two, one unit for each."""

    in_last_stage = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 16))

    def heat(self, x: Tensor, target: Tensor) -> Tensor:
        return (nn.functional.avg_pool2d(x[:, 0], 2).flatten(1) * self.weight[target]).clamp_min(0).view(-1, 4, 4)


def batch_of(masks: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"input": torch.rand(len(masks), 3, 8, 8), "target": torch.arange(len(masks)) % 3, "relevant": masks}


def term(model: Any, batch: dict[str, Tensor], **options: Any) -> Tensor:
    return GuidanceTerm(Guidance(rows=1.0, **options), IMAGES, True, "Cells")(model, batch, torch.empty(0))["guidance"]


def test_the_loss_is_the_share_of_the_evidence_outside_of_the_mask() -> None:
    torch.manual_seed(0)
    model, masks = Cells(), (torch.rand(4, 8, 8) < 0.3).float()
    masks[2] = torch.nan  # not annotated
    batch, wanted = batch_of(masks), []
    for i in (0, 1, 3):
        heat = model.heat(batch["input"][[i]], batch["target"][[i]])[0].detach()
        share = sum(
            heat[r, c] * masks[i, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() for r in range(4) for c in range(4)
        )
        wanted.append(float(1 - share / heat.sum()))
    found = term(model, batch, weight=0.5).item()
    assert found == pytest.approx(0.5 * sum(wanted) / 3, abs=1e-6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        term(model, batch).backward()
        optimizer.step()
    assert term(model, batch) < found  # it moves, without NaN from the image that has no mask
    assert term(model, batch_of(torch.full((2, 8, 8), torch.nan))).item() == 0


def test_what_it_needs_is_said() -> None:
    for wrong in ({"weight": 0.0}, {"rows": 0.0}, {"rows": 1.5}):
        with pytest.raises(ValueError, match=r"weight|rows"):
            Guidance(**wrong)
    with pytest.raises(ValueError, match="needs images with masks"):
        GuidanceTerm(Guidance(), TEXTS, True, "SOP")
    with pytest.raises(ValueError, match="needs one class for each image"):
        GuidanceTerm(Guidance(), ImageDomain(classes=("a", "b"), size=(8, 8), task="multilabel"), True, "SOP")
    with pytest.raises(ValueError, match="Tree has no contributions"):
        GuidanceTerm(Guidance(), IMAGES, False, "Tree")
    with pytest.raises(ValueError, match=r"the data have none; .*masks of ImageFolder or PartBirds"):
        term(Cells(), {k: v for k, v in batch_of(torch.ones(2, 8, 8)).items() if k != "relevant"})
    placeless = SimpleNamespace(in_last_stage=True, heat=lambda x, target: None, modules=list, eval=lambda: None)
    with pytest.raises(ValueError, match="the units of Cells have no location"):
        term(placeless, batch_of(torch.ones(2, 8, 8)))
    placeless.in_last_stage = False
    assert not GuidanceTerm(Guidance(), IMAGES, True, "Cells")(placeless, batch_of(torch.ones(2, 8, 8)), torch.empty(0))
    with pytest.raises(ValueError, match="weigth"):
        parse_recipe({"guidance": {"weigth": 1}})


@pytest.mark.parametrize("name", ["bagnet", "bcos", "sic", "protopnet", "pipnet", "sop"])
def test_every_family_learns_from_it(name: str) -> None:
    seed_everything(0, verbose=False)
    small = small_models.build(name)
    model: SelfInterpretable = small.model.train().requires_grad_(True)
    rows, (height, width) = len(small.inputs), model.domain.size  # pyright: ignore[reportAttributeAccessIssue]
    masks = torch.zeros(rows, height, width)
    masks[:, : height // 2] = 1
    batch = {"input": small.inputs, "target": torch.arange(rows) % len(model.domain.classes), "relevant": masks}
    found = GuidanceTerm(Guidance(rows=1.0), model.domain, True, name)(model, batch, torch.empty(0))["guidance"]
    found.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert 0 < found < 1 and all(bool(g.isfinite().all()) for g in grads) and any(bool((g != 0).any()) for g in grads)
    assert model.training


def test_heat_is_the_sum_of_supports_weighted_by_contributions() -> None:
    small = small_models.build("bagnet")
    model, target = small.model.eval(), torch.zeros(len(small.inputs), dtype=torch.long)
    one = model.explain(small.inputs, target, reference="zero")
    assert one.support is not None and one.contributions is not None
    wanted = (one.contributions.abs()[..., None, None] * one.support).sum(1)
    found = model.heat(small.inputs, target)
    assert found is not None and found.requires_grad
    torch.testing.assert_close(found.detach(), wanted)


class Marked(ColouredSquares):
    """The mask of an image is its square; every fifth image has none."""

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        mask, (top, left) = torch.zeros(12, 12), self.corners[i].tolist()
        mask[top : top + 5, left : left + 5] = 1
        return super().__getitem__(i) | {"relevant": mask if i % 5 else mask * torch.nan}


def test_a_recipe_trains_with_it_and_the_checkpoint_keeps_it() -> None:
    shares, data = [], ToyData(48)
    data.train, held_out = Marked(48), Marked(30, seed=2)
    rows = [item for item in (held_out[i] for i in range(30)) if not item["relevant"].isnan().any()]
    x, masks = (torch.stack([item[key] for item in rows]) for key in ("input", "relevant"))
    for guidance in (None, {"weight": 0.3, "rows": 1.0}):
        seed_everything(0, verbose=False)
        recipe = {"stages": [{"name": "train", "epochs": 12, "train": ["backbone", "head"]}], "lr": 0.01}
        model = Bcos(COLOURS, widths=[8], patch=2, recipe=recipe | {"guidance": guidance})
        trainer = fit(model, data)
        assert ("train/loss/guidance" in trainer.callback_metrics) == bool(guidance)
        with torch.no_grad():
            heat = model.eval().heat(x, model(x).argmax(1))
        inside = nn.functional.avg_pool2d(masks, 2)
        shares.append(float(((heat * inside).sum((1, 2)) / heat.sum((1, 2))).mean()))
    assert model.arguments["recipe"]["guidance"] == {"weight": 0.3, "rows": 1.0} and not model.further
    assert shares[1] > shares[0] + 0.03, shares


def test_data_without_masks_are_refused() -> None:
    recipe = {"stages": [{"name": "train", "epochs": 1, "train": ["backbone", "head"]}], "guidance": {"rows": 1.0}}
    with pytest.raises(ValueError, match="guidance needs masks"):
        fit(model := Bcos(COLOURS, widths=[8], recipe=recipe), ToyData(16))
    with pytest.raises(ValueError, match="guidance needs masks"):  # before anything is computed
        further_terms(model.recipe, model.domain, model, SimpleNamespace(datamodule=ToyData(16)))  # pyright: ignore


def test_it_reads_cached_features_as_it_reads_images(tmp_path: Path) -> None:
    data = PartBirds(masks=["beak", "wing"], count=8, val_count=2, test_count=2, classes=3, removal=0.0, batch_size=8)
    frozen = [{"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]}]
    model = ProtoPNet(data.domain, {"name": "convnet", "widths": [6], "pool": [0]}, 1, dim=4, recipe={"stages": frozen})
    features = CachedFeatures(data, model.eval(), tmp_path)
    cached = features.on_after_batch_transfer(next(iter(features.train_dataloader())), 0)
    plain = next(iter(data.train_dataloader()))
    each = [GuidanceTerm(Guidance(rows=1.0), model.domain, True, "")(model, b, torch.empty(0)) for b in (cached, plain)]
    torch.testing.assert_close(each[0]["guidance"], each[1]["guidance"], rtol=1e-2, atol=1e-3)  # half precision
