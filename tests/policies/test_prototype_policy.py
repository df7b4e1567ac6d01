"""PrototypePolicy: scores by loops over prototypes; its states are real, and given ones are taken as they are."""

from math import log

import pytest
import torch
from torch import Tensor

from tests.small_models import BACKBONES, ROWS, prototype_policy, rows_of_table, training_set
from zoo.policies import PrototypePolicy
from zoo.policies.prototype_policy import farthest_first
from zoo.training.projection_set import ProjectionSet

STATES = {"circle": [[0.0, 1.0, 2.0]], "star": [[1.0, 0.0, 0.0], [3.0, 0.0, -1.0]]}


def transformed(model: PrototypePolicy, p: int, z: Tensor) -> Tensor:
    """t_p(z) by hand."""
    own = model.transforms
    h = z @ own.first[p] + own.shift[p]
    h = (h - h.mean()) / (h.var(correction=0) + 1e-5).sqrt()
    return h.clamp_min(0) @ own.second[p] + own.bias[p]


def test_scores_by_hand() -> None:
    small = prototype_policy()
    model, x = small.model, small.inputs
    assert isinstance(model, PrototypePolicy)
    model.requires_grad_(False)
    z, known = model.backbone(x), model.backbone(model.states)
    for row, scores in zip(z, model(x), strict=True):
        expected = torch.zeros(3)
        for p, number in enumerate(model.actions.tolist()):
            d = float((transformed(model, p, row) - transformed(model, p, known[p])).square().sum())
            expected[number] += log((d + 1) / (d + 1e-5))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_prototypes_are_states_of_their_action() -> None:
    small, rows = prototype_policy(), training_set(ROWS)
    inputs = [item["input"].tolist() for item in rows]
    for state, number, unit in zip(small.model.states, small.model.actions.tolist(), small.model.units(), strict=True):
        assert rows[inputs.index(state.tolist())]["target"] == number == unit.target
        assert list(unit.source["observation"].values()) == pytest.approx(state.tolist(), abs=1e-4)
    # at a prototype's own state its similarity is the largest possible
    why = small.model.explain(small.model.states)
    assert why.activation.diagonal().tolist() == pytest.approx([log(1 / 1e-5)] * 6, rel=1e-4)


def test_given_states_are_taken() -> None:
    model = PrototypePolicy(ROWS, backbone=BACKBONES["table"], states=STATES)
    model.choose(ProjectionSet(training_set(ROWS)))
    assert model.actions.tolist() == [0, 2, 2] and model.states[2].tolist() == [3.0, 0.0, -1.0]
    assert [unit.name for unit in model.units()] == ["circle #1", "star #1", "star #2"]
    why = model.explain(rows_of_table())
    assert bool((why.scores[:, 1] == 0).all())  # nothing argues for an action without states


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"circel": [[0, 0, 0]]}, "no class named 'circel'; did you mean 'circle'"),
        ({"circle": [[0, 0]]}, "need 3 numbers each"),
        ({"circle": []}, "no state"),
    ],
)
def test_states_that_are_none_are_refused(states: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrototypePolicy(ROWS, backbone=BACKBONES["table"], states=states)


def test_farthest_first_by_hand() -> None:
    z = torch.tensor([[0.0], [1.0], [2.0], [10.0], [4.0]])  # the mean is 3.4
    assert farthest_first(z, 3) == [4, 3, 0] and len(farthest_first(z, 9)) == 5
