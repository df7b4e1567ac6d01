"""Merging of prototypes by what they do on data, against loops."""

from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import RandomImages, build, protopnet
from zoo.prototypes.layers.merging import joined, merge_most_similar, squared_differences
from zoo.training.projection_set import ProjectionSet


def test_differences_are_sums_over_images() -> None:
    images, g = RandomImages(7), torch.rand(7, 4, generator=torch.Generator().manual_seed(1))
    g[:, 3] = g[:, 1]
    served = iter(g.split(3))
    found = squared_differences(ProjectionSet(images, batch_size=3), lambda x: next(served), 4)
    expected = [[sum(float(row[p] - row[q]) ** 2 for row in g) for q in range(4)] for p in range(4)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-12)


def test_merges_are_those_of_a_search_in_every_step() -> None:
    draw = torch.Generator().manual_seed(3)
    for count in (1, 4, 7):
        points, size = torch.rand(9, 2, generator=draw), torch.rand(9, generator=draw)
        differences = torch.cdist(points, points).double().square()
        alive = torch.arange(9) != 4
        into, left = list(range(9)), [j for j in range(9) if j != 4]
        while len(left) > count:
            p, q = min(((p, q) for p in left for q in left if p < q), key=lambda pair: differences[pair].item())
            stays, goes = (p, q) if size[p] >= size[q] else (q, p)
            left.remove(goes)
            into = [stays if j == goes else j for j in into]
        assert merge_most_similar(differences, size, alive, count).tolist() == into
    assert joined(torch.tensor([[1, 2, 4]]), torch.tensor([2, 1, 2])).tolist() == [[0, 2, 5]]


def test_a_merged_model_sums_with_the_activations_of_those_that_stay(tmp_path: Path) -> None:
    small = protopnet()
    model, x, images = small.model, small.inputs, ProjectionSet(RandomImages())
    with torch.no_grad():
        g, weight = model.evidence(x).activation, model.head.weight.clone()
    model.remove_prototypes([5])
    model.merge_prototypes(images, 3)
    into = model.into.tolist()
    assert int(model.prototypes.alive.sum()) == 3 and len({into[j] for j in range(5)}) == 3
    expected = sum(g[:, [into[j]]] * weight[:, j] for j in range(5))
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)
    explanation = model.explain(x, 1, reference="zero")
    torch.testing.assert_close(explanation.contributions.sum(1), expected[:, 1], rtol=1e-5, atol=1e-6)
    stays = next(into[j] for j in range(5) if into[j] != j)
    members = [f"{model.units()[j].name}" for j in range(5) if into[j] == stays != j]
    assert explanation.units[stays].source["merged"] == members
    assert model.own[:, stays].nonzero()[:, 0].tolist() == sorted({j // 2 for j in range(5) if into[j] == stays})
    gone = next(j for j in range(5) if into[j] != j)
    assert explanation.units[gone].source["merged_into"] == model.units()[into[gone]].name
    assert not explanation.contributions[:, gone].any()
    again = zoo.load(zoo.save(model, tmp_path / "merged"))
    assert torch.equal(again(x), model(x)) and torch.equal(again.own, model.own)
    assert [u.source for u in again.units()] == [u.source for u in model.units()]
    model.merge_prototypes(images, 1)  # the classes of those that were merged before go along
    last = int(model.prototypes.alive.nonzero())
    assert model.own[:, last].all() and model.units()[last].target is None
    assert len(model.units()[last].source["merged"]) == 4


def test_a_merged_prototype_is_searched_in_images_of_all_its_classes() -> None:
    """Regression: its push read the images of its first class only."""
    images = RandomImages(12)
    model = protopnet(merged=[0, 1, 2, 1, 4, 4]).model  # prototype 1 is of the first two classes
    with torch.no_grad():
        z = model.embed(images.inputs).flatten(2).mT  # (N, cells, D)
        classes = {0: [0], 1: [0, 1], 2: [1], 4: [2]}
        rows = {j: [i for i, c in enumerate(images.targets.tolist()) if c in of] for j, of in classes.items()}
        only = next(i for i in rows[1] if images.targets[i] == 1)
        model.prototypes.vectors[1] = z[only, 3]  # nearest to an image of the second class
        expected = {
            j: min(
                ((z[i, cell] - model.prototypes.vectors[j]).square().sum().item(), i, cell)
                for i in rows[j]
                for cell in range(z.shape[1])
            )
            for j in rows
        }
    model.push(ProjectionSet(images, batch_size=5))
    source = model.prototypes.provenance
    assert {j: (int(source.index[j]), int(source.cell[j])) for j in rows} == {j: e[1:] for j, e in expected.items()}
    assert int(source.index[1]) == only


def test_merged_weights_of_own_classes_may_stay_and_are_not_penalised() -> None:
    model = build("protopnet", connections="own").model
    model.merge_prototypes(ProjectionSet(RandomImages()), 1)
    weight = model.head.weight.detach().clone()
    model.on_train_batch_end(None, None, 0)
    assert torch.equal(model.head.weight, weight) and (weight[:, model.prototypes.alive] > 0).all()
    x, target = RandomImages(4).inputs, torch.tensor([0, 1, 2, 0])
    assert model.losses(*model.step(x), {"target": target})["l1"].item() == 0


def test_copies_that_stand_for_prototypes_of_other_classes_pass_these_on(tmp_path: Path) -> None:
    """Regression: weights of these classes were penalised after `prune`, and set to 0 by the next step of training."""
    small = build("protopnet", connections="own", merged=[0, 1, 1, 3, 4, 5])
    model, x, source = small.model, small.inputs, small.model.prototypes.provenance
    with torch.no_grad():
        model.prototypes.vectors[1] = model.prototypes.vectors[0]
        source.index[1], source.cell[1] = source.index[0], source.cell[0]
        model.head.weight[:, 1] += model.head.weight[:, 2]
        model.head.weight[:, 2] = 0
        model.remove_prototypes([2])
        scores = model(x)
    model.prune(ProjectionSet(RandomImages()))
    assert model.into.tolist() == [0, 0, 0, 3, 4, 5] and model.prototypes.alive.tolist() == [1, 0, 0, 1, 1, 1]
    model.on_train_batch_end(None, None, 0)
    torch.testing.assert_close(model(x), scores)
    assert model.own[:, 0].tolist() == [True, True, False]
    again = zoo.load(zoo.save(model, tmp_path / "pruned"))
    assert torch.equal(again.own, model.own) and [u.source for u in again.units()] == [u.source for u in model.units()]


def test_the_published_pruning_asks_for_prototypes_of_one_class() -> None:
    model, images = protopnet(prune_nearest=2, prune_below=1).model, ProjectionSet(RandomImages())
    model.merge_prototypes(images, 2)
    with pytest.raises(ValueError, match="prune_nearest asks for images of one class"):
        model.prune(images)


@pytest.mark.parametrize("count", [0, 6, 9])
def test_numbers_that_leave_nothing_to_merge_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"6 prototypes remain; merge them to at least 1 and fewer, not {count}"):
        protopnet().model.merge_prototypes(ProjectionSet(RandomImages()), count)


@pytest.mark.parametrize("merged", [[0, 1], [0, 1, 2, 3, 4, 6], [0, 0, 1, 3, 4, 5], [-1, 1, 2, 3, 4, 5]])
def test_wrong_records_of_merges_are_refused(merged: list[int]) -> None:
    with pytest.raises(ValueError, match="merged must give for each of the 6 prototypes"):
        protopnet(merged=merged)
