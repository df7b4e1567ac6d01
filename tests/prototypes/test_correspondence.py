"""Correspondence classifiers against a loop over training images, and what their explanation promises."""

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import IMAGES, RandomImages, correspondence, halves
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.core.explanation import Explanation
from zoo.prototypes import Correspondence
from zoo.prototypes.layers.pairwise import match_by_mutual_patches, match_by_transport
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [8], "pool": [0]}


def neighbours(explanation: Explanation, row: int) -> list[int]:
    """Columns of the units that vote, the best match first."""
    ranks = explanation.details["rank"][row].tolist()
    return sorted((j for j, rank in enumerate(ranks) if rank), key=lambda j: ranks[j])


@pytest.mark.parametrize("vote", ["one", "similarity"])
@pytest.mark.parametrize("weights", ["correlation", "uniform"])
@pytest.mark.parametrize("method", ["emd", "mutual"])
def test_votes_are_those_of_a_loop(method: str, weights: str, vote: str) -> None:
    model = correspondence(matcher={"method": method, "weights": weights, "pairs": 3}, vote=vote).model
    x, data, uniform = halves(), RandomImages(), weights == "uniform"
    explanation = model.explain(x).check()
    with torch.no_grad():
        queries, images = model.backbone(x), model.backbone(data.inputs).half().float()
    for b in range(5):
        cosine = [F.cosine_similarity(queries[b].mean((1, 2)), image.mean((1, 2)), dim=0).item() for image in images]
        ranked = []
        for i in sorted(range(9), key=lambda i: -cosine[i])[:6]:
            pair = queries[b : b + 1].flatten(2).mT, images[i].flatten(1).T[None, None]
            if method == "emd":
                value = match_by_transport(*pair, 3, 0.05, 20, uniform).value
            else:
                value = match_by_mutual_patches(*pair, 3, uniform).value
            ranked.append((value.item(), i))
        ranked = sorted(ranked, key=lambda pair: -round(pair[0] * 2**16))[:4]  # ties in the order of the cosine
        scores = torch.zeros(3)
        for value, i in ranked:
            weight = 1.0 if vote == "one" else torch.tensor((value - ranked[0][0]) / 0.05).exp().item()
            scores[data.targets[i]] += weight
        details, order = explanation.details, neighbours(explanation, b)
        assert [explanation.units[j].source["index"] for j in order] == [i for _, i in ranked]
        assert [explanation.units[j].target for j in order] == [int(data.targets[i]) for _, i in ranked]
        assert details["match"][b, order].tolist() == pytest.approx([value for value, _ in ranked], abs=1e-3)
        assert details["cosine"][b, order].tolist() == pytest.approx([cosine[i] for _, i in ranked], abs=1e-3)
        torch.testing.assert_close(explanation.scores[b], scores, rtol=2e-2, atol=2e-2)


def test_an_image_of_the_training_set_is_its_own_best_neighbour() -> None:
    model = correspondence(matcher={"method": "mutual", "weights": "uniform", "pairs": 3}).model
    explanation = model.explain(RandomImages().inputs)
    for b in range(9):
        first = neighbours(explanation, b)[0]
        assert explanation.units[first].source["index"] == b
        assert explanation.details["match"][b, first] > 0.999
        cells = (explanation.details[name][b, first] for name in ("query cell", "exemplar cell"))
        assert torch.equal(*cells)


def test_support_is_where_the_best_pairs_are() -> None:
    explanation = correspondence(matcher={"method": "mutual", "pairs": 3}).model.explain(halves())
    assert explanation.support.shape == (5, 12, 6, 5)
    for b in range(5):
        for k in range(12):
            cells = explanation.details["query cell"][b, k]
            cells = cells[cells >= 0]
            assert set(explanation.support[b, k].flatten().nonzero()[:, 0].tolist()) == set(cells.tolist())


def test_neighbours_have_names_and_pictures() -> None:
    model = correspondence().model
    explanation = model.explain(halves())
    for b in range(5):
        units = [explanation.units[j] for j in neighbours(explanation, b)]
        assert len(units) == 4
        for unit in units:
            assert unit.source["image"] == f"noise-{unit.source['index']}.png"
            assert unit.target == unit.source["index"] % 3 and unit.picture.shape == (3, 8, 8)
        own = [unit for unit in units if unit.target == explanation.target[b]]
        statement = explanation.statements[b]
        assert statement.startswith(f"{len(own)} of 4 neighbours are of {explanation.target_names[b]}")
        assert statement.endswith(", ".join(unit.source["image"] for unit in own[:3]))
    first = {explanation.units[j].target for j in neighbours(explanation, 0)}
    for c in {0, 1, 2} - first:
        assert model.explain(halves()[:1], c).statements[0] == f"0 of 4 neighbours are of {IMAGES.classes[c]}"


def test_large_classes_keep_their_medoids_and_empty_slots_never_vote() -> None:
    model = correspondence(per_class=2, candidates=4, neighbours=4).model
    assert (model.bank.provenance.index >= 0).all()
    model = correspondence(per_class=5).model
    assert (model.bank.provenance.index >= 0).sum() == 9
    empty = model.bank.provenance.index < 0
    assert not model.explain(halves()).activation[:, empty].any()


def test_fits_like_any_model_and_classifies() -> None:
    model = Correspondence(COLOURS, backbone=TINY, candidates=20, neighbours=5, per_class=40, thumbnail=12)
    with pytest.raises(RuntimeError, match="this Correspondence has no training images to compare with"):
        model.explain(ColouredSquares(2).inputs)
    fit(model, ToyData())
    test = ColouredSquares(60, seed=2)
    explanation = model.eval().explain(test.inputs).check()
    assert explanation.target.eq(test.targets).float().mean() > 0.6


def test_fewer_images_than_candidates_are_refused() -> None:
    model = Correspondence(IMAGES, backbone=TINY, candidates=10, neighbours=5, per_class=4, thumbnail=8)
    with pytest.raises(ValueError, match="10 candidates are to be matched, but only 9 training images are stored"):
        model.gather(ProjectionSet(RandomImages()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matcher": {"method": "hough"}}, "method must be one of emd, mutual; got 'hough'"),
        ({"matcher": {"weights": "attention"}}, "weights must be one of correlation, uniform; got 'attention'"),
        ({"matcher": {"methode": "emd"}}, "a matcher has no key 'methode'; did you mean 'method'"),
        ({"vote": "two"}, "vote must be one of one, similarity; got 'two'"),
        ({"neighbours": 51}, "expected 1 <= neighbours <= candidates <= 90, .*; got 51 and 50"),
        ({"candidates": 91}, "expected 1 <= neighbours <= candidates <= 90, .*; got 20 and 91"),
        ({"matcher": {"epsilon": 0.0}}, "epsilon must be above 0; got 0.0"),
        ({"temperature": -1.0}, "temperature must be above 0; got -1.0"),
        ({"matcher": {"flows": "some"}}, "flows must be one of largest, all; got 'some'"),
        ({"matcher": {"steps": 0}}, "steps must be at least 1; got 0"),
        ({"matcher": {"pairs": 31}}, "pairs must be 1 to 30, the cells of the map; got 31"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Correspondence(IMAGES, backbone=TINY, **arguments)


def test_arguments_of_earlier_checkpoints_become_fields_of_the_matcher() -> None:
    former = {"matching": "mutual", "pairs": 3, "weights": "uniform", "epsilon": 0.1, "steps": 7, "candidates": 6}
    current = Correspondence.upgrade_arguments(former)
    matcher = {"method": "mutual", "pairs": 3, "weights": "uniform", "epsilon": 0.1, "steps": 7}
    assert current == {"candidates": 6, "matcher": {**matcher, "flows": "all"}}
    assert Correspondence.upgrade_arguments({"matcher": None}) == {"matcher": {"flows": "all"}}
    assert Correspondence.upgrade_arguments(current) == current
