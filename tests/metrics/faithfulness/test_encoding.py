"""The encoding gap: a selector whose place tells the class is caught by an evaluator that learned on random masks."""

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

from tests.metrics.faithfulness.linear_model import SIDE, Pixels, linear_case
from zoo.data import ConceptToy
from zoo.domain import Domain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness import CONTROLS, Case, EncodingGap, Evaluator, Subject, train_evaluator
from zoo.metrics.faithfulness.encoding import random_kept, small_network
from zoo.metrics.faithfulness.sufficiency import shifted

DOMAINS: dict[str, Domain] = {
    "image": ImageDomain(classes=("a", "b", "c"), size=(21, 30), channels=3),
    "table": TableDomain(classes=("a", "b"), features=tuple("abcdef")),
    "series": SeriesDomain(classes=("a", "b"), variables=("u", "v", "w"), length=20),
    "text": TextDomain(classes=("a", "b"), vocabulary=tuple("abcdefgh"), length=15),
}


def world(count: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    return x, Subject(Pixels()).scores(x).argmax(1)


@pytest.fixture(scope="module")
def linear() -> Evaluator:
    return train_evaluator(world(4000), Pixels().domain, epochs=6)


@pytest.fixture(scope="module")
def measured(linear: Evaluator) -> dict[str, dict[str, float]]:
    subject, metric = Subject(Pixels()), EncodingGap(linear)
    found = {}
    for name, shown in {"truth": subject, **{n: make(subject) for n, make in CONTROLS.items()}}.items():
        metric.reset()
        metric.update(linear_case(shown))
        found[name] = {column: value.item() for column, value in metric.compute().items()}
    return found


def test_the_cheat_is_caught(measured: dict[str, dict[str, float]]) -> None:
    truth, cheat = measured["truth"], measured["encoder cheat"]
    assert truth["evaluator on everything"] > 0.85 and truth["model"] == 1
    assert truth["gap"] < 0.15 and cheat["gap"] > truth["gap"] + 0.25
    assert truth["evaluator on evidence"] > truth["evaluator elsewhere"] + 0.3
    for name in ("shuffled supports", "shuffled contributions"):
        assert measured[name]["gap"] > truth["gap"] + 0.25


def test_evidence_that_is_nearly_everything_is_near_the_ceiling(measured: dict[str, dict[str, float]]) -> None:
    monolith = measured["monolith"]  # nine tenths of the image
    assert monolith["gap"] == pytest.approx(monolith["model"] - monolith["evaluator on everything"], abs=0.05)
    assert monolith["evaluator elsewhere"] == pytest.approx(monolith["evaluator on everything"], abs=0.05)


def test_by_hand(linear: Evaluator) -> None:
    case = linear_case(count=30)
    metric = EncodingGap(linear, shifts=1, seed=2)
    metric.update(case)
    kept = smallest_cover(case.evidence_map)
    for column, mask in ((1, kept), (2, shifted(kept, case, 0, 2)), (3, torch.ones_like(kept))):
        shown = case.x * mask.view(case.x.shape)
        right = (linear.network(shown).argmax(1) == case.labels).double()
        assert metric.samples()[:, column].equal(right)
    assert metric.samples()[:, 0].equal(metric.samples()[:, 4] - metric.samples()[:, 1])
    assert metric.samples()[:, 4].eq(1).all()


def test_halves_are_the_whole(linear: Evaluator) -> None:
    whole, metric, halves = linear_case(count=40), EncodingGap(linear), EncodingGap(linear)
    metric.update(whole)
    for rows in (slice(20, 40), slice(0, 20)):
        halves.update(Case(whole.subject, whole.x[rows], whole.ids[rows], labels=whole.labels[rows]))
    assert halves.samples().equal(metric.samples())


def test_training_follows_from_the_seed_and_touches_nothing() -> None:
    data, domain = world(200), Pixels().domain
    state = torch.get_rng_state()
    first, again, other = (train_evaluator(data, domain, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(state)
    x, kept = data[0][:8], torch.rand(8, SIDE**2) < 0.5
    assert first(x, kept).equal(again(x, kept)) and not first(x, kept).equal(other(x, kept))
    assert not first.training and not any(p.requires_grad for p in first.parameters())


def test_a_network_of_ones_own_is_copied() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 3))
    before = network[1].weight.clone()
    evaluator = train_evaluator(world(600), Pixels().domain, network, epochs=5, lr=1e-2)
    assert network[1].weight.equal(before) and network[1].weight.requires_grad
    learned, truth = evaluator.network[1].weight, Pixels().head.weight
    centred = lambda w: (w - w.mean(0)).flatten()  # noqa: E731
    assert torch.corrcoef(torch.stack([centred(learned), centred(truth)]))[0, 1] > 0.8  # it is of the right kind


@pytest.mark.parametrize("name", DOMAINS)
def test_every_modality_has_a_network(name: str) -> None:
    domain = DOMAINS[name]
    x = domain.example(24, torch.Generator().manual_seed(0))
    evaluator = train_evaluator((x, torch.arange(24) % len(domain.classes)), domain, epochs=1)
    kept = random_kept(x, domain, torch.Generator().manual_seed(0))
    scores = evaluator(x, kept)
    assert scores.shape == (24, len(domain.classes)) and scores.isfinite().all()
    gone = evaluator(x, kept & False)
    assert gone.allclose(gone[:1].expand_as(gone), atol=1e-6)  # nothing is left that could tell them apart
    torch.testing.assert_close(evaluator(x[:5], kept[:5]), scores[:5])
    assert sum(p.numel() for p in small_network(domain).parameters()) > 1000


@pytest.mark.parametrize("name", DOMAINS)
def test_shares_of_what_stays_are_uniform(name: str) -> None:
    domain, draw = DOMAINS[name], torch.Generator().manual_seed(0)
    x = domain.example(50, draw)
    kept = torch.cat([random_kept(x, domain, draw) for _ in range(40)]).double()
    assert kept.mean().item() == pytest.approx(0.5, abs=0.03)
    if name == "image":  # of the finest grids shares are almost continuous; of two cells an axis they are quarters
        fine = torch.cat([k.mean(1) for k in kept.split(50) if len(k.mean(1).unique()) > 40])
        assert len(fine) >= 100 and kstest(fine, "uniform").pvalue > 1e-3
        assert any(len(k.mean(1).unique()) <= 16 for k in kept.split(50))


def test_words_that_are_removed_say_nothing() -> None:
    """The class is whether one word is there, so without it the answer is that of a text without it."""
    domain = TextDomain(classes=("without", "with"), vocabulary=tuple(map(str, range(24))), length=15)
    x = domain.example(2000, torch.Generator().manual_seed(0))
    evaluator = train_evaluator((x, (x == 5).any(1).long()), domain, epochs=8, lr=1e-2)
    fresh = domain.example(200, torch.Generator().manual_seed(1))
    there = (fresh == 5).any(1)
    everything = torch.ones_like(fresh, dtype=torch.bool)
    assert (evaluator(fresh, everything).argmax(1) == there).double().mean() > 0.9
    assert evaluator(fresh, fresh == 5).argmax(1).equal(there.long())
    assert evaluator(fresh, fresh != 5)[there].argmax(1).double().mean() < 0.3


def test_data_modules_are_trained_on() -> None:
    data = ConceptToy("xor", count=1000, batch_size=64)
    first, again = (train_evaluator(data, epochs=15) for _ in range(2))
    batch = next(iter(data.test_dataloader()))
    everything = torch.ones_like(batch["input"], dtype=torch.bool)
    scores = first(batch["input"], everything)
    assert scores.equal(again(batch["input"], everything))
    assert (scores.argmax(1) == batch["target"]).double().mean() > 0.75  # chance is 0.5


def test_what_cannot_be_is_refused() -> None:
    data, domain = world(4), Pixels().domain
    with pytest.raises(ValueError, match=r"trained on tensors needs their domain; pass domain=\.\.\."):
        train_evaluator(data)
    with pytest.raises(ValueError, match="epochs must be at least 1; got 0"):
        train_evaluator(data, domain, epochs=0)
    with pytest.raises(ValueError, match="one target for each input; got 4 inputs and 3 targets"):
        train_evaluator((data[0], data[1][:3]), domain)
    values = TableDomain(classes=("price",), features=("a", "b"), task="regression")
    with pytest.raises(ValueError, match="an evaluator is a classifier; these targets are of a regression"):
        train_evaluator((torch.rand(4, 2), torch.rand(4)), values)
    case = linear_case(count=3)
    case.labels = None
    with pytest.raises(ValueError, match=r"encoding gap needs the true classes, Case\(labels=\.\.\.\)"):
        EncodingGap(train_evaluator(data, domain, epochs=1)).update(case)
