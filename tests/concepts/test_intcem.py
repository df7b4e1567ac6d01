"""IntCEM: the greedy target is the best real intervention, rollouts stay binary, the loss is that of the paper."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.concepts.table_batch import batch, evidence_of, scores_by_hand
from tests.small_models import ROWS, build
from zoo.concepts import IntCEM


def intcem() -> IntCEM:
    torch.manual_seed(0)
    return build("intcem", policy=[8], horizon=4.0).model


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model = intcem()
    explanation = model.explain(batch()["input"], 1).check()
    scores, contributions = scores_by_hand(model, shared=False)
    torch.testing.assert_close(explanation.scores, scores)
    torch.testing.assert_close(explanation.contributions, contributions[:, :, 1])


def test_greedy_group_is_the_best_of_all_real_interventions() -> None:
    made, evidence = intcem(), evidence_of(intcem())
    truth, target = batch()["concepts"], batch()["target"]
    asked = torch.zeros(5, 3)
    asked[:, 1] = 1
    chosen = made.greedy_group(evidence, truth, asked, target)
    groups = list(made.domain.group_columns().values())
    for row in range(5):
        scores = []
        for g, columns in enumerate(groups):
            names = {made.domain.concepts[c]: truth[:, c] for c in columns}
            after = made.readout(made.edit(evidence, names))[row, target[row]].item()
            scores.append(-torch.inf if asked[row, g] else after)
        assert chosen[row] == max(range(len(groups)), key=scores.__getitem__)


def test_rollout_asks_each_group_once_and_stays_binary() -> None:
    made = intcem().train()
    evidence = made.step(batch()["input"])[1]
    for steps in (1, 2, 3, 5):  # five steps with three groups: the last two have nothing left to ask for
        asked, loss = made._rollout(evidence, batch()["concepts"], torch.zeros(5, 3), batch()["target"], steps)
        assert set(asked.unique().tolist()) <= {0.0, 1.0}
        assert (asked.sum(1) == min(steps, 3)).all() and bool(loss.isfinite())


def test_policy_never_wants_what_was_asked() -> None:
    made, asked = intcem(), torch.zeros(5, 3)
    asked[:, 0] = 1
    wanted = made.next_group(evidence_of(made), asked)
    assert (wanted[:, 0] == -torch.inf).all() and bool(wanted[:, 1:].isfinite().all())


def test_loss_weighs_the_prediction_after_the_rollout_more() -> None:
    made = intcem().train()
    scores, evidence = made.step(batch()["input"])
    torch.manual_seed(1)
    terms = made.losses(scores, evidence, batch())
    torch.manual_seed(1)
    truth, target = batch()["concepts"], batch()["target"]
    first = made._first_groups(5, torch.device("cpu"))
    steps = 1 + made._below(min(made._limit(), 6))
    last, rollout = made._rollout(evidence, truth, first, target, steps)
    before, after = (F.cross_entropy(made._scores_at(evidence, truth, mu), target) for mu in (first, last))
    expected = (before + 1.1**steps * after) / (1 + 1.1**steps)
    torch.testing.assert_close(terms["task"], expected)
    torch.testing.assert_close(terms["rollout"], rollout)
    sum(terms.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in made.parameters())


def test_horizon_grows_with_the_steps_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, limits = intcem(), []
    made.horizon = 1.0
    for step in (0, 100, 200, 100_000_000):
        monkeypatch.setattr(type(made), "global_step", step, raising=False)
        limits.append(made._limit())
    assert limits == [1, 1, 2, 2]  # 1.005^100 = 1.6, 1.005^200 = 2.7; three groups, so two at most


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 0.0}, "gamma must be above 0; got 0.0"),
        ({"horizon": 0.5}, "horizon must be at least 1; got 0.5"),
        ({"randint_probability": 2}, r"randint_probability must be in \[0, 1\]; got 2"),
        ({"domain": replace(ROWS, task="regression")}, "IntCEM is a classifier; the task of these data is"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("intcem", **{"domain": ROWS, "backbone": "mlp", **change})
