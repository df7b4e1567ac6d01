"""The printed table: names, weights, and a sum that adds up as printed."""

from dataclasses import replace
from decimal import Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from tests.small_models import IMAGES, cbm, probpsenn, protopnet
from tests.subwords import wordpiece
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.domain import Column, TableDomain, TextDomain
from zoo.views.html import fragment
from zoo.views.naming import name_of
from zoo.views.sums import decimals, fixed, printed_sum, weight_of
from zoo.views.text import table


def of_terms(contributions: list[float], bias: float, activation: float = 1.0) -> Explanation:
    """One explanation of the first class with these terms."""
    parts = torch.tensor([contributions])
    score = parts.double().sum(1) + bias
    return Explanation(
        scores=torch.stack([score.float(), score.float() - 1, score.float() - 2], 1),
        target=torch.tensor([0]),
        contributions=parts,
        bias=torch.tensor([bias]),
        activation=torch.full_like(parts, activation),
        support=None,
        units=tuple(Unit(f"thing {k}", "concept") for k in range(len(contributions))),
        domain=IMAGES,
    )


def last_column(text: str) -> dict[str, Decimal]:
    """The rows below the head of the table: name and number in the last column."""
    rows = [line.rsplit(None, 1) for line in text.splitlines()[2:]]
    return {name.strip(): Decimal(number) for name, number in rows}


NUMBERS = st.floats(-1e4, 1e4, width=32) | st.floats(-(2**-7), 2**-7, width=32)


@given(contributions=st.lists(NUMBERS, min_size=1, max_size=12), bias=NUMBERS, top=st.integers(0, 14))
def test_printed_numbers_add_up_exactly(contributions: list[float], bias: float, top: int) -> None:
    explanation = of_terms(contributions, bias)
    column = last_column(table(explanation, top))
    score = column.pop("score")
    assert sum(column.values()) == score
    (places,) = {-number.as_tuple().exponent for number in (score, *column.values())}
    assert places >= 3
    assert abs(score - Decimal(explanation.score.item())) <= Decimal("0.5001").scaleb(-places)


@given(contributions=st.lists(NUMBERS, min_size=1, max_size=12), bias=NUMBERS, digits=st.integers(1, 4))
def test_every_term_is_its_own_rounding(contributions: list[float], bias: float, digits: int) -> None:
    """What rounding leaves over goes to the rest, never to a term that is shown."""
    explanation = of_terms(contributions, bias)
    shown = printed_sum(explanation, 5, digits)
    for term, value in zip(shown.terms, shown.shown, strict=True):
        assert value == round(explanation.contributions[0, term.index].item(), digits)
    assert shown.others == max(len(contributions) - 5, 0)
    others = sum(term.contribution for term in explanation.top(20)[0][5:])
    assert abs(shown.rest - others) <= (len(shown.shown) + 2) * 0.5 * 10**-digits + 0.01  # fp32 score of up to 1e5


def test_zero_has_no_minus() -> None:
    assert "-0.000" not in table(of_terms([2.0, -0.0, -0.0001], -0.0002))
    shown = printed_sum(of_terms([-0.0001], -0.0), 1, digits=3)
    assert [str(v) for v in (shown.bias, *shown.shown, shown.score, shown.rest)] == ["0.0"] * 4


def test_table_by_hand() -> None:
    assert table(of_terms([0.5, -2.0, 0.25], 1.0, activation=0.5), 2) == (
        "circle: logit -0.250, probability 66.5%\n"
        "  unit          activation  weight  contribution\n"
        "  thing 1            0.500  -4.000        -2.000\n"
        "  thing 0            0.500  +1.000        +0.500\n"
        "  1 other unit                            +0.250\n"
        "  bias                                    +1.000\n"
        "  score                                   -0.250"
    )


def test_rounding_is_named_where_nothing_else_is_left() -> None:
    assert last_column(table(of_terms([1.0004, 1.0004], 0.0)))["rounding"] == Decimal("0.001")


def test_more_rows_than_units_and_none_at_all() -> None:
    explanation = of_terms([1.0, 2.0], 0.0)
    assert table(explanation, 99) == table(explanation, 2)
    assert list(last_column(table(explanation, 0))) == ["2 other units", "bias", "score"]


def test_sum_that_does_not_exist_is_refused() -> None:
    explanation = protopnet().model.explain(protopnet().inputs)
    with pytest.raises(ValueError, match=r"got 5 rows. Index it: explanation\[i\]"):
        printed_sum(explanation, 3)


def test_explanation_prints_as_its_table() -> None:
    small = protopnet()
    explanation = small.model.explain(small.inputs)
    assert str(explanation) == table(explanation)
    assert str(explanation).count("\n  margin  ") == len(small.inputs)
    itself = str(explanation.relative_to("zero"))
    assert itself.count("\n  score ") == len(small.inputs) and "mean" not in itself
    first = str(explanation.relative_to("mean")[0]).splitlines()
    name = explanation.target_names[0]
    assert first[1] == f"  score of {name} minus the mean score of all classes:" and "score - mean " in first[-1]
    difference = (explanation.score - explanation.scores.mean(1))[0].item()
    assert float(first[-1].split()[-1]) == pytest.approx(difference, abs=6e-4)
    assert all(unit.name in str(explanation[0]) for unit in explanation.units)


def test_non_additive_ranks_by_activation_and_says_so() -> None:
    one = of_terms([1.0, 2.0], 0.0)
    fields = {**vars(one), "contributions": None, "bias": None, "activation": torch.tensor([[0.25, 0.75]])}
    text = table(Explanation(**fields))
    assert text.splitlines()[2].split() == ["thing", "1", "0.750"]
    assert "not additive" in text and "contribution" not in text


def test_prototypes_have_an_activation_where_concepts_have_a_probability() -> None:
    """Regression: a model that is not additive, with "absent" and "present" but no probability, had no table."""
    small = probpsenn()
    one = small.model.explain(small.inputs)[0]
    lines = table(one).splitlines()
    assert lines[2].split("  ")[-3:] == ["activation", "if absent", "if present"]
    first = one.top(1)[0][0]
    absent, present = (one.details[name][0, first.index].item() for name in ("absent", "present"))
    assert lines[3].split()[0] == first.unit.name and lines[3].split()[2:] == [f"{absent:.3f}", f"{present:.3f}"]


def test_weight_is_what_the_activation_was_multiplied_with() -> None:
    one = of_terms([3.0], 0.0, activation=2.0)
    term = one.top(1)[0][0]
    assert weight_of(term, one) == 1.5
    assert weight_of(replace(term, activation=0.0), one) is None
    assert weight_of(replace(term, contribution=None), one) is None
    of_concepts = replace(one, details={"absent": torch.zeros(1, 1), "present": torch.ones(1, 1)})
    assert weight_of(term, of_concepts) is None  # what if absent or present says more


def test_concepts_show_probability_and_what_if() -> None:
    small = cbm()
    one = small.model.explain(small.inputs, reference="zero")[0]
    margin = one.relative_to("runner-up")
    first = margin.top(1)[0][0]
    for name in ("absent", "present"):  # an exact counterfactual of the margin
        number = one.details[f"{name}, runner-up"][0, first.index].item()
        assert fixed(number, decimals([one.score.item()])) in table(margin).splitlines()[4]
    lines = table(one, top=2).splitlines()
    assert lines[2].split() == ["unit", "probability", "if", "absent", "if", "present", "contribution"]
    term = one.top(1)[0][0]
    known = {name: value[0, term.index].item() for name, value in one.details.items()}
    assert lines[3].split()[-4:-1] == [
        f"{known['probability']:.1%}",
        f"{known['absent']:.4f}",  # as many decimals as the score needs, which is below 1
        f"{known['present']:.4f}",
    ]
    page = fragment(replace(one, alternatives={}))
    assert f"probability <b>{known['probability']:.1%}</b>" in page and "concept, annotated" in page
    assert f"if present <b>{known['present']:.4f}</b>".replace("-", "\u2212") in page


@pytest.mark.parametrize(
    ("values", "places"),
    [([], 3), ([0.0], 3), ([5e6], 3), ([0.1, 0.01], 3), ([0.0999], 4), ([-5e-4, 1e-9], 6), ([1e-30], 12), ([1e999], 3)],
)
def test_small_values_get_more_decimals(values: list[float], places: int) -> None:
    assert decimals(values) == places


def test_small_scores_are_not_printed_as_zeros() -> None:
    text = table(of_terms([2e-5, -1e-5], 0.0))
    assert last_column(text)["score"] == Decimal("0.0000100") and "-0.0000100" in text


def test_names_of_any_width_are_aligned_and_harmless() -> None:
    base = of_terms([3.0, 2.0, 1.0, 0.5], 0.0)
    names = ("plain", "鳥の翼", "e\u0301te\u0301", "\x1b[31mred\nline")
    text = table(replace(base, units=tuple(Unit(name, "concept") for name in names)))
    starts = [line.index("1.000") for line in text.splitlines()[2:6]]
    assert starts == [26, 26 - 3, 26 + 2, 26]  # wide characters take two columns, accents none
    assert "\x1b" not in text and "\\x1b[31mred\\nline" in text


def test_others_are_counted_where_the_score_is_no_sum() -> None:
    one = replace(of_terms([1.0, 2.0, 3.0], 0.0), contributions=None, bias=None)
    assert "  2 other units\n" in table(one, 1) and "other" not in table(one, 3)


def test_the_raw_row_of_a_wide_table_is_wrapped_and_limited() -> None:
    columns = [Column(name=f"measurement {i}", kind="category", levels=("x" * 400, "y")) for i in range(40)]
    domain = TableDomain(classes=("a", "b"), columns=tuple(columns))
    x = torch.zeros(1, len(domain.features))
    x[0, ::2] = 1
    lines = table(
        replace(of_terms([0.5], 0.0), domain=domain, inputs=x, scores=torch.tensor([[0.5, 0.0]]))
    ).splitlines()
    assert max(map(len, lines)) <= 100 and "and 24 more columns" in "\n".join(lines)


def test_units_of_texts_in_subwords_are_named_by_the_word() -> None:
    texts = TextDomain(classes=("a", "b"), tokenizer=wordpiece(), length=10)
    backbone = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    model = zoo.create_model("attention_pool", domain=texts, backbone=backbone).eval()
    text = "The Unbelievable place was LOUD!"
    told = replace(model.explain(texts.preprocess(text)[None]), texts=(text,))
    named = {name_of(term, told) for term in told.top(10)[0]}
    wanted = enumerate(("The", "Unbelievable", "place", "was", "LOUD", "!"), 1)
    assert named == {*(f"word {i}: {word}" for i, word in wanted), *(f"word {i}" for i in range(7, 11))}
    assert "word 2: Unbelievable" in table(told)
    assert "word 2: unbelievable" in table(replace(told, texts=()))  # as the tokenizer has it
