"""The laws of the zoo, over every registered model."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from tests.small_models import SMALL, SUBWORDS, VARIANTS, Small
from zoo import ExplainingForward
from zoo.checkpoints.verify import verify
from zoo.core import registry
from zoo.core.reference import REFERENCES, relative


@pytest.fixture(scope="module", params=[*SMALL, *VARIANTS, *SUBWORDS])
def small(request: pytest.FixtureRequest) -> Small:
    torch.manual_seed(0)
    return {**SMALL, **VARIANTS, **SUBWORDS}[request.param]()


def test_a_model_is_a_file_named_after_its_key() -> None:
    """So the registry finds a model without importing any other, and no model escapes the laws below."""
    for entry in registry.entries():
        assert entry.module == f"zoo.{entry.family}.{entry.name}"
        assert registry.name_of(entry.cls) == entry.name and entry.cls.__name__ == entry.class_name


def test_explanation_has_the_scores_of_forward(small: Small) -> None:
    assert torch.equal(small.model.explain(small.inputs).scores, small.model(small.inputs))


@pytest.mark.parametrize("target", [None, 0, "star"])
def test_contributions_add_up_to_the_score(small: Small, target: int | str | None) -> None:
    explanation = small.model.explain(small.inputs, target)
    if small.model.additive:
        explanation.check()
    if target == "star":
        assert explanation.target_names == ["star"] * len(small.inputs)
    if target is None and small.model.domain.task == "classification":
        assert torch.equal(explanation.target, explanation.scores.argmax(1))


def test_rows_do_not_depend_on_the_batch(small: Small) -> None:
    together = small.model.explain(small.inputs)
    for i in range(len(small.inputs)):
        alone = small.model.explain(small.inputs[i : i + 1])
        for name in ("scores", "contributions", "bias", "activation", "support"):
            whole, row = getattr(together[i], name), getattr(alone, name)
            torch.testing.assert_close(row, whole, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_explaining_changes_nothing(small: Small) -> None:
    model, x = small.model, small.inputs.clone()
    model.train()
    next(model.children()).eval()  # mixed modes, as in a recipe that freezes a group
    modes = [m.training for m in model.modules()]
    state, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.explain(x)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(x, small.inputs) and not x.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(p.grad is None for p in model.parameters())
    model.eval()


def test_removing_a_unit_moves_the_score_by_its_contribution(small: Small) -> None:
    model = small.model
    if not model.additive:
        pytest.skip("the score is no sum of units")
    explanation = model.explain(small.inputs)
    views = [explanation.relative_to(name) for name in explanation.references]
    with torch.no_grad():
        evidence = model.step(small.inputs)[1]
        for k, unit in enumerate(explanation.units):
            scores = model.readout(model.ablate(evidence, [unit.name]))
            for view in views:
                left = relative(scores, view.target, view.reference, view.runner_up)
                moved = (view.relative_score - left).float()
                torch.testing.assert_close(moved, view.contributions[:, k], rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(view.without([unit.name]), left, rtol=1e-4, atol=1e-5)


def test_contributions_add_up_relative_to_every_reference(small: Small) -> None:
    model, x = small.model, small.inputs
    whole = model.explain(x, every_class=True)
    if not model.additive or model.domain.task != "classification":
        assert whole.references == ("zero",)
        with pytest.raises(ValueError, match="use reference='zero'"):
            model.explain(x, reference="mean")
        return
    assert whole.reference == model.reference and set(whole.references) == set(REFERENCES)
    scores, rows, rival = whole.scores, torch.arange(len(x)), whole.runner_up
    assert torch.equal(rival, scores.topk(2, 1).indices[:, 1]) and not bool((rival == whole.target).any())
    minus = {"zero": torch.zeros_like(scores[:, 0]), "mean": scores.mean(1), "runner-up": scores[rows, rival]}
    for name, base in minus.items():
        view = model.explain(x, reference=name).check()
        assert view.reference == name
        torch.testing.assert_close(view.relative_score.float(), whole.score - base, rtol=1e-4, atol=1e-5)
        expected = relative(whole.effects, whole.target, name, rival)
        for other in (view, whole.relative_to(name).check()):
            torch.testing.assert_close(other.contributions, expected, rtol=1e-4, atol=1e-5)
    last = len(model.domain.classes) - 1
    asked = model.explain(x, last, reference="runner-up").check()  # the strongest class besides the one asked for
    assert torch.equal(asked.runner_up, scores[:, :last].argmax(1))


def test_the_readout_sees_nothing_but_the_evidence(small: Small) -> None:
    """Scores must come back from a copy of the evidence, with the backbone out of reach."""
    model = copy.deepcopy(small.model)
    with torch.no_grad():
        scores, evidence = model.step(small.inputs)
        for name, child in model.named_children():
            if name != "head":
                child.register_forward_pre_hook(_refuse)
        assert torch.equal(model.readout(copy.deepcopy(evidence)), scores)


def _refuse(module: nn.Module, inputs: object) -> None:
    raise AssertionError(f"the readout ran {type(module).__name__}")


def test_units_match_the_columns_and_have_human_names(small: Small) -> None:
    explanation = small.model.explain(small.inputs)
    names = [unit.name for unit in explanation.units]
    assert len(names) == explanation.activation.shape[1] == len(set(names))
    assert all(name.strip() and not name.startswith("unit") for name in names)
    if explanation.support is not None:
        assert explanation.support.shape[:2] == explanation.activation.shape
        assert explanation.support.min() >= 0 and explanation.support.max() <= 1


def test_save_load_explain_is_bit_equal(small: Small, tmp_path) -> None:
    loaded = zoo.load(zoo.save(small.model, tmp_path / "checkpoint"))
    before, after = small.model.explain(small.inputs), loaded.explain(small.inputs)
    for name in ("scores", "contributions", "bias", "activation", "support"):
        mine, theirs = getattr(before, name), getattr(after, name)
        assert (mine is None and theirs is None) or torch.equal(mine, theirs), name
    assert before.details.keys() == after.details.keys()
    assert all(torch.equal(value, after.details[name]) for name, value in before.details.items())
    for mine, theirs in zip(before.units, after.units, strict=True):
        assert (mine.name, mine.kind, mine.target, mine.source) == (
            theirs.name,
            theirs.kind,
            theirs.target,
            theirs.source,
        )
        assert mine.picture is None or torch.equal(mine.picture, theirs.picture)
    assert verify(tmp_path / "checkpoint") == 0


def test_export_reproduces_the_explanation_at_another_batch_size(small: Small, request: pytest.FixtureRequest) -> None:
    """Every registered model, and each other modality that it reads, at the size that it is traced with.

    Variants on the first modality are not exported: tracing costs seconds, and their networks are built of the same
    layers.
    """
    name = request.node.callspec.params["small"]
    fixed = name not in SMALL
    if name in VARIANTS:
        model, _, variant = name.partition("-")
        if registry.small_of(model).variants[variant].on is None:
            pytest.skip("exported in its first configuration")
    example = small.inputs if fixed else small.inputs[:3]
    shapes = None if fixed else {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(ExplainingForward(small.model), (example,), dynamic_shapes=shapes)
    exported, explanation = program.module()(small.inputs), small.model.explain(small.inputs, reference="zero")
    for name in ("scores", "target", "contributions", "bias", "activation", "support"):
        if getattr(explanation, name) is not None:
            torch.testing.assert_close(exported[name], getattr(explanation, name), msg=lambda m, n=name: f"{n}: {m}")


def test_bf16_autocast_stays_close_and_explanations_stay_exact(small: Small) -> None:
    exact = small.model.explain(small.inputs)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        cast = small.model.explain(small.inputs, exact.target)
        if small.model.additive:
            cast.check()
        assert torch.equal(cast.scores, small.model(small.inputs))
    assert cast.scores.dtype == torch.float32
    torch.testing.assert_close(cast.scores, exact.scores, rtol=0.1, atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(small: Small) -> None:
    before = small.model.explain(small.inputs)
    after = copy.deepcopy(small.model).cuda().explain(small.inputs.cuda(), before.target.cuda()).check()
    torch.testing.assert_close(after.scores.cpu(), before.scores, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.contributions.cpu(), before.contributions, rtol=1e-3, atol=1e-3)


def test_bad_input_is_refused_with_what_was_expected(small: Small) -> None:
    model, x, name = small.model, small.inputs, type(small.model).__name__
    shape = ", ".join(map(str, model.domain.shape))
    cases = {
        f"{name} expects .*\\(B, {shape}\\); got .*Add a batch dimension": x[0],
        f"{name} expects .*\\(B, {shape}\\); got": x[..., 1:],
        "channels|expects": x[:, :1] if x.ndim == 4 else x[..., None],
        "empty batch": x[:0],
        "expects a tensor; got ndarray": x.numpy(),
    }
    strange = x.clone()
    if x.is_floating_point():
        strange[2].view(-1)[0] = torch.nan
        cases |= {"floating-point type; got torch.int64": x.long(), "NaN or infinite .* row 2 of the batch": strange}
    else:
        strange[2, 0] = 9999
        cases |= {
            "token numbers, int64; got torch.float32": x.float(),
            f"from 0 to 9999; expected 0 to {model.domain.size - 1}": strange,
        }
    for message, bad in cases.items():
        for call in (model, model.explain):
            with pytest.raises((ValueError, TypeError), match=message):
                call(bad)


BAD_TARGETS = [
    (9999, r"target 9999 is out of range; there are \d+ classes, 0 to \d+"),
    (-1, "target -1 is out of range"),
    ("stra", "no class named 'stra'; did you mean 'star'"),
    (torch.tensor([0, 1]), "one whole number a row, \\(5,\\); got torch.int64 of shape \\(2,\\)"),
    (torch.tensor([0, 1, 2, 0, 7777]), "target 7777 is out of range"),
    (torch.tensor([True] * 5), "one whole number a row, \\(5,\\); got torch.bool"),
    ([0, 1, 1, 0, "stra"], "no class named 'stra'; did you mean 'star'"),
    ([0, 1], "got torch.int64 of shape \\(2,\\)"),
    (1.5, "one whole number a row, \\(5,\\); got 1.5"),
]


def test_bad_target_is_refused(small: Small) -> None:
    for target, message in BAD_TARGETS:
        with pytest.raises(ValueError, match=message):
            small.model.explain(small.inputs, target)


def test_numbers_of_double_precision_are_read_as_well(small: Small) -> None:
    """NumPy's default; regression: they ended in an error of a matrix product."""
    if not small.inputs.is_floating_point():
        pytest.skip("token numbers have no precision")
    exact, double = small.model.explain(small.inputs), small.model.explain(small.inputs.double())
    assert torch.equal(exact.scores, double.scores) and double.scores.dtype == torch.float32
    assert torch.equal(small.model(small.inputs.double()), exact.scores)


def test_targets_of_any_kind(small: Small) -> None:
    first, second, *_ = classes = small.model.domain.classes
    last = classes.index("star")
    expected = small.model.explain(small.inputs, torch.tensor([1, 0, last, 1, 1])).target
    for target in (
        [1, first, last, 1, second],
        (1, 0, last, 1, 1),
        expected.to(torch.uint8),
        expected.numpy().tolist(),
    ):
        assert torch.equal(small.model.explain(small.inputs, target).target, expected)
    for one in (last, np.int64(last), torch.tensor(last), "star"):
        assert small.model.explain(small.inputs, one).target.tolist() == [last] * 5


def test_unknown_unit_names_the_nearest(small: Small) -> None:
    first = small.model.units()[0].name
    evidence = small.model.step(small.inputs)[1]
    with pytest.raises(ValueError, match=r"no unit named .*did you mean"):
        small.model.edit(evidence, {first + "x": 0.0})
