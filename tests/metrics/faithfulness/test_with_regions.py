"""M12 to M14: units that are parts, important factors, concept interventions; by hand and on a linear model."""

import pytest
import torch
from scipy.stats import false_discovery_control
from torch import Tensor, nn

import zoo
from tests.metrics.faithfulness.linear_model import CLASSES, SIDE, Pixels, linear_case
from zoo.data import ConceptToy
from zoo.metrics.faithfulness import (
    CONTROLS,
    Case,
    ErrorControlledImportance,
    InterventionResponse,
    Subject,
    UnitPurity,
)
from zoo.metrics.faithfulness.error_control import discoveries, importance_threshold


def parts_case(subject: Subject, count: int = 200) -> Case:
    """The linear world with one region for the pixels of each class."""
    x = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    regions = torch.zeros(count, CLASSES, SIDE, SIDE)
    for c in range(CLASSES):
        regions[:, c] = subject.model.own[c].view(SIDE, SIDE).float()
    return Case(subject, x, torch.arange(count), regions=regions)


class Rows(Pixels):
    """Three units, each the sum over the six pixels of one class's row; a linear layer on top."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = self.head.weight.detach().clone()
        self.head = nn.Linear(CLASSES, CLASSES, bias=False)
        self.head.weight = nn.Parameter(torch.eye(CLASSES))

    def evidence(self, x: Tensor):
        told = super().evidence(x)
        places = self.own.float().unflatten(1, (SIDE, SIDE)).expand(x.shape[0], -1, -1, -1)
        return type(told)(x.flatten(1) @ self.weights.T, places)

    def units(self):
        return super().units()[:CLASSES]


def test_units_that_are_parts_are_pure() -> None:
    pure, shuffled = UnitPurity(), UnitPurity()
    pure.update(parts_case(Subject(Rows())))
    found = pure.compute()
    assert found["purity"] == 1 and found["consistency"] == 1 and found["parts"] == 3 and found["lift"] > 0.5
    shuffled.update(parts_case(CONTROLS["monolith"](Subject(Rows()))))
    assert shuffled.compute()["purity"] == 1 and shuffled.compute()["lift"] == 0  # everything everywhere is no lift
    pixels = UnitPurity()
    pixels.update(parts_case(Subject(Pixels())))
    assert pixels.compute()["purity"] == 0  # a pixel never holds half of a part


def test_purity_by_a_loop() -> None:
    metric, case = UnitPurity(), parts_case(CONTROLS["rotated basis"](Subject(Pixels())), 80)
    metric.update(case)
    activation, support = case.explanation.activation.double(), case.explanation.support.flatten(2)
    used = metric.values[0][..., 1].any(0)
    expected = []
    for k in range(activation.shape[1]):
        if used[k]:
            fires = activation[:, k] >= activation[:, k].quantile(0.9)
            strong = support[:, k] >= 0.5 * support[:, k].amax(1, keepdim=True)
            held = (strong[:, None] & (case.regions > 0)).sum(2) >= 3  # half of six pixels
            expected.append((held[fires].double().mean(0)).amax().item())
    assert metric.samples()[:, 0].tolist() == pytest.approx(expected)


def test_importance_of_a_linear_world() -> None:
    model = Pixels()
    x = torch.randn(300, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def without(ids: Tensor, factor: str) -> Tensor:
        return x[ids] * ~model.own[int(factor)].view(SIDE, SIDE)

    found = {}
    for name, shown in {"truth": Subject(model), "shuffled": CONTROLS["shuffled supports"](Subject(model))}.items():
        metric = ErrorControlledImportance(without, ("0", "1", "2"))
        metric.update(parts_case(shown, 300))
        found[name] = {key: value.item() for key, value in metric.compute().items()}
        assert metric.samples().sum() == 900
    assert found["truth"]["informedness"] > 0.3 and found["shuffled"]["informedness"] < 0.15
    assert found["truth"]["false discovery"] < found["shuffled"]["false discovery"] - 0.1
    assert 0.3 < found["truth"]["matter"] < 0.9
    with pytest.raises(ValueError, match="needs a region for each of 2 factors; got 3"):
        ErrorControlledImportance(without, ("0", "1")).update(parts_case(Subject(model), 5))
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 1\); got 2"):
        ErrorControlledImportance(without, ("0",), alpha=2)
    assert "render its inputs without" in (ErrorControlledImportance(None, ()).lacking() or "")


def test_threshold_by_hand() -> None:
    statistics = torch.tensor([-1.0, 0.5, 0.4, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    # From 2 on nine are above and none below -2: (1 + 0) / (1 + 9) = 0.1. At 1: (1 + 1) / (1 + 9) = 0.2.
    assert importance_threshold(statistics, 0.1) == 2 and importance_threshold(statistics, 0.2) == pytest.approx(0.4)
    assert (
        importance_threshold(statistics, 0.05) == torch.inf and importance_threshold(torch.zeros(3), 0.1) == torch.inf
    )


def test_the_share_of_false_discoveries_is_kept() -> None:
    draw = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(60):
        null, real = torch.randn(300, generator=draw), 3 + torch.randn(100, generator=draw)
        z = importance_threshold(torch.cat([null, real]), 0.1)
        shares.append(((null >= z).sum() / ((null >= z).sum() + (real >= z).sum()).clamp_min(1)).item())
    assert sum(shares) / 60 < 0.12


def test_benjamini_and_hochberg() -> None:
    p = torch.rand(200, generator=torch.Generator().manual_seed(0)).double() ** 3
    expected = torch.from_numpy(false_discovery_control(p.numpy()) <= 0.1)
    assert discoveries(p, 0.1).equal(expected) and not bool(discoveries(torch.ones(4), 0.1).any())


def test_right_answers_help_and_random_ones_do_not() -> None:
    data = ConceptToy("xor", count=400)
    model = zoo.create_model(
        "cem", domain=data.domain, backbone={"name": "mlp", "widths": [32]}, width=4,
        recipe={"stages": [{"name": "joint", "epochs": 1, "train": ["backbone", "concepts", "head"]}]},
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    rows = data.items("train", True)
    batch = {"input": rows.inputs[:280], "target": rows.targets[:280], "concepts": rows.concepts[:280]}
    for _ in range(120):
        optimizer.zero_grad()
        losses = model.losses(*model.step(batch["input"]), batch)
        sum(losses.values()).backward()
        optimizer.step()
    x, labels, concepts = batch["input"][:100], batch["target"][:100], batch["concepts"][:100]
    case = Case(Subject(model), x, torch.arange(100), labels=labels, concepts=concepts)
    metric = InterventionResponse()
    metric.update(case)
    found = metric.compute()
    assert found["area"] > 0.95 and 0.15 < found["gain"] < 0.7 and found["no harm"] > 0.5
    half = InterventionResponse()
    for rows_ in (slice(0, 37), slice(37, 100)):
        part = Case(Subject(model), x[rows_], torch.arange(100)[rows_], labels=labels[rows_], concepts=concepts[rows_])
        half.update(part)
    torch.testing.assert_close(half.samples(), metric.samples())
    assert InterventionResponse.missing(Subject(Pixels()), True, True) == "needs units that are annotated concepts"
    assert InterventionResponse.missing(Subject(model), True, True, False) == "needs data with concept labels"


def test_no_truth_no_number() -> None:
    case = linear_case(count=3)
    case.regions = None
    for metric in (UnitPurity(), ErrorControlledImportance(lambda ids, factor: ids, ("0",))):
        with pytest.raises(ValueError, match="needs data with ground-truth regions"):
            metric.update(case)
