"""InvariantRationale: a share of the edges decides alone, and the terms of DIR and CAL."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import GRAPHS, ROWS, build
from zoo.graphs import InvariantRationale
from zoo.networks.graph_batch import GraphBatch


@torch.no_grad()
def test_the_score_is_that_of_the_kept_edges_alone() -> None:
    small = build("invariant_rationale")
    model, x = small.model, small.inputs
    explanation, n = model.explain(x, 2, reference="zero").check(), GRAPHS.nodes
    for b, one in enumerate(x):
        batch = GraphBatch.of(one[None], GRAPHS)
        odds = model.choice.score(model.choice.trunk.nodes(batch), batch).tolist()  # tested in test_gsat and test_gin
        best = sorted(range(len(odds)), key=lambda e: -odds[e])[: math.ceil(0.5 * len(odds))]
        part = torch.zeros_like(one)  # the input without what is left out
        for e in best:
            edge = int(batch.place[e])
            ends = one[n + edge, 1:3].long()
            part[n + edge], part[ends] = one[n + edge], one[ends]
        states = GraphBatch.of(part[None], GRAPHS)
        votes = states.per_node(model.backbone.nodes(states))[0] @ model.head.weight.T
        torch.testing.assert_close(explanation.scores[b], votes.sum(0) + model.head.bias)
        torch.testing.assert_close(explanation.contributions[b], votes[:, 2] * part[:n, 0])
        assert torch.equal(explanation.activation[b], part[:n, 0])
        used = explanation.support[b, :, n:].amax(0)
        assert torch.equal(used, part[n:, 0])


def losses(model: InvariantRationale, x: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    scores, evidence = model.step(x)
    return model.losses(scores, evidence, {"target": target})


def test_terms_of_dir() -> None:
    small = build("invariant_rationale")
    model, x, target = small.model, small.inputs, torch.tensor([0, 1, 2, 0, 1])
    scores, evidence = model.step(x)
    context = model.shortcut(evidence.state["rest"])
    terms = losses(model, x, target)
    assert not terms["intervened"].any() and not terms["variance"].any()  # epoch 0
    risks = [F.cross_entropy(scores * context[j].sigmoid(), target) for j in range(5)]
    risk = model._risks(scores, context.sigmoid(), target)
    torch.testing.assert_close(risk, torch.stack(risks))
    torch.testing.assert_close(terms["shortcut"], F.cross_entropy(context, target))
    terms["shortcut"].backward()
    assert model.shortcut.weight.grad.any()
    assert all(p.grad is None or not p.grad.any() for p in model.backbone.parameters())


def test_terms_of_cal() -> None:
    small = build("invariant_rationale", regulariser="cal")
    model, x, target = small.model, small.inputs, torch.tensor([0, 1, 2, 0, 1])
    scores, evidence = model.step(x)
    context, terms = model.shortcut(evidence.state["rest"]), losses(model, x, target)
    uniform = torch.full((5, 3), 1 / 3)
    torch.testing.assert_close(terms["uniform"], F.kl_div(context.log_softmax(1), uniform, reduction="batchmean"))
    mixed = torch.stack([scores[i] + context[i - 1] for i in range(5)])
    torch.testing.assert_close(terms["backdoor"], F.cross_entropy(mixed, target))


def test_the_choice_learns_from_edges_that_are_kept_and_left_out() -> None:
    small = build("invariant_rationale", regulariser="none")
    model, x = small.model, small.inputs
    assert model.shortcut is None and set(model.coefficients) == {"task"}
    batch = GraphBatch.of(x, GRAPHS)
    odds = model.choice.odds(batch).detach().requires_grad_()
    model.choice.odds = lambda _: odds
    model.train()
    losses(model, x, torch.tensor([0, 1, 2, 0, 1]))["task"].backward()
    kept = model.choice.kept(odds.detach(), batch).flatten()[batch.place] > 0
    assert odds.grad is not None and odds.grad[kept].any() and odds.grad[~kept].any()


def test_a_graph_without_edges_has_the_bias() -> None:
    small = build("invariant_rationale")
    x = small.inputs.clone()
    x[:, GRAPHS.nodes :] = 0
    scores = small.model(x)
    torch.testing.assert_close(scores, small.model.head.bias.expand_as(scores))


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="InvariantRationale reads graphs; got a domain of rows"):
        InvariantRationale(ROWS)
    with pytest.raises(ValueError, match="regulariser must be one of none, dir, cal; got 'dri'"):
        InvariantRationale(GRAPHS, regulariser="dri")
    with pytest.raises(ValueError, match="share must be above 0"):
        InvariantRationale(GRAPHS, share=0.0)
