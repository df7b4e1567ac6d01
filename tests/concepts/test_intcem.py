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
    evidence, start = made.step(batch()["input"])[1], torch.zeros(5, 3)
    start[4] = 1  # nothing is left to request
    steps = torch.tensor([2, 1, 0, 2, 0])
    asked, loss = made._rollout(evidence, batch()["concepts"], start, batch()["target"], steps)
    assert set(asked.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(asked.sum(1), start.sum(1) + steps) and bool(loss.isfinite()) and loss > 0
    assert made._rollout(evidence, batch()["concepts"], start, batch()["target"], torch.zeros_like(steps))[1] == 0


def test_lengths_of_rollouts_have_the_published_distribution() -> None:
    """Horizon 6.9 and six groups, no RandInt: P(T = 1 ... 5) is the mean of uniform laws that the groups left limit."""
    made = build(
        "intcem", domain=replace(ROWS, concepts=tuple("abcdef"), concept_groups={}, exclusive=()), horizon=6.9
    ).model
    made.randint_probability = 0.0
    randint, first, steps = made._draw_start(40_000, torch.device("cpu"))
    expected = torch.zeros(6)
    for more in range(5):  # groups that join at the start
        expected[1 : 6 - more] += 1 / 5 / (5 - more)
    torch.testing.assert_close(steps.bincount(minlength=6) / len(steps), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(expected[1:], torch.tensor([0.457, 0.257, 0.157, 0.09, 0.04]), atol=1e-3, rtol=0)
    assert (randint == 0).all() and (first.sum(1) + steps <= 5).all()
    torch.testing.assert_close(first.mean(0), torch.full((6,), 2 / 6), atol=0.01, rtol=0)  # 0 to 4 of six groups
    made.randint_probability = 1.0
    randint, first, steps = made._draw_start(10, torch.device("cpu"))
    assert (randint == 1).all() and (first == 1).all() and (steps == 0).all()


def test_the_policy_has_the_published_layers() -> None:
    """BatchNorm before every linear layer, the last included; the input are the embeddings and one bit per concept."""
    layers = [type(layer).__name__ for layer in intcem().policy]
    assert layers == ["BatchNorm1d", "Linear", "LeakyReLU", "BatchNorm1d", "Linear"]
    assert intcem().policy[1].in_features == 5 * 3 + 5


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
    randint, first, steps = made._draw_start(5, torch.device("cpu"))
    last, rollout = made._rollout(evidence, truth, first, target, steps)
    before, after = (
        F.cross_entropy(made._scores_at(evidence, truth, mu), target, reduction="none") for mu in (randint, last)
    )
    expected = torch.stack(
        [(b + 1.1**t * a) / (1 + 1.1**t) for b, a, t in zip(before, after, steps, strict=True)]
    ).mean()
    assert steps.max() > 0
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
    assert limits == [1, 1, 2, 4]  # 1.005^100 = 1.6, 1.005^200 = 2.7; three groups


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
