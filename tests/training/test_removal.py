"""Removal-consistent training: the loss of hand-made models, its regions and imputers, and every family."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor, nn

from tests import small_models, toy
from zoo.core.evidence import Evidence
from zoo.domain import ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.metrics.faithfulness import imputers as measured
from zoo.metrics.faithfulness.elements import random_masks
from zoo.prototypes import ProtoPNet
from zoo.training.removal import Removal, RemovalTerm, imputers
from zoo.training.removal.regions import random_regions
from zoo.training.removal.term import covered, entropy

IMAGES = ImageDomain(classes=("a", "b", "c"), size=(8, 8), channels=3)
DOMAINS = (
    IMAGES,
    SeriesDomain(classes=("a", "b", "c"), variables=("x", "y"), length=20),
    TableDomain(classes=("a", "b", "c"), features=tuple("abcdefgh")),
    TextDomain(classes=("a", "b", "c"), vocabulary=("good", "bad", "food", "loud"), length=12),
)


class Sum(nn.Module):
    """Linear in the 64 pixels of the first channel, with one unit for each; `bias` breaks that for removed pixels."""

    additive, space, in_last_stage, current_epoch, max_epochs = True, "logit", True, 9, 10

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 64))

    def step(self, x: Tensor) -> tuple[Tensor, Evidence]:
        activation = x[:, 0].flatten(1)
        support = torch.eye(64).view(1, 64, 8, 8).expand(len(x), -1, -1, -1)
        return activation @ self.weight.T, Evidence(activation, support)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return evidence.activation * self.weight[target], torch.zeros(len(target))


def term(model: Any, batch: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
    found = RemovalTerm(Removal(rows=1.0, **options), IMAGES, True, "Sum")
    return found(model, batch, torch.empty(0))


def test_a_linear_model_is_consistent_if_the_fill_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    seed_everything(0, verbose=False)
    model, batch = Sum(), {"input": torch.randn(6, 3, 8, 8), "target": torch.arange(6) % 3}
    wrong = term(model, batch, consistency=1.0)["removal_consistency"]
    monkeypatch.setitem(imputers.FILLS, "noise", torch.zeros_like)
    right = term(model, batch, consistency=1.0, imputers=("noise",))["removal_consistency"]
    assert right < 1e-10 < 0.1 < wrong
    wrong.backward()
    assert model.weight.grad is not None and model.weight.grad.abs().sum() > 0


def test_consistency_rises_after_the_task_is_learned() -> None:
    options = Removal(consistency=1.0, start=0.2, full=0.6)
    assert [round(options.ramp(p), 6) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == [0, 0, 0.5, 1, 1]
    model, batch = Sum(), {"input": torch.randn(6, 3, 8, 8), "target": torch.arange(6) % 3}
    model.current_epoch = 0
    assert not term(model, batch, consistency=1.0)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.modality)
def test_regions_and_fills_are_not_those_of_the_metrics(domain: Any) -> None:
    assert not set(imputers.NAMES[domain.modality]) & set(measured.NAMES[domain.modality])
    x = domain.example(40, torch.Generator().manual_seed(0))
    regions = random_regions(x, domain, (0.1, 0.3))
    sizes = regions.flatten(1).sum(1)
    assert regions.shape == (x.shape[:1] + x.shape[-2:] if domain.modality == "image" else x.shape) and sizes.min() > 0
    if domain.modality != "table":  # which has no other regions than sets of features
        theirs = random_masks(x, torch.arange(40), domain, (0.1, 0.2, 0.3), 64, 0)
        same = (theirs == regions.flatten(1)[:, None]).all(2).any(1) & (sizes > 1)
        assert same.float().mean() < 0.5
    for fill in imputers.fills_for(domain):
        assert fill(x).shape == x.shape and fill(x).dtype == x.dtype
    if domain.modality == "text":
        assert not (regions & (x == 0)).any() and ((imputers.words(x) == 0) == (x == 0)).all()


def test_regions_do_not_depend_on_what_the_picture_shows() -> None:
    """Object-shaped regions are left to the metrics."""
    found = []
    for x in (torch.zeros(4, 3, 32, 32), torch.randn(4, 3, 32, 32)):
        torch.manual_seed(3)
        found.append(random_regions(x, IMAGES, (0.1, 0.3)))
    assert torch.equal(*found)


def test_coverage_and_entropy() -> None:
    support = torch.zeros(1, 2, 2, 2)
    support[0, 0, 0] = 1  # the upper half
    support[0, 1, 1, 1] = 0.5  # one cell
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, :, 2:] = True
    assert covered(support, region).tolist() == [[0.5, 1.0]]
    series = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    assert covered(series, torch.tensor([[[True, False], [True, True], [True, True], [True, True]]])).item() == 0.75
    assert entropy(torch.ones(2, 4, 3)).exp().allclose(torch.tensor(4.0))


SMALL = (
    ("bagnet", ""), ("sop", ""), ("protopnet", ""), ("pipnet", ""), ("prototree", ""), ("nam", ""), ("sop", "series"),
    ("sop", "texts"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "variant"), SMALL, ids="-".join)
def test_every_family_trains_with_it(name: str, variant: str) -> None:
    seed_everything(0, verbose=False)
    small = small_models.build(name, variant) if variant else small_models.build(name)
    model: Any = small.model.train().requires_grad_(True)
    batch = {"input": small.inputs, "target": torch.arange(len(small.inputs)) % len(model.domain.classes)}
    more = {"consistency": 1.0, "compact": 0.1} if model.additive else {}
    options = Removal(label=1.0, rows=1.0, start=0.0, full=0.0, **more)
    terms = RemovalTerm(options, model.domain, model.additive, name)(model, batch, torch.empty(0))
    assert set(terms) == {"removal_label", *(f"removal_{what}" for what in more)}
    torch.stack([*terms.values()]).sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(t.isfinite()) for t in terms.values()) and any(bool((g != 0).any()) for g in grads)
    assert model.training


def test_a_recipe_trains_with_it_and_the_checkpoint_keeps_it() -> None:
    seed_everything(0, verbose=False)
    stages = [{"name": "joint", "epochs": 2, "train": ["backbone", "addon", "prototypes", "head"]}, {"name": "push"}]
    stages.append({"name": "last", "epochs": 1, "train": ["head"]})
    removal = {"label": 0.5, "consistency": 0.5, "start": 0, "full": 0.5}
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    model = ProtoPNet(
        toy.COLOURS, backbone, prototypes_per_class=2, dim=4, recipe={"stages": stages, "removal": removal}
    )
    trainer = toy.fit(model, toy.ToyData(48))
    logged = {k for k in trainer.callback_metrics if "removal" in k}
    assert logged == {"train/loss/removal_label", "train/loss/removal_consistency"}
    assert model.arguments["recipe"]["removal"]["consistency"] == 0.5 and not model.further


def test_wrong_options_are_refused() -> None:
    for wrong in ({"label": -1}, {"rows": 0}, {"share": (0.5, 0.1)}, {"start": 0.9, "full": 0.5}):
        with pytest.raises(ValueError, match=r"label|rows|share|start"):
            Removal(**wrong)
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        RemovalTerm(Removal(label=1.0, imputers=("nose",)), IMAGES, True, "Sum")
    with pytest.raises(ValueError, match="Sum has no contributions"):
        RemovalTerm(Removal(consistency=1.0), IMAGES, False, "Sum")
    placeless = SimpleNamespace(in_last_stage=True)
    found = RemovalTerm(Removal(consistency=1.0), IMAGES, True, "CBM")
    with pytest.raises(ValueError, match="the units of CBM have no location"):
        found._contributions(placeless, torch.zeros(2, 3), Evidence(torch.ones(2, 4)), torch.zeros(2).long())
