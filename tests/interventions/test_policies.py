"""Policies: each score against an implementation that loops over rows and concepts and calls the model for each."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.interventions.caching import MODELS, cached_rows, make
from tests.small_models import ROWS
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.interventions import effects, outcome_distributions
from zoo.interventions.cached_evidence import CachedEvidence
from zoo.interventions.policies import (
    POLICIES,
    CooP,
    ValidationError,
    ValidationImprovement,
    check_names,
    make_policies,
)
from zoo.interventions.policies.base import reduce_to_groups
from zoo.interventions.policy_state import PolicyState
from zoo.interventions.protocol import Protocol, group_members
from zoo.interventions.sweep import sweep

GROUPS = ROWS.group_columns()
MEMBERS = group_members(GROUPS, len(ROWS.concepts))
DONE = (GROUPS["large"], list(GROUPS).index("large"))


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> SelfInterpretable:
    return make(request.param)


def state_of(model: SelfInterpretable, cached: CachedEvidence) -> PolicyState:
    """After the group "large" is set."""
    found_effects = effects.intervention_effects(model, cached.evidence, MEMBERS)
    intervened = torch.zeros(len(cached), len(GROUPS))
    intervened[:, DONE[1]] = 1
    changes = found_effects.changes(cached.concepts)
    return PolicyState(
        model=model,
        effects=found_effects,
        probability=model.annotated.probability(cached.evidence),
        truth=cached.concepts,
        target=cached.target,
        labels=cached.concepts,
        changes=changes,
        true_changes=changes,
        intervened=intervened,
        noise=torch.rand(len(cached), len(GROUPS)),
        groups=tuple(GROUPS),
        columns=range(len(GROUPS)),
    )


class Naive:
    """One row at a time, one readout for each question."""

    def __init__(self, model: SelfInterpretable, cached: CachedEvidence, row: int) -> None:
        self.model = model
        evidence = cached.part(slice(row, row + 1), "cpu").evidence
        self.p = model.annotated.probability(evidence)[0].tolist()
        self.c, self.y = cached.concepts[row], int(cached.target[row])
        self.evidence = self.set(evidence, {k: float(self.c[k]) for k in DONE[0]})

    def set(self, evidence: Evidence, truths: dict[int, float]) -> Evidence:
        labels = torch.zeros(1, len(self.p))
        for k, truth in truths.items():
            labels[0, k] = truth
        values = self.model.annotated.values(labels)
        return self.model.edit(evidence, {k: float(values[0, k]) for k in truths})

    def alone(self, k: int, truth: float) -> dict[int, float]:
        """Concept k at absent or present, and what the others of its exclusive group then are."""
        others = next((set(c) - {k} for c in self.model.annotated.exclusive if k in c), set())
        total = sum(self.p[j] for j in others)
        return {k: truth} | {j: 0.0 if truth else self.p[j] / total for j in others}

    def shares(self, truths: dict[int, float]) -> list[float]:
        return self.model.readout(self.set(self.evidence, truths)).double().softmax(1)[0].tolist()

    def score(self, policy: str, k: int) -> float:
        p, now = self.p[k], self.shares({})
        absent, present = self.shares(self.alone(k, 0.0)), self.shares(self.alone(k, 1.0))
        entropy = lambda q: -sum(v * math.log(v) for v in q if v > 0)  # noqa: E731
        kl = lambda q: sum(v * math.log(v / w) for v, w in zip(q, now, strict=True) if v > 0)  # noqa: E731
        best = now.index(max(now))
        match policy:
            case "uncertainty":
                return 1 / abs(p - 0.5)
            case "entropy":
                return entropy([p, 1 - p])
            case "lcp":
                return (p - float(self.c[k])) ** 2
            case "cctp":
                return p * sum(abs(s) for s in self.slopes(k))
            case "ectp":
                return (1 - p) * kl(absent) + p * kl(present)
            case "eudtp":
                return entropy(now) - (1 - p) * entropy(absent) - p * entropy(present)
            case "coop":
                change = abs((1 - p) * absent[best] + p * present[best] - now[best])
                return 2.0 * entropy([p, 1 - p]) / math.log(2) + 3.0 * change
        raise KeyError(policy)

    def slopes(self, k: int) -> list[float]:
        """How much each score moves per unit of the activation, by a step of one."""
        a = float(self.evidence.activation[0, k])
        here, there = (self.model.readout(self.model.edit(self.evidence, {k: v}))[0] for v in (a, a + 1))
        return (there - here).tolist()


@pytest.mark.parametrize("name", ["uncertainty", "entropy", "lcp", "cctp", "ectp", "eudtp", "coop"])
@torch.no_grad()
def test_scores_equal_a_naive_loop(name: str, model: SelfInterpretable) -> None:
    cached = cached_rows(model).part(slice(0, 6), "cpu")
    policy = CooP(2.0, 3.0) if name == "coop" else POLICIES[name]()
    if policy.missing(model, cached):
        assert name == "cctp" and not model.additive
        return
    found = policy.concept_scores(state_of(model, cached))
    open_ = [k for k in range(len(ROWS.concepts)) if k not in DONE[0]]
    for row in range(len(cached)):
        naive = Naive(model, cached, row)
        expected = torch.tensor([naive.score(name, k) for k in open_])
        torch.testing.assert_close(found[row, open_], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_greedy_equals_a_naive_loop(model: SelfInterpretable) -> None:
    cached = cached_rows(model).part(slice(0, 6), "cpu")
    found = POLICIES["greedy"]().group_scores(state_of(model, cached), "mean").exp()
    for row in range(len(cached)):
        naive = Naive(model, cached, row)
        for g, columns in enumerate(GROUPS.values()):
            if g == DONE[1]:
                continue
            expected = naive.shares({k: float(naive.c[k]) for k in columns})[naive.y]
            assert found[row, g].item() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_learned_is_the_models_own_policy() -> None:
    model = make("intcem")
    cached = cached_rows(model)
    now = state_of(model, cached)
    edited = model.edit(cached.evidence, {"large": cached.concepts[:, 1]})
    torch.testing.assert_close(
        POLICIES["learned"]().group_scores(now, "mean"), model.next_group(edited, now.intervened)
    )


@torch.no_grad()
def test_global_policies() -> None:
    model = make("cem")
    cached = cached_rows(model)
    now = state_of(model, cached)
    from sklearn.metrics import roc_auc_score

    areas = [roc_auc_score(cached.concepts[:, k], now.probability[:, k]) for k in range(5)]
    found = ValidationError().fit(model, cached, MEMBERS).concept_scores(now)
    torch.testing.assert_close(found[7], torch.tensor([1 / abs(a - 0.5) for a in areas]).float(), rtol=1e-4, atol=1e-4)
    gains = ValidationImprovement().fit(model, cached, MEMBERS).group_scores(now, "mean")[3]
    for g, columns in enumerate(GROUPS.values()):
        edited = model.edit(cached.evidence, {k: cached.concepts[:, k] for k in columns})
        assert gains[g].item() == pytest.approx(
            (model.readout(edited).argmax(1) == cached.target).float().mean().item()
        )


def test_global_policies_must_be_fitted() -> None:
    model = make("cem")
    for policy in (ValidationError(), ValidationImprovement()):
        with pytest.raises(RuntimeError, match=f"the policy '{policy.name}' learns from validation data; call its fit"):
            sweep(model, cached_rows(model), [policy])


def test_groups_take_the_mean_or_maximum() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, -8.0]])
    assert list(GROUPS) == ["colour", "round", "large"]
    torch.testing.assert_close(reduce_to_groups(scores, MEMBERS, "mean"), torch.tensor([[-1 / 3, 1.0, 2.0]]))
    torch.testing.assert_close(reduce_to_groups(scores, MEMBERS, "max"), torch.tensor([[4.0, 1.0, 2.0]]))


@torch.no_grad()
def test_costs_are_subtracted() -> None:
    model = make("cem")
    now = state_of(model, cached_rows(model))
    free, dear = (CooP(costs=costs).group_scores(now, "mean") for costs in ({}, {"colour": 0.7}))
    torch.testing.assert_close(free - dear, torch.tensor([0.7, 0.0, 0.0]).expand_as(free))
    (curve,) = sweep(model, cached_rows(model), [CooP(costs={"round": 1e6})])
    (none,) = sweep(
        model, cached_rows(model), [CooP(costs={"round": 1e6})], Protocol(groups=("colour", "large", "round"))
    )
    assert torch.equal(curve.mean, none.mean)  # the dearest comes last, wherever it stands
    with pytest.raises(
        ValueError, match=r"costs names 'color', which is not among the groups of the protocol; did you mean 'colour'\?"
    ):
        CooP(costs={"color": 1.0}).group_scores(now, "mean")


@torch.no_grad()
def test_greedy_is_no_worse_than_any_other_first_step(model: SelfInterpretable) -> None:
    cached = cached_rows(model)
    now = replace(state_of(model, cached), intervened=torch.zeros(40, 3))
    shares = POLICIES["greedy"]().group_scores(now, "mean")
    first = now.after(shares.argmax(1, keepdim=True)).scores.log_softmax(1).gather(1, cached.target[:, None])
    torch.testing.assert_close(first[:, 0], shares.amax(1), rtol=1e-4, atol=1e-5)


def test_scoring_once_or_after_every_answer_differ() -> None:
    model = make("cem", steep=6.0)
    cached = cached_rows(model)
    policies = make_policies(["coop", "ectp", "uncertainty"], model, cached)
    named = {None: None, True: None, False: None}
    for rescore in named:
        named[rescore] = {c.policy: c for c in sweep(model, cached, policies, Protocol(rescore=rescore))}
    always, once, published = named[True], named[False], named[None]
    assert torch.equal(published["coop"].accuracy, always["coop"].accuracy)
    assert torch.equal(published["ectp"].accuracy, once["ectp"].accuracy)
    assert torch.equal(always["uncertainty"].accuracy, once["uncertainty"].accuracy)
    assert any(not torch.equal(always[n].accuracy, once[n].accuracy) for n in ("coop", "ectp"))


@pytest.mark.parametrize("spread", [1.0, 9.0, 200.0])
def test_factored_equals_direct_in_every_range(spread: float) -> None:
    """Of confident and of flat distributions; where E_v spans too much, the logarithms are taken one by one."""
    model = make("cem")
    with torch.no_grad():
        model.head.weight.mul_(spread)
    cached = cached_rows(model)
    with torch.no_grad():
        found_effects = effects.intervention_effects(model, cached.evidence, MEMBERS)
        now = state_of(model, cached)
        found = found_effects.outcomes(now.scores, now.intervened, now.labels)
        assert isinstance(
            found, outcome_distributions.DirectOutcomes if spread == 200 else outcome_distributions.FactoredOutcomes
        )
        evidence = now.evidence()
        both = model.annotated.counterfactual_scores(model, evidence).double()
        expected = outcome_distributions.DirectOutcomes(both, now.scores.double().log_softmax(1))
        open_ = [0, 2, 3, 4]
        for measure in ("entropy", "divergence"):
            ours, theirs = getattr(found, measure)(), getattr(expected, measure)()
            torch.testing.assert_close(ours[..., open_].double(), theirs[..., open_], rtol=1e-3, atol=1e-4 * spread)
        ours, theirs = found.probability(cached.target), expected.probability(cached.target)
        torch.testing.assert_close(ours[..., open_].double(), theirs[..., open_], rtol=1e-3, atol=1e-5)


def test_names_of_policies(model: SelfInterpretable) -> None:
    cached = cached_rows(model)
    lacks = {p for p, kind in POLICIES.items() if kind().missing(model, cached)}
    every = [policy.name for policy in make_policies(["all"], model, cached)]
    assert set(every) == set(POLICIES) - lacks and len(every) == len(set(every))
    assert ("learned" in lacks) == (not hasattr(model, "next_group")) and ("cctp" in lacks) == (not model.additive)
    with pytest.raises(ValueError, match=r"no intervention policy named 'cop'; did you mean 'coop'\?"):
        check_names(["cop"])
    with pytest.raises(
        ValueError, match=r"'all' selects every intervention policy and must be the only name; got random, all"
    ):
        check_names(["random", "all"])
    for name in lacks:
        with pytest.raises(ValueError, match=rf"the policy '{name}' needs .*; \w+ has none. Leave it out."):
            make_policies([name], model, cached)


def test_learned_asks_for_whole_groups() -> None:
    model = make("intcem")
    cached = cached_rows(model)
    with pytest.raises(ValueError, match="the policy 'learned' requests whole concept groups"):
        sweep(model, cached, make_policies(["learned"], model, cached), Protocol(individually=True))


def naive_sweep(model: SelfInterpretable, cached: CachedEvidence, name: str) -> Tensor:
    """CooP, row by row and readout by readout."""
    right = torch.zeros(len(GROUPS) + 1)
    for row in range(len(cached)):
        naive = Naive(model, cached, row)
        naive.evidence, left = cached.part(slice(row, row + 1), "cpu").evidence, dict(GROUPS)
        for n in range(len(GROUPS) + 1):
            shares = naive.shares({})
            right[n] += shares.index(max(shares)) == naive.y
            if left:
                score = {g: sum(naive.score(name, k) for k in c) / len(c) for g, c in left.items()}
                columns = left.pop(max(score, key=score.__getitem__))
                naive.evidence = naive.set(naive.evidence, {k: float(naive.c[k]) for k in columns})
    return right / len(cached)


@torch.no_grad()
def test_a_whole_sweep_equals_a_naive_one(model: SelfInterpretable) -> None:
    cached = cached_rows(model).part(slice(0, 12), "cpu")
    protocol = Protocol(rescore=True)
    policies = [CooP(2.0, 3.0), *make_policies(["ectp", "eudtp"], model, cached)]
    for curve in sweep(model, cached, policies, protocol):
        torch.testing.assert_close(curve.accuracy[0], naive_sweep(model, cached, curve.policy))
