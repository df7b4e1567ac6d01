"""What would change an answer: as small as an exhaustive search finds, and true of the model."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_explanation import example, graph
from tests.small_models import BACKBONES, CLIPS, SMALL, build
from zoo.core.counterfactual import Counterfactual, counterfactual_of, smallest_set
from zoo.core.counterfactual_search import search_counterfactuals
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable

UNCERTAIN = 1e-4  # margins that rounding could turn


@given(
    moves=st.lists(st.integers(-9, 9), min_size=1, max_size=8),
    margin=st.integers(-20, 20).filter(bool),
)
def test_no_smaller_set_turns_the_margin(moves: list[int], margin: int) -> None:
    """Whole numbers, so that no sum depends on rounding; every set of every size is tried."""
    found = smallest_set(torch.tensor(moves).float(), margin)
    turning = [
        size
        for size in range(1, len(moves) + 1)
        if any((margin + sum(chosen)) * margin < 0 for chosen in combinations(moves, size))
    ]
    if found is None:
        assert not turning
    else:
        assert len(found) == len(set(found)) == turning[0]
        assert (margin + sum(moves[k] for k in found)) * margin < 0


def test_by_hand() -> None:
    """Row 0: 2.75 against -0.5, of which the beak gives 3 - (-2) = 5; row 1: of 8, the tail gives 8 - (-2) = 10."""
    parts = torch.tensor([[3.0, -0.5], [-0.5, 8.0]])
    other = torch.tensor([[-2.0, 2.0], [0.75, -2.0]])
    both = replace(
        example(), effects=torch.stack([torch.stack([parts[0], other[1]]), torch.stack([other[0], parts[1]])], 2)
    )
    first, second = (counterfactual_of(one) for one in both)
    assert first == Counterfactual(("red beak",), ("removed",), "gull", "", 3.25 - 5.0, True)
    assert second == Counterfactual(("long tail",), ("removed",), "crow", "", 8.0 - 10.0, True)
    assert counterfactual_of(graph()[0]) is None
    with pytest.raises(ValueError, match=r"explanation of one row; got 2 rows. Index it"):
        counterfactual_of(both)


@pytest.mark.parametrize("name", SMALL)
def test_the_model_answers_so(name: str) -> None:
    """Each set is taken from the evidence of the model itself; of two units, neither does it alone."""
    small = SMALL[name]()
    model, x = small.model, small.inputs[:2]
    some = search_counterfactuals(model, model.explain(x))
    for one in [*some, *(model.explain(x, every_class=True) if model.additive else ())]:
        found = counterfactual_of(one)
        if model.domain.task == "regression":  # no other class to turn to
            assert found is None
            continue
        assert found is not None
        if not found.units:
            continue
        scores = changed(model, one, found)
        before, after = int(one.target), int(scores.argmax())
        assert after != before, found
        if found.answer:
            assert one.domain.classes[after] == found.answer
        if found.rival:
            assert scores[one.domain.classes.index(found.rival)] > scores[before]
        if found.smallest and not found.rival and model.additive and len(found.units) == 2 and len(one.units) < 40:
            for unit in one.units:
                alone = changed(model, one, replace(found, units=(unit.name,), states=("removed",)))
                rest = alone.clone()
                rest[before] = -torch.inf
                assert alone[before] > rest.max() - UNCERTAIN


@torch.no_grad()
def changed(model: SelfInterpretable, one: Explanation, found: Counterfactual) -> torch.Tensor:
    """The scores of the model with the units of a counterfactual as it says."""
    evidence = model.step(one.inputs)[1]
    pairs = list(zip(found.units, found.states, strict=True))
    edits = {unit: float(state == "present") for unit, state in pairs if state != "removed"}
    removed = [unit for unit, state in pairs if state == "removed"]
    evidence = model.edit(evidence, edits) if edits else evidence
    return model.readout(model.ablate(evidence, removed) if removed else evidence)[0]


def test_why_another_class_was_not_the_answer() -> None:
    """The smallest set that puts the class that was asked for before the predicted one."""
    small = SMALL["protopnet"]()
    one = small.model.explain(small.inputs[:1])
    asked = small.model.explain(small.inputs[:1], int(one.runner_up))
    found = counterfactual_of(asked)
    assert found.rival == one.target_names[0] and found.margin > 0 and found.answer == ""
    scores = changed(small.model, asked, found)
    assert scores[int(asked.target)] > scores[int(one.target)]


def test_tags_turn_at_zero() -> None:
    small = build("attention_pool", domain=replace(CLIPS, task="multilabel"), backbone=BACKBONES["audio"])
    turned = 0
    for target in range(3):
        for one in small.model.explain(small.inputs, target):
            found = counterfactual_of(one)
            if found.units:
                assert (changed(small.model, one, found)[target] > 0) != (one.score.item() > 0)
                assert found.answer == one.target_names[0] and (found.margin > 0) != (one.score.item() > 0)
                turned += 1
            else:
                assert one.score.item() * one.bias.item() > 0 or one.contributions.abs().max() < UNCERTAIN
    assert turned


def test_a_margin_turns_its_sign_and_values_have_no_answer() -> None:
    margin = example().versus(example((1, 0)))
    assert counterfactual_of(margin[0]) == Counterfactual(
        ("red beak",), ("removed",), "crow rather than gull (0)", "", -1.75, True
    )
    value = replace(example(), domain=replace(example().domain, task="regression"))
    assert counterfactual_of(value[0]) is None


def test_a_search_travels_with_the_explanation(tmp_path) -> None:
    small = build("prototree")
    told = search_counterfactuals(small.model, small.model.explain(small.inputs))
    assert len(told.counterfactuals) == len(told) and counterfactual_of(told[3]).units
    told.save(tmp_path / "e.safetensors")
    assert [counterfactual_of(one) for one in Explanation.load(tmp_path / "e.safetensors")] == [
        counterfactual_of(one) for one in told
    ]
    with pytest.raises(ValueError, match="has no inputs, which the search needs"):
        search_counterfactuals(small.model, replace(told, inputs=None))
