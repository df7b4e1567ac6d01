"""Shapelets against loops over the formula, motifs against planted ones, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.data import Dataset

from tests.small_models import ROWS, SERIES, Examples, build
from zoo.domain import SeriesDomain
from zoo.sequences.layers.distances import nearest_windows, similarity
from zoo.sequences.layers.linear_fit import fitted
from zoo.sequences.layers.mining import MiningOptions, _numbers, candidates, chosen
from zoo.sequences.layers.windows import normalised
from zoo.sequences.shapelets import Shapelets
from zoo.training.projection_set import ProjectionSet
from zoo.training.sparse_head import run_on
from zoo.training.stages import Stage

FLAT = 0.1


class Named(Dataset):
    """Series with classes and names."""

    def __init__(self, x: Tensor, targets: Tensor) -> None:
        self.x, self.targets = x, targets

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.x[i], "target": self.targets[i]}

    def name(self, i: int) -> str:
        return f"record {i}"


def brute_force(motif: list[float], series: list[float], shape: bool) -> list[float]:
    """The distance of a motif, as it is in the training series, to every window of a series."""

    def scaled(window: list[float]) -> list[float]:
        mean = sum(window) / len(window)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in window) / len(window))
        return [(v - mean) / max(deviation, FLAT) for v in window] if shape else window

    own, found = scaled(motif), []
    for t in range(len(series) - len(motif) + 1):
        other = scaled(series[t : t + len(motif)])
        found.append(sum((a - b) ** 2 for a, b in zip(own, other, strict=True)) / len(own))
    return found


@torch.no_grad()
def test_activations_and_supports_are_those_of_the_formula() -> None:
    domain = replace(SERIES, length=25)
    train = torch.randn(9, 25, 2) + 3
    train[4, 5:20] *= 0.01  # nearly flat windows
    model = Shapelets(domain, MiningOptions(per_class=4, lengths=(4, 0.4), candidates=90)).eval()
    for stage in model.stages[:2]:
        run_on(model, stage, ProjectionSet(Examples(train)))
    x = torch.cat([torch.randn(3, 25, 2) + 3, train[4:5]])
    explanation, units = model.explain(x), model.units()
    assert {unit.source["motif"]["kind"] for unit in units} == {"shape", "value"}
    assert {unit.source["motif"]["steps"] for unit in units} == {4, 10}
    for k, unit in enumerate(units):
        motif = unit.source["motif"]
        row, start, steps, v = unit.source["index"], motif["start"], motif["steps"], motif["variable"]
        assert unit.target == row % 3
        values = train[row, start : start + steps, v].double().tolist()
        for b in range(len(x)):
            profile = brute_force(values, x[b, :, v].double().tolist(), motif["kind"] == "shape")
            found = model.motifs.profile(x)[b, k]
            assert found[: len(profile)].tolist() == pytest.approx(profile, rel=1e-4, abs=1e-5)
            assert found[len(profile) :].isinf().all()
            nearest = min(profile)
            expected = math.log((nearest + 1) / (nearest + 0.01))
            assert explanation.activation[b, k].item() == pytest.approx(expected, abs=1e-3)
            assert explanation.support is not None
            place = explanation.support[b, k].nonzero()
            first = profile.index(nearest)
            assert place[:, 1].unique().tolist() == [v] and len(place) == steps
            assert int(place[:, 0].min()) == int(explanation.details["from step"][b, k]) == first


@pytest.mark.parametrize("shape", [True, False])
def test_distances_while_mining_are_those_of_the_bank(shape: bool) -> None:
    x = torch.randn(5, 40) * torch.linspace(0.1, 3, 40) + 7
    motifs = x[:2, 3:11]
    distance, place = nearest_windows(normalised(motifs, FLAT) if shape else motifs, x, shape, FLAT)
    for m in range(2):
        for n in range(5):
            profile = brute_force(motifs[m].double().tolist(), x[n].double().tolist(), shape)
            assert distance[m, n].item() == pytest.approx(min(profile), rel=1e-3, abs=1e-5)
            assert int(place[m, n]) == profile.index(min(profile))


def test_similarity_is_bounded() -> None:
    values = similarity(torch.tensor([0.0, 1.0, torch.inf])).tolist()
    assert values == pytest.approx([math.log(100), math.log(2 / 1.01), 0.0], abs=1e-6)


def planted(count: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """Noise; series of class 1 have one period of a sine at a random place, of class 2 a triangle."""
    x, target = 0.3 * torch.randn(count, 60, 1), torch.arange(count) % 3
    place = torch.randint(0, 48, (count,))
    wave = torch.sin(torch.arange(12) / 12 * 2 * math.pi)
    hat = 1 - (torch.arange(12) - 5.5).abs() / 3
    for i in range(count):
        if target[i]:
            x[i, place[i] : place[i] + 12, 0] += 3 * (wave if target[i] == 1 else hat)
    return x, target, place


def test_mining_finds_planted_motifs() -> None:
    x, target, place = planted()
    options = MiningOptions(per_class=3, lengths=(12,), kinds=("shape",), candidates=600)
    found = candidates(x, target, (12,), options)
    best = found[chosen(found, target, 3, options)]
    for k in (3, 6):  # the best of the classes with a motif
        row = int(best.series[k])
        assert target[row] == k // 3 and abs(int(best.start[k]) - int(place[row])) <= 6
    # Its other motifs are no copies of it: elsewhere than the match, or at a distance.
    for c in (1, 2):
        one, *others = range(3 * c, 3 * c + 3)
        for k in others:
            row = best.series[k]
            apart = abs(int(best.place[one, row]) - int(best.start[k])) >= 6
            assert apart or best.distance[one, row] >= options.copy


def test_a_trained_model_names_its_sources_and_generalises() -> None:
    x, target, _ = planted(36)
    test, labels, _ = planted(60)
    domain = SeriesDomain(classes=("none", "sine", "hat"), variables=("volt",), length=60, mean=(5.0,), std=(2.0,))
    model = Shapelets(domain, MiningOptions(per_class=4, lengths=(12, 24)))
    with pytest.raises(RuntimeError, match="no motifs yet: train with a recipe that begins with the action `mine`"):
        model.explain(test)
    for stage in model.stages[:2]:
        run_on(model, stage, ProjectionSet(Named(x, target), batch_size=7))
    explanation = model.eval().explain(test).check()
    assert (explanation.scores.argmax(1) == labels).float().mean() > 0.9
    unit = explanation.units[5]
    motif, row = unit.source["motif"], unit.source["index"]
    assert unit.name == "sine #2" and unit.target == 1 and motif["series"] == f"record {row}"
    torch.testing.assert_close(torch.tensor(motif["values"]), x[row, :, 0] * 2 + 5, rtol=1e-3, atol=1e-3)
    run_on(model, Stage("sparsify", per_class=2), ProjectionSet(Named(x, target)))
    assert (model.head.weight != 0).sum(1).max() <= 2
    model.eval().explain(test).check()


def test_windows_are_drawn_without_a_list_of_all_places() -> None:
    for total in (30, 10**12):
        drawn = _numbers(total, 20, torch.Generator().manual_seed(0))
        assert len(drawn) == 20 == len(set(drawn.tolist())) and int(drawn.min()) >= 0 and int(drawn.max()) < total
        assert drawn.tolist() != sorted(drawn.tolist())
    assert len(_numbers(5, 20, torch.Generator())) == 5


def test_series_read_for_mining_are_bounded_and_balanced() -> None:
    x, target, _ = planted(30)
    domain = replace(SERIES, variables=("v",), length=60, mean=(), std=())
    model = Shapelets(domain, MiningOptions(per_class=2, series=6))
    run_on(model, Stage("mine"), ProjectionSet(Named(x, target)))
    assert set(model.motifs.index.tolist()) <= set(range(6))
    short = x[:2], target[:2]
    with pytest.raises(ValueError, match="class 2 has no training series to take motifs from"):
        run_on(model, Stage("mine"), ProjectionSet(Named(*short)))
    model = Shapelets(domain, MiningOptions(per_class=40, lengths=(12,), kinds=("value",), candidates=60))
    with pytest.raises(ValueError, match=r"class 0 has 20 windows to choose 40 motifs from; lower per_class"):
        run_on(model, Stage("mine"), ProjectionSet(Named(x, target)))


def test_the_head_is_that_of_logistic_regression() -> None:
    z, target = torch.randn(40, 5), torch.arange(40) % 3
    z = (z - z.mean(0)) / z.std(0, correction=0)
    z[:, 1] += 4.0
    weight, bias = fitted(z, target, 3, penalty=0.5)
    # scikit-learn's objective is Σ cross-entropy + |W|² / (2 C)
    same = LogisticRegression(C=5 / (2 * 0.5 * 40), tol=1e-8, max_iter=1000)
    same.fit(z.sub(z.mean(0)).double().numpy(), target.numpy())
    torch.testing.assert_close(weight, torch.from_numpy(same.coef_).float(), rtol=1e-3, atol=1e-3)
    probability = torch.from_numpy(same.predict_proba(z.sub(z.mean(0)).double().numpy())).float()
    torch.testing.assert_close((z @ weight.T + bias).softmax(1), probability, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="Shapelets reads series; got a domain of rows"):
        Shapelets(ROWS)
    with pytest.raises(ValueError, match=r"lengths must be a share .* whole steps from 3 to its 11 steps; got 12"):
        Shapelets(SERIES, MiningOptions(lengths=(12,)))
    with pytest.raises(ValueError, match="kinds must be one of shape, value; got 'form'"):
        MiningOptions(kinds=("form",))
    with pytest.raises(ValueError, match="penalty must be above 0; got 0"):
        Shapelets(SERIES, penalty=0)
    with pytest.raises(ValueError, match=r"must begin with the action \{name: mine\}.*begins with 'train'"):
        Shapelets(SERIES, recipe={"stages": [{"name": "train", "epochs": 1, "train": ["head"]}]}).check_recipe()  # pyright: ignore[reportArgumentType]
    assert build("shapelets").model.reference == "runner-up"
