"""ConceptPolicy: scores from hard concepts alone; labels are those of the world, and no more are asked than allowed."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import IMAGES, ROWS
from zoo.data import AnnotatedControl
from zoo.data.synthetic.annotated_control import CONCEPTS
from zoo.data.synthetic.control_worlds import WORLDS
from zoo.domain import TableDomain
from zoo.policies import ConceptPolicy


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model, x = ConceptPolicy(ROWS, width=3, members=2).eval(), torch.randn(4, 3)
    nets = model.concepts
    for row, scores in zip(x, model(x), strict=True):
        chances = torch.zeros(5)
        for m in range(2):
            hidden = (row @ nets.first[m] + nets.shift[m, 0]).clamp_min(0)
            chances += (hidden @ nets.second[m] + nets.bias[m, 0]).sigmoid() / 2
        expected = model.head.bias + model.head.weight @ (chances > 0.5).float()
        torch.testing.assert_close(scores, expected)


def test_unknown_labels_do_not_count() -> None:
    torch.manual_seed(0)
    model, x = ConceptPolicy(ROWS, width=3, members=2).train(), torch.randn(2, 3)
    labels = torch.tensor([[1.0, 0.0, 1.0, torch.nan, 0.0], [0.0, torch.nan, 1.0, 0.0, 1.0]])
    found = model.losses(*model.step(x), {"input": x, "target": torch.tensor([0, 1]), "concepts": labels})
    logits, known = model.concepts(x), labels.isfinite()
    expected = torch.stack([F.binary_cross_entropy_with_logits(one[known], labels[known]) for one in logits]).mean()
    torch.testing.assert_close(found["concepts"], expected)


@pytest.mark.parametrize("name", WORLDS)
def test_labels_are_true_of_what_is_observed(name: str) -> None:
    data = AnnotatedControl(20, name=name, rows=1000)
    rows = data.test_dataset()
    assert data.domain["concepts"] == [concept for concept, _, _ in CONCEPTS[name]]
    for item in (rows[0], rows[7]):
        raw = item["input"] * torch.tensor(data.world.scale)
        assert item["concepts"].tolist() == [float(raw[column] > bound) for _, column, bound in CONCEPTS[name]]
    assert rows.concepts is not None
    shares = rows.concepts.mean(0)
    assert bool(((shares > 0) & (shares < 1)).all())  # none always or never holds


def test_no_more_labels_than_allowed() -> None:
    data = AnnotatedControl(20, rows=40)
    data.ask(data.test_dataset().inputs[:15])
    with pytest.raises(ValueError, match="6 more states would be annotated; of 20, 15 are"):
        data.ask(data.test_dataset().inputs[:6])
    other = AnnotatedControl(20, rows=40)
    other.load_state_dict(data.state_dict())
    assert torch.equal(other.answers, data.answers) and other.running is None


def test_it_asks_where_the_networks_disagree() -> None:
    torch.manual_seed(0)
    data = AnnotatedControl(40, rows=20, envs=4)
    model = ConceptPolicy(data.domain, width=4, members=3, keep=0.5).eval()
    model._trainer = SimpleNamespace(datamodule=data)
    torch.manual_seed(1)
    drawn = model.pool(data, 200)
    assert drawn.shape == (200, 4)
    torch.manual_seed(1)
    model.ask(None)  # half of the labels, because the recipe asks twice
    apart = model.concepts(drawn).sigmoid().var(0, correction=0).sum(1)
    assert torch.equal(data.asked, drawn[apart.argsort(descending=True, stable=True)[:20]])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="needs annotated concepts"):
        ConceptPolicy(TableDomain(classes=("l", "r"), features=("u",)))
    with pytest.raises(ValueError, match="reads observations"):
        ConceptPolicy(IMAGES)
    with pytest.raises(ValueError, match="labels must be in"):
        AnnotatedControl(3)
