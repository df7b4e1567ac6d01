"""The engine: what an intervention is, that the cached sweep equals the whole model, and what it measures."""

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.interventions.caching import MODELS, batches, cached_rows, make
from tests.small_models import ROWS, protopnet
from tests.toy import fit
from zoo.concepts import CBM
from zoo.core.module import SelfInterpretable
from zoo.data import ConceptToy
from zoo.interventions import effects
from zoo.interventions.annotator import SimulatedAnnotator, class_labels
from zoo.interventions.cached_evidence import CachedEvidence, cache_evidence
from zoo.interventions.curve import Curve
from zoo.interventions.policies import CooP, Policy, Random, Uncertainty, make_policies
from zoo.interventions.policy_state import PolicyState
from zoo.interventions.protocol import Protocol, group_members
from zoo.interventions.sweep import GRID, sweep, tune

GROUPS = ROWS.group_columns()
MEMBERS = group_members(GROUPS, len(ROWS.concepts))


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> SelfInterpretable:
    return make(request.param)


@torch.no_grad()
def scores_after(model: SelfInterpretable, cached: CachedEvidence, asked: Tensor, labels: Tensor) -> Tensor:
    """By the engine, of groups asked (N, G)."""
    found_effects = effects.intervention_effects(model, cached.evidence, MEMBERS)
    return found_effects.scores(asked[:, None].float(), found_effects.changes(labels))[:, 0]


def asked(*names: str, rows: int = 40) -> Tensor:
    return torch.tensor([float(group in names) for group in GROUPS]).expand(rows, -1)


def test_no_group_is_the_identity(model: SelfInterpretable) -> None:
    cached = cached_rows(model)
    assert torch.equal(scores_after(model, cached, asked(), cached.concepts), model.readout(cached.evidence))


def test_own_values_are_the_identity() -> None:
    for name in ("cbm", "cbm-mlp", "cem"):  # their activations are probabilities, so they can be labels too
        model = make(name)
        cached = cached_rows(model)
        after = scores_after(model, cached, asked(*GROUPS), cached.evidence.activation)
        torch.testing.assert_close(after, model.readout(cached.evidence))


def test_every_order_ends_at_the_same_scores(model: SelfInterpretable) -> None:
    cached = cached_rows(model, missing=True)
    ends = []
    for order in permutations(GROUPS):
        evidence = cached.evidence
        for group in order:
            mask = asked(group) @ MEMBERS
            evidence = effects.set_concepts(model, evidence, mask, cached.concepts)
        ends.append(model.readout(evidence))
    assert all(torch.equal(end, ends[0]) for end in ends)
    every = scores_after(model, cached, asked(*GROUPS), cached.concepts)
    torch.testing.assert_close(every, ends[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(every, model.readout(cached.evidence), atol=1e-2)


def test_matrix_products_equal_full_readouts(model: SelfInterpretable) -> None:
    cached = cached_rows(model, missing=True)
    for names in (("colour",), ("round",), ("large", "colour")):
        mask = asked(*names) @ MEMBERS
        expected = model.readout(effects.set_concepts(model, cached.evidence, mask, cached.concepts))
        found = scores_after(model, cached, asked(*names), cached.concepts)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


class FixedOrder(Policy):
    """Colour, then large, then round."""

    name = "fixed"

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        wanted = {"colour": 3.0, "large": 2.0, "round": 1.0}
        return torch.tensor([wanted[name] for name in state.groups]).expand_as(state.intervened)


def test_cached_sweep_equals_a_sweep_of_the_whole_model(model: SelfInterpretable) -> None:
    """The reference runs the network again for every point, and edits concepts by name."""
    (curve,) = sweep(model, cached_rows(model), [FixedOrder()])
    right = torch.zeros(4)
    with torch.no_grad():
        for batch in batches():
            for n in range(4):
                evidence = model.step(batch["input"])[1]
                for group in ("colour", "large", "round")[:n]:
                    for k in GROUPS[group]:
                        value = model.annotated.values(batch["concepts"])[:, k]
                        evidence = model.edit(evidence, {ROWS.concepts[k]: value})
                right[n] += (model.readout(evidence).argmax(1) == batch["target"]).sum()
    assert torch.equal(curve.accuracy[0], right / 40)


def test_chunks_change_nothing(model: SelfInterpretable, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = cached_rows(model, missing=True)
    run = lambda: sweep(  # noqa: E731
        model,
        cached,
        [p.fit(model, cached, MEMBERS) for p in make_policies(["all"], model, cached)],
        Protocol(competences=(1.0, 0.3), rescore=True),
    )
    whole = run()
    monkeypatch.setattr(effects, "ELEMENTS", 7 * 5 * 8)
    assert effects.chunk_rows(model, cached) < 40
    for a, b in zip(whole, run(), strict=True):
        assert torch.equal(a.accuracy, b.accuracy), a.policy


def test_sweep_leaves_model_and_evidence_alone() -> None:
    model = make("intcem").train()
    cached = cached_rows(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    evidence, labels = cached.evidence.activation.clone(), cached.concepts.clone()
    sweep(model, cached, [*make_policies(["coop", "greedy", "learned"], model, cached)], Protocol(competences=(0.0,)))
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(cached.evidence.activation, evidence) and torch.equal(cached.concepts, labels)


def test_missing_labels_leave_the_prediction() -> None:
    model = make("cem")
    cached = cached_rows(model)
    cached.concepts[:, GROUPS["colour"]] = torch.nan
    (curve,) = sweep(model, cached, [FixedOrder()])
    assert curve.mean[1] == curve.mean[0]


def test_wrong_answers_let_a_trained_bottleneck_fall() -> None:
    data = ConceptToy("xor", count=400, batch_size=64)
    torch.manual_seed(0)
    model = CBM(
        data.domain,
        backbone={"name": "mlp", "widths": [32]},
        hidden=[16],
        recipe={"stages": [{"name": "joint", "epochs": 25, "train": ["backbone", "concepts", "head"]}], "lr": 0.01},
    )
    fit(model, data)
    cached = cache_evidence(model, data.test_dataloader())
    right, wrong = sweep(model, cached, [Random()], Protocol(competences=(1.0, 0.0)))
    assert right.mean[-1] > 0.95 and right.mean[-1] >= right.mean[0]
    assert wrong.mean[1] < 0.2  # one of the two coordinates lied about turns the answer of an exclusive or


def test_competence() -> None:
    truth = batches()[0]["concepts"]
    colours = [GROUPS["colour"]]
    wrong = SimulatedAnnotator(competence=0).annotate(truth, colours)
    assert torch.equal(wrong[:, :2], 1 - truth[:, :2])
    assert torch.equal(wrong[:, 2:].sum(1), torch.ones(25)) and not (wrong[:, 2:] * truth[:, 2:]).any()
    assert torch.equal(SimulatedAnnotator(competence=1).annotate(truth, colours), truth)
    many = torch.zeros(20_000, 1)
    assert SimulatedAnnotator(competence=0.7).annotate(many).mean() == pytest.approx(0.3, abs=0.02)
    unknown = truth.clone()
    unknown[0, 0] = torch.nan
    assert SimulatedAnnotator(competence=0).annotate(unknown, colours).isnan().sum() == 1


def test_class_level_labels() -> None:
    nan = torch.nan
    concepts = torch.tensor([[1, 0, 1, 0.0], [1, 1, 1, 0], [0, nan, 0, 1], [nan, nan, 0, 1]])
    found = class_labels(concepts, torch.tensor([0, 0, 1, 1]), [[2, 3]])
    expected = torch.tensor([[1, 1, 1, 0.0], [1, 1, 1, 0], [0, nan, 0, 1], [0, nan, 0, 1]])
    torch.testing.assert_close(found, expected, equal_nan=True)
    cached = CachedEvidence(cached_rows(make("cbm")).evidence, torch.tensor([0, 0, 1, 1]), concepts)
    torch.testing.assert_close(
        SimulatedAnnotator(level="class").true_labels(cached, [[2, 3]]), expected, equal_nan=True
    )


def test_what_annotators_did_not_see() -> None:
    model, seen = make("cbm"), torch.tensor([True, False, True, True, True])
    cached = cache_evidence(model, [{**batch, "visible": seen.expand_as(batch["concepts"])} for batch in batches()])
    assert torch.equal(SimulatedAnnotator().true_labels(cached), cached.concepts)
    skipped = SimulatedAnnotator(invisible="skip").true_labels(cached)
    assert skipped[:, 1].isnan().all() and torch.equal(skipped[:, 2:], cached.concepts[:, 2:])
    assert not SimulatedAnnotator(invisible="absent").true_labels(cached)[:, 1].any()
    with pytest.raises(ValueError, match=r"needs to know which concepts the annotators could see.*mask 'visible'"):
        SimulatedAnnotator(invisible="skip").true_labels(cached_rows(model))


def test_random_orders_are_averaged_and_repeatable() -> None:
    model = make("cem")
    cached = cached_rows(model)
    (first,), (again,) = (sweep(model, cached, [Random()], Protocol(orders=6)) for _ in range(2))
    assert first.accuracy.shape == (6, 4) and torch.equal(first.accuracy, again.accuracy)
    assert (first.accuracy[:, 0] == first.accuracy[0, 0]).all() and (first.accuracy[:, 3] == first.accuracy[0, 3]).all()
    assert first.std is not None and first.std[1] > 0
    (other,) = sweep(model, cached, [Random()], Protocol(orders=6, seed=1))
    assert not torch.equal(first.accuracy, other.accuracy)


def test_some_groups_and_single_concepts() -> None:
    model = make("cem")
    cached = cached_rows(model)
    (some,) = sweep(model, cached, [FixedOrder()], Protocol(groups=("large", "colour")))
    (every,) = sweep(model, cached, [FixedOrder()])
    assert torch.equal(some.mean, every.mean[:3])
    (single,) = sweep(model, cached, make_policies(["lcp"], model, cached), Protocol(individually=True))
    assert len(single.mean) == 6 and single.mean[-1] == every.mean[-1]


def test_curve_in_numbers() -> None:
    curve = Curve("fixed", 1.0, torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.7, 1.0]]))
    torch.testing.assert_close(curve.mean, torch.tensor([0.5, 0.6, 1.0]))
    assert curve.area == pytest.approx((0.55 + 0.8) / 2)
    assert curve.at(0.25) == pytest.approx(0.55) and curve.at(1) == 1 and curve.at(0.5) == pytest.approx(0.6)
    plain = curve.to_dict()
    assert plain["accuracy_at"] == pytest.approx({"0%": 0.5, "25%": 0.55, "50%": 0.6, "100%": 1.0})
    assert plain["std"][1] == pytest.approx(0.2 / 2**0.5) and Curve("a", 1.0, curve.accuracy[:1]).std is None


def test_tuned_coop_is_the_best_of_the_grid() -> None:
    model = make("cem")
    cached = cached_rows(model)
    chosen = tune(model, cached)
    value = {}
    for alpha in GRID:
        for beta in GRID:
            (curve,) = sweep(model, cached, [CooP(alpha, beta)])
            value[alpha, beta] = sum(a * (1 - n / 3) for n, a in enumerate(curve.mean.tolist()))
    assert value[chosen.alpha, chosen.beta] == pytest.approx(max(value.values()))
    assert len({round(v, 6) for v in value.values()}) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": ("color",)}, "no concept group named 'color'; did you mean 'colour'"),
        ({"groups": ("gren",), "individually": True}, "no concept named 'gren'; did you mean 'green'"),
        ({"reduce": "sum"}, "reduce must be one of mean, max; got 'sum'"),
        ({"orders": 0}, "orders must be at least 1; got 0"),
        ({"competences": (1.2,)}, r"competence must be in \[0, 1\]; got 1.2"),
        ({"level": "row"}, "level must be one of instance, class; got 'row'"),
        ({"invisible": "no"}, "invisible must be one of label, skip, absent; got 'no'"),
    ],
)
def test_mistakes_in_a_protocol(settings: dict[str, Any], message: str) -> None:
    model = make("cbm")
    with pytest.raises(ValueError, match=message):
        sweep(model, cached_rows(model), [Random()], Protocol(**settings))


def test_models_and_data_without_concepts_are_refused() -> None:
    small = protopnet()
    with pytest.raises(ValueError, match=r"ProtoPNet has none; use a model with annotated concepts"):
        cache_evidence(small.model, [])
    model = make("cbm")
    plain = [{k: v for k, v in batch.items() if k != "concepts"} for batch in batches()]
    with pytest.raises(ValueError, match=r"true concepts \(B, 5\) in each batch, under 'concepts'; got none"):
        cache_evidence(model, plain)
    with pytest.raises(ValueError, match="there are no batches to cache"):
        cache_evidence(model, [])


def test_unknown_concept_of_an_edit_names_the_nearest() -> None:
    model = make("cbm")
    with pytest.raises(ValueError, match=r"no unit named 'rond'; did you mean 'round'\?"):
        model.edit(cached_rows(model).evidence, {"rond": 1.0})


def test_groups_are_scored_as_published_unless_asked() -> None:
    """The public code of IntCEM takes the maximum of a group for uncertainty; the other policies take the mean."""
    made, asked_for = make("cbm"), []

    class Recorded(Uncertainty):
        def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
            asked_for.append(reduce)
            return super().group_scores(state, reduce)

    for reduce in (None, "mean"):
        sweep(made, cached_rows(made), [Recorded()], Protocol(reduce=reduce, rescore=False))
    assert asked_for == ["max", "mean"] and CooP.reduce == Random.reduce == "mean"
