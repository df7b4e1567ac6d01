"""CEM and IntCEM: fused equals one layer a concept; RandInt, interventions and rollouts do what they say."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from tests.small_models import ROWS, build, cem, rows_of_table
from tests.toy import fit
from zoo.concepts import CEM, IntCEM
from zoo.concepts.layers.embeddings import ConceptEmbedding
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.data import ConceptToy

DATA = ConceptToy("dot", count=400, batch_size=64)


@pytest.fixture(params=["cem", "intcem"])
def model(request: pytest.FixtureRequest) -> SelfInterpretable:
    torch.manual_seed(0)
    return cem(request.param, **({"policy": [8]} if request.param == "intcem" else {})).model


def evidence_of(model: SelfInterpretable) -> Evidence:
    with torch.no_grad():
        return model.step(rows_of_table())[1]


def batch() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    colours = torch.eye(3)[torch.randint(0, 3, (5,), generator=draw)]
    concepts = torch.cat([torch.randint(0, 2, (5, 2), generator=draw).float(), colours], 1)
    return {"input": rows_of_table(), "target": torch.tensor([0, 1, 2, 1, 0]), "concepts": concepts}


@pytest.mark.parametrize("shared", [True, False])
def test_one_matrix_product_equals_one_layer_a_concept(shared: bool) -> None:
    d, k, m = 7, 5, 4
    fused = ConceptEmbedding(d, k, m, shared)
    h = torch.randn(6, d)
    positive, negative, logit = fused(h)
    for i in range(k):
        layer = nn.Linear(d, 2 * m)
        layer.weight.data = fused.embed.weight[2 * m * i : 2 * m * (i + 1)]
        layer.bias.data = fused.embed.bias[2 * m * i : 2 * m * (i + 1)]
        both = F.leaky_relu(layer(h))
        assert (positive[:, i] - both[:, :m]).abs().max() < 1e-6
        assert (negative[:, i] - both[:, m:]).abs().max() < 1e-6
        row = 0 if shared else i
        assert (logit[:, i] - both @ fused.score[row] - fused.bias[row]).abs().max() < 1e-6


def test_embedding_is_mixed_by_the_probability(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    p, c = evidence.activation[..., None], model.mixed(evidence)
    torch.testing.assert_close(c, p * evidence.state["positive"] + (1 - p) * evidence.state["negative"])


def test_no_mask_and_own_value_change_nothing(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    scores, every = model.readout(evidence), torch.ones_like(evidence.activation, dtype=torch.bool)
    assert torch.equal(model.readout(model.intervene(evidence, ~every, 1 - evidence.activation)), scores)
    assert torch.equal(model.readout(model.intervene(evidence, every, evidence.activation)), scores)


def test_disjoint_interventions_commute(model: SelfInterpretable) -> None:
    evidence, a, b = evidence_of(model), {"round": 1.0}, {"red": 0.0, "blue": 1.0}
    first = model.readout(model.edit(model.edit(evidence, a), b))
    assert torch.equal(first, model.readout(model.edit(model.edit(evidence, b), a)))
    assert not torch.allclose(first, model.readout(evidence))


def test_closed_form_counterfactual_equals_a_full_readout(model: SelfInterpretable) -> None:
    evidence = evidence_of(model)
    scores, p = model.scores_if(evidence), model.concept_probability(evidence)
    for k, name in enumerate(model.domain.concepts):
        others = [j for j in (2, 3, 4) if k > 1 and j != k]  # of the colours one is present
        for truth in (0, 1):
            rest = {j: (1 - truth) * p[:, j] / sum(p[:, i] for i in others) for j in others}
            expected = model.readout(model.edit(evidence, {name: float(truth), **rest}))
            torch.testing.assert_close(scores[:, truth, k], expected, rtol=1e-5, atol=1e-5)


def randint_scores(monkeypatch: pytest.MonkeyPatch, draw: Tensor, **options: object) -> tuple[CEM, Tensor]:
    """The task term of a CEM in training whose RandInt draws are given."""
    torch.manual_seed(0)
    made = cem(**options).model.train()
    scores, evidence = made.step(batch()["input"])
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: draw.expand(*shape).clone())
    return made, made.losses(scores, evidence, batch())["task"]


def test_randint_puts_true_values_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made, task = randint_scores(monkeypatch, torch.tensor([0.1, 0.9, 0.9, 0.9, 0.9]))
    evidence = made.step(batch()["input"])[1]
    expected = made.readout(made.edit(evidence, {"round": batch()["concepts"][:, 0]}))
    torch.testing.assert_close(task, F.cross_entropy(expected, batch()["target"]))


def test_randint_takes_an_exclusive_group_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made, task = randint_scores(monkeypatch, torch.tensor([0.9, 0.9, 0.1, 0.9, 0.9]))
    evidence, truth = made.step(batch()["input"])[1], batch()["concepts"]
    colours = {name: truth[:, 2 + i] for i, name in enumerate(("red", "green", "blue"))}
    torch.testing.assert_close(task, F.cross_entropy(made.readout(made.edit(evidence, colours)), batch()["target"]))


@pytest.mark.parametrize(("randint", "rows"), [("sample", 4000), ("batch", 1)])
def test_randint_is_drawn_for_every_row_or_once(randint: str, rows: int) -> None:
    torch.manual_seed(0)
    made = cem(randint=randint).model
    labels = torch.ones(4000, 5)
    labels[:, 1] = torch.nan
    mask = made._randint(labels)
    assert mask.expand(4000, -1).unique(dim=0).shape[0] == (1 if rows == 1 else 4)
    assert not mask[:, 1].any()  # nobody knows its true value
    if rows > 1:
        assert abs(mask[:, 0].float().mean() - 0.25) < 0.03


def test_evaluation_uses_no_labels() -> None:
    made = cem().model
    scores, evidence = made.step(batch()["input"])
    torch.testing.assert_close(
        made.losses(scores, evidence, batch())["task"], F.cross_entropy(scores, batch()["target"])
    )


def test_learns_where_concepts_are_not_enough() -> None:
    torch.manual_seed(0)
    made = CEM(
        DATA.domain,
        backbone={"name": "mlp", "widths": [64]},
        width=32,
        recipe={
            "stages": [{"name": "joint", "epochs": 60, "train": ["backbone", "concepts", "head"]}],
            "lr": 0.01,
            "coefficients": {"concepts": 1},
        },
    )
    trainer = fit(made, DATA)
    trainer.test(made, datamodule=DATA, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.85  # the concepts alone allow 0.75
    assert trainer.callback_metrics["test/concept_auc"] > 0.95


def intcem() -> IntCEM:
    torch.manual_seed(0)
    return build("intcem", policy=[8], horizon=4.0).model


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
    ("name", "change", "message"),
    [
        ("cem", {"randint": "row"}, "randint must be 'sample' or 'batch'; got 'row'"),
        ("cem", {"width": 0}, "expected width >= 1 and randint_probability in .*; got 0 and 0.25"),
        ("cem", {"randint_probability": 1.5}, "got 16 and 1.5"),
        ("intcem", {"gamma": 0.0}, "gamma > 0, .*; got 16, 0.0, 2.0 and 0.25"),
    ],
)
def test_number_out_of_range(name: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model(name, domain=ROWS, backbone="mlp", **change)
