"""LEX against exact enumeration of its masks."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import IMAGES, ROWS, SENTENCES, TEXTS, rows_of_table
from zoo.selectors import LEX
from zoo.selectors.layers.imputers import ImputerOptions, create_imputer
from zoo.selectors.layers.masks import MaskOptions, draw, largest
from zoo.selectors.layers.objective import bound, rebar, score_function, without_each
from zoo.training.projection_set import ProjectionSet
from zoo.views.html import page

MLP = {"name": "mlp", "widths": [8]}
MASKS = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))  # (8, 3)
VALUES = torch.tensor([0.3, -1.2, 0.8, 0.1, -0.5, 1.5, -2.0, 0.4])  # log likelihood of each of them


def value(mask: Tensor) -> Tensor:
    """A function of masks (..., 3) in [0, 1] with the values above at the corners: multilinear."""
    weight = torch.ones(*mask.shape[:-1], 8)
    for k in range(3):
        part = mask[..., k, None]
        weight = weight * torch.where(MASKS[:, k] > 0, part, 1 - part)
    return weight @ VALUES


def exact_gradient(logits: Tensor, samples: int) -> Tensor:
    """Of E log mean exp value over `samples` independent masks, by enumeration."""
    logits = logits.clone().requires_grad_()
    log_p = -F.binary_cross_entropy_with_logits(logits.expand(8, 3), MASKS, reduction="none").sum(1)
    total = torch.zeros(())
    for chosen in itertools.product(range(8), repeat=samples):
        rows = list(chosen)
        total = total + log_p[rows].sum().exp() * (VALUES[rows].logsumexp(0) - math.log(samples))
    total.backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize(
    "options",
    [
        MaskOptions("bernoulli", 1, "reinforce", "none", 2, 0.5),
        MaskOptions("bernoulli", 1, "reinforce", "others", 2, 0.5),
        MaskOptions("bernoulli", 1, "rebar", "none", 2, 0.5),
    ],
    ids=lambda o: f"{o.estimator}-{o.baseline}",
)
def test_estimators_are_unbiased(options: MaskOptions) -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.4, -0.7, 1.1])
    rows = logits.expand(200_000, 3).clone().requires_grad_()
    drawn = draw(rows, options)
    assert drawn.log_probability is not None
    values = value(drawn.mask)[..., None]  # (B, S, 1)
    whole = bound(values)
    if drawn.relaxed is not None and drawn.conditional is not None:
        relaxed, conditional = bound(value(drawn.relaxed)[..., None]), bound(value(drawn.conditional)[..., None])
        term = rebar(whole, relaxed, conditional, drawn.log_probability)
    else:
        baseline = without_each(values) if options.baseline == "others" else torch.zeros(len(rows), 1)
        term = score_function(whole, baseline, drawn.log_probability)
    assert not term.detach().any()
    (each,) = torch.autograd.grad(term.sum(), rows)
    error = each.std(0) / len(rows) ** 0.5
    assert (error < 0.01).all()
    assert ((each.mean(0) - exact_gradient(logits, 2)).abs() < 4 * error).all()


def test_the_leave_one_out_value_is_that_of_a_loop() -> None:
    values = torch.randn(2, 3, 4)
    for b, s in itertools.product(range(2), range(3)):
        each = [values[b, t].logsumexp(0) for t in range(3)]
        others = [each[t] for t in range(3) if t != s]
        each[s] = torch.stack(others).mean()
        wanted = torch.stack(each).logsumexp(0) - math.log(12)
        torch.testing.assert_close(without_each(values)[b, s], wanted)


@pytest.mark.parametrize("law", ["bernoulli", "subset", "concretes"])
def test_laws_of_masks(law: str) -> None:
    torch.manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0, -torch.inf]).expand(20_000, 4).clone().requires_grad_()
    drawn = draw(logits, MaskOptions(law, 2, "pathwise", "none", 1, 0.5))  # pyright: ignore
    mask = drawn.mask[:, 0]
    (slope,) = torch.autograd.grad(mask[:, 0].sum(), logits)
    assert (slope[:, 0] > 0).float().mean() > 0.9 and torch.isfinite(slope).all() and not mask[:, 3].any()
    if law == "concretes":
        assert (mask.sum(1) <= 2.0001).all()
        return
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    if law == "bernoulli":
        torch.testing.assert_close(mask.mean(0)[:3], logits[0, :3].sigmoid(), atol=0.02, rtol=0)
    else:
        p = logits[0, :3].softmax(0)
        left_out = [sum(p[i] * p[j] / (1 - p[i]) for i, j in ((a, b), (b, a))) for a, b in ((1, 2), (0, 2), (0, 1))]
        torch.testing.assert_close(1 - mask.mean(0)[:3], torch.stack(left_out), atol=0.02, rtol=0)  # pyright: ignore
        assert (mask.sum(1) == 2).all()


def test_subsets_have_the_probability_of_plackett_and_luce() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -0.3, 0.2])
    drawn = draw(logits.expand(50, 3), MaskOptions("subset", 1, "reinforce", "none", 1, 0.5))
    assert drawn.log_probability is not None
    picked = drawn.mask[:, 0].argmax(1)
    torch.testing.assert_close(drawn.log_probability[:, 0], logits.log_softmax(0)[picked])


def test_largest_takes_the_first_of_equal_scores_and_no_absent_element() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 0.0], [-torch.inf, -torch.inf, -torch.inf, 0.0]])
    assert largest(scores, 2).tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]


class Correlated(torch.utils.data.Dataset):
    """Rows of three features: the second is the first plus noise, the third is independent."""

    def __init__(self) -> None:
        draw = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
        self.rows = torch.stack([draw[:, 0], 0.8 * draw[:, 0] + 0.6 * draw[:, 1], draw[:, 2]], 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.rows[i], "target": torch.tensor(0)}


@pytest.mark.parametrize(
    ("kind", "mean", "variance"), [("gaussian", 1.6, 0.36), ("mixture", 1.6, 0.4), ("marginal", 0, 1)]
)
def test_imputers_draw_what_the_rest_could_be(kind: str, mean: float, variance: float) -> None:
    """The second feature given that the first is 2; a mixture of independent features is an approximation."""
    torch.manual_seed(0)
    imputer = create_imputer(ROWS, ImputerOptions(kind, 64, 2048, 20))  # pyright: ignore
    imputer.fit(ProjectionSet(Correlated()))
    x, shown = torch.tensor([[2.0, 9.0, 9.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    drawn = imputer.train()(x.expand(500, 3), shown.expand(500, 3)).flatten(0, 1)
    assert drawn[:, 1].mean() == pytest.approx(mean, abs=0.3 if kind == "mixture" else 0.1)
    assert drawn[:, 1].var() == pytest.approx(variance, abs=0.3 if kind == "mixture" else 0.1)
    assert drawn[:, 2].mean() == pytest.approx(0, abs=0.2)
    fixed = imputer.eval()(x.expand(2, 3), shown.expand(2, 3))
    assert torch.equal(fixed[0], fixed[1]) and torch.equal(fixed, imputer(x.expand(2, 3), shown.expand(2, 3)))
    other = imputer(torch.tensor([[2.0, -5.0, 7.0]]), shown)  # hidden values do not matter
    assert torch.equal(other[0], fixed[0])


def model(**options: object) -> LEX:
    torch.manual_seed(0)
    made = LEX(ROWS, backbone=MLP, **options)  # pyright: ignore
    made.fit_imputer(ProjectionSet(Correlated()))
    torch.nn.init.normal_(made.selector.score.weight, std=3)
    return made.eval()


def test_scores_are_the_log_of_the_mean_probability_over_imputations() -> None:
    made, x = model(), rows_of_table()
    explanation = made.explain(x)
    shown = explanation.activation
    assert 0 < shown.mean() < 1
    wanted = []
    for row, mask in zip(x, shown, strict=True):
        filled = made.imputer(row[None], mask[None])[0]  # (R, F)
        each = [made.head(made.predictor(torch.where(mask > 0, row, f)[None]))[0].softmax(0) for f in filled]
        wanted.append(torch.stack(each).mean(0).log())
    torch.testing.assert_close(explanation.scores, torch.stack(wanted))


def test_values_that_are_not_selected_do_not_matter() -> None:
    made, x = model(), rows_of_table()
    with torch.no_grad():
        evidence = made.evidence(x)
        noise = torch.where(evidence.activation > 0, x, torch.randn_like(x) * 10)
        evidence.state["input"] = noise
        again = made.intervene(evidence, torch.zeros_like(evidence.activation, dtype=torch.bool), evidence.activation)
        assert not torch.equal(noise, x)
        assert torch.equal(made.readout(again), made(x))
        changed = made.edit(made.evidence(x), {0: 1 - evidence.activation[:, 0]})
        assert not torch.equal(made.readout(changed), made(x))


@pytest.mark.parametrize("preset", ["lex", "l2x", "invase", "realx"])
def test_every_preset_teaches_selector_and_predictor(preset: str) -> None:
    made = model(preset=preset, mask={"size": 2}).train()
    x, batch = rows_of_table(), {"target": torch.tensor([0, 1, 2, 0, 1]), "input": rows_of_table()}
    scores, evidence = made.step(x)
    terms = made.losses(scores, evidence, batch)
    assert set(terms) >= {"task", "selected"} and (preset == "realx") == ("random" in terms)
    terms["task"].backward(retain_graph=True)
    assert made.selector.score.weight.grad is not None and made.selector.score.weight.grad.abs().sum() > 0
    assert (made.head.weight.grad is None) == (preset == "realx")  # which learns on random masks alone
    sum(terms.values()).backward()  # pyright: ignore
    assert all(p.grad is not None for p in made.parameters())


def test_wrong_options_are_refused() -> None:
    for options, message in [
        ({"preset": "lexx"}, "preset must be one of lex, l2x, invase, realx; got 'lexx'"),
        ({"mask": {"law": "subset"}}, "estimator='rebar' is for the law 'bernoulli'"),
        ({"preset": "l2x", "mask": {"size": 9}}, "size must be at most the number of elements, 3; got 9"),
        ({"mask": {"estimator": "reinforce", "baseline": "others", "samples": 1}}, "samples of at least 2"),
        ({"imputer": {"kind": "mean"}}, "kind must be one of constant, marginal, gaussian, mixture; got 'mean'"),
    ]:
        with pytest.raises(ValueError, match=message):
            LEX(ROWS, backbone=MLP, **options)  # pyright: ignore
    words = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    with pytest.raises(ValueError, match="words cannot be selected in part"):
        LEX(SENTENCES, backbone=words)
    with pytest.raises(ValueError, match="text tokens are discrete"):
        LEX(SENTENCES, "lex", words, mask=MaskOptions(estimator="reinforce", baseline="others"))
    with pytest.raises(ValueError, match="at most 256; these inputs have 360"):
        LEX(IMAGES, backbone={"name": "convnet", "widths": [8], "pool": [0]}, imputer=ImputerOptions("gaussian"))


def test_padding_of_a_text_is_never_selected() -> None:
    words = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    made = LEX(SENTENCES, "realx", words, mask=MaskOptions(estimator="reinforce", baseline="none")).eval()
    x = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])
    torch.nn.init.constant_(made.selector.score.bias, 9.0)
    explanation = made.explain(x)
    assert torch.equal(explanation.activation > 0, x != 0)
    for text, row in zip(explanation.statements, x, strict=True):
        words = int((row != 0).sum())
        assert text.startswith(f"{words} of {words} elements are selected")


def test_pages_name_selected_words_and_fold_the_others() -> None:
    words = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    made = LEX(SENTENCES, "realx", words, mask=MaskOptions(estimator="reinforce", baseline="none")).eval()
    one = made.explain(SENTENCES.preprocess("bad loud place")[None])
    activation = torch.tensor([[0.0, 1, 0, 0, 0, 0, 0]])
    html = page(replace(one, activation=activation, statements=("",)), ["text"])
    assert "word 2: loud" in html and "word 3" not in html and "6 other units" in html


def test_an_explanation_says_what_was_selected() -> None:
    made, x = model(), rows_of_table()
    explanation = made.explain(x)
    for text, mask in zip(explanation.statements, explanation.activation, strict=True):
        names = [name for name, shown in zip(ROWS.features, mask, strict=True) if shown]
        assert text.startswith(f"{len(names)} of 3 elements are selected")
        assert all(name in text for name in names)


@pytest.mark.parametrize("start", [0.2, 0.9])
def test_masks_start_at_a_chance(start: float) -> None:
    torch.manual_seed(0)
    model = LEX(ROWS, backbone=MLP, mask=MaskOptions(start=start))
    torch.nn.init.zeros_(model.selector.score.weight)
    chance = model.eval().evidence(torch.zeros(2, *ROWS.shape)).state["chance"]
    torch.testing.assert_close(chance, torch.full((2, *ROWS.shape), start))
    with pytest.raises(ValueError, match="start must be in"):
        LEX(ROWS, backbone=MLP, mask=MaskOptions(start=1.0))
