"""Random copies touch what they should and nothing else; evidence that ignores the model is told from the truth."""

from dataclasses import replace

import pytest
import torch
from lightning import Trainer
from scipy.stats import spearmanr
from torch import Tensor, nn

from tests.metrics.faithfulness.linear_model import RECIPE, SIDE, Pixels, linear_case
from zoo.core.evidence import Evidence, Unit
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain
from zoo.metrics.faithfulness import CONTROLS, Case, ParameterRandomisation, Subject, randomised
from zoo.metrics.faithfulness.base import spearman
from zoo.metrics.faithfulness.controls import Control

PLANES = 3


class Maps(SelfInterpretable):
    """A convolution whose pixels are units, with prototypes of its own, and a linear head."""

    default_recipe = RECIPE

    def __init__(self) -> None:
        domain = ImageDomain(classes=("a", "b", "c"), size=(SIDE, SIDE), channels=1, mean=(0.0,), std=(1.0,))
        super().__init__(domain=domain)
        self.trunk = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.prototypes = nn.Parameter(torch.randn(PLANES, 8))
        self.register_buffer("scale", torch.rand(PLANES) + 0.5)
        self.register_buffer("constant", torch.arange(4.0), persistent=False)
        self.register_buffer("alive", torch.tensor([True, False, True]))
        self.head = nn.Linear(PLANES * SIDE**2, 3)

    def evidence(self, x: Tensor) -> Evidence:
        near = torch.einsum("bchw,pc->bphw", self.trunk(x), self.prototypes) * self.scale[:, None, None]
        places = torch.eye(SIDE**2).repeat(PLANES, 1).unflatten(1, (SIDE, SIDE))
        return Evidence(near.relu().flatten(1), places.expand(len(x), -1, -1, -1))

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(f"prototype {i}", "prototype") for i in range(PLANES * SIDE**2))


class Headless(Control):
    """Shows where the trunk fires, whatever the head makes of it."""

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        told = self.subject.explain(x, target)
        return replace(told, contributions=told.activation, bias=told.score - told.activation.sum(1))


class Edges(Control):
    """Shows the input's size, whatever the model."""

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        told = self.subject.explain(x, target)
        size = x.flatten(1).abs().repeat(1, PLANES)
        return replace(told, contributions=size, bias=told.score - size.sum(1))


def found(subject: Subject, case: Case, seed: int = 0) -> dict[str, float]:
    metric = ParameterRandomisation(subject, seed)
    metric.update(case)
    return {name: value.item() for name, value in metric.compute().items()}


def images(count: int) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    torch.manual_seed(7)
    subject = Subject(Maps())
    shown = {"truth": subject, "headless": Headless(subject), "edges": Edges(subject)}
    return {name: found(s, Case(s, images(100), torch.arange(100))) for name, s in shown.items()}


def test_truth_is_told_from_evidence_that_ignores_the_model(measured: dict[str, dict[str, float]]) -> None:
    truth, headless, edges = measured["truth"], measured["headless"], measured["edges"]
    assert min(truth[part] for part in ("everything", "trunk", "head")) > 0.5
    assert truth["two random models"] < 0.5
    assert headless["head"] == pytest.approx(headless["two random models"])  # 1 - (1 - null)
    assert truth["head"] > headless["head"] + 0.2
    assert edges["two random models"] == pytest.approx(1)  # evidence that shows the input alone
    assert all(edges[part] != edges[part] for part in ("everything", "trunk", "head"))  # is not let pass: NaN


def test_linear_truth_and_monolith() -> None:
    subject = Subject(Pixels())
    case = linear_case(subject)
    each = [found(subject, case, seed) for seed in range(8)]
    truth = {name: sum(one[name] for one in each) / len(each) for name in each[0]}
    assert truth["everything"] == pytest.approx(1, abs=0.1)
    assert truth["two random models"] == pytest.approx(0.03, abs=0.1)  # of |w x| it would be 0.46, as both have |x|
    assert truth["trunk"] == pytest.approx(truth["two random models"])  # this model is but a head
    assert truth["head"] == pytest.approx(truth["everything"])
    monolith = CONTROLS["monolith"](subject)
    assert found(monolith, linear_case(monolith))["everything"] == 1  # a constant map correlates with nothing


def test_values_by_hand() -> None:
    torch.manual_seed(7)
    subject = Subject(Maps())
    case = Case(subject, images(5), torch.arange(5))
    metric = ParameterRandomisation(subject, seed=3)
    metric.update(case)
    copies = [subject, randomised(subject, 3), randomised(subject, 3, "head"), randomised(subject, 4)]
    told = [s.explain(case.x, case.target) for s in copies]
    maps = [t.contributions.clamp_min(0).unflatten(1, (PLANES, -1)).sum(1).numpy() for t in told]
    for i in range(5):
        null = spearmanr(maps[1][i], maps[3][i]).statistic
        assert metric.samples()[i, 3].item() == pytest.approx(null, abs=1e-6)
        for column, other in ((0, 1), (2, 2)):
            value = 1 - (spearmanr(maps[0][i], maps[other][i]).statistic - null)
            assert metric.samples()[i, column].item() == pytest.approx(value, abs=1e-6)


def test_copies_change_their_part_only_and_leave_the_original() -> None:
    torch.manual_seed(0)
    model = Maps().eval()
    model.trunk[1].running_mean.fill_(2.0)
    subject = Subject(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    parts = {part: randomised(subject, 0, part).model for part in ("everything", "trunk", "head")}
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    for part, copied in parts.items():
        assert copied is not model and copied.domain is model.domain
        for name, value in copied.state_dict().items():
            fixed = (
                name == "alive" or name.endswith("num_batches_tracked") or name in ("trunk.1.weight", "trunk.1.bias")
            )
            fixed |= name == "trunk.1.running_var"  # 1 from the start
            inside = part == "everything" or name.startswith("head.") == (part == "head")
            assert value.equal(before[name]) != (inside and not fixed), (part, name)
    everything = parts["everything"]
    for name in ("prototypes", "scale"):  # permuted: the same numbers elsewhere
        assert everything.state_dict()[name].flatten().sort().values.equal(before[name].flatten().sort().values)
    assert everything.constant.equal(model.constant) and everything.trunk[1].running_mean.eq(0).all()


def test_copies_follow_from_the_seed() -> None:
    subject = Subject(Maps())
    first, again, other = (randomised(subject, seed).model.state_dict() for seed in (0, 0, 1))
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])
    trunk, head = (randomised(subject, 0, part).model.state_dict() for part in ("trunk", "head"))
    assert not trunk["trunk.0.weight"].equal(head["trunk.0.weight"])


def test_a_copy_is_not_what_the_model_began_with() -> None:
    model = Pixels()
    torch.manual_seed(0)
    model.head.reset_parameters()  # as a model that was made under this seed
    assert not randomised(Subject(model), 0).model.head.weight.equal(model.head.weight)


def test_controls_are_copied_as_a_whole() -> None:
    control = CONTROLS["shuffled supports"](Subject(Maps()))
    copied = randomised(control, 0)
    assert copied.model is copied.subject.model and copied.model is not control.model
    assert copied.explain(images(2)).check().scores.equal(copied.model(images(2)))


def test_a_trainer_is_not_copied() -> None:
    model = Maps()
    model.trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    copied = randomised(Subject(model), 0).model
    assert copied._trainer is None and model.trainer is not None


def test_halves_are_the_whole() -> None:
    subject = Subject(Maps())
    metric, halves = (ParameterRandomisation(subject) for _ in range(2))
    metric.update(Case(subject, images(20), torch.arange(20)))
    for rows in (torch.arange(10, 20), torch.arange(10)):
        halves.update(Case(subject, images(20)[rows], rows))
    torch.testing.assert_close(halves.samples(), metric.samples(), atol=1e-3, rtol=0)


def test_models_without_a_head_have_two_values() -> None:
    model = Maps()
    read, model.head = model.head, None
    model.readout = lambda evidence: read(evidence.activation)
    model.attribute = lambda evidence, target: (evidence.activation * read.weight[target], read.bias[target])
    mean = (read.weight.mean(0), read.bias.mean())
    model.attribute_mean = lambda evidence: (evidence.activation * mean[0], mean[1].expand(len(evidence.activation)))
    subject = Subject(model)
    values = found(subject, Case(subject, images(6), torch.arange(6)))
    assert [name for name, value in values.items() if value != value] == ["trunk", "head"]


def test_cases_of_another_subject_are_refused() -> None:
    metric = ParameterRandomisation(Subject(Maps()))
    with pytest.raises(ValueError, match=r"was made for Maps; got a case of Pixels\. Make a metric for each"):
        metric.update(linear_case(count=3))


def test_absent_elements_have_no_rank() -> None:
    a, b = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    there = torch.arange(9) < torch.tensor([9, 6, 3, 1])[:, None]
    expected = [spearmanr(a[i, : n.sum()], b[i, : n.sum()]).statistic for i, n in enumerate(there[:3])]
    assert spearman(a * there, b * there, there).tolist() == pytest.approx([*expected, 0])
    assert spearman(a, b).tolist() == pytest.approx(spearmanr(a.T, b.T).statistic[:4, 4:].diagonal().tolist())
