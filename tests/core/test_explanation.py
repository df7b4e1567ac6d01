"""Explanations: every number of a two-unit example by hand, and what must hold for any."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation, Term
from zoo.domain import ImageDomain

BIRDS = ImageDomain(classes=("crow", "gull"), size=(1, 2), channels=1, mean=(0.5,), std=(0.5,))
BEAK = Unit("red beak", "prototype", 0, {"item": "a.png", "box": [0, 1, 2, 3]}, torch.arange(4).view(1, 2, 2).byte())
TAIL = Unit("long tail", "concept")


def example(target: tuple[int, int] = (0, 1)) -> Explanation:
    """Weights crow (1.5, -0.5), gull (-1, 2), biases 0.25 and -0.5; activations (2, 1) and (0.5, 4)."""
    parts = {0: ([3.0, -0.5], [0.75, -2.0]), 1: ([-2.0, 2.0], [-0.5, 8.0])}
    return Explanation(
        scores=torch.tensor([[2.75, -0.5], [-1.0, 7.0]]),
        target=torch.tensor(target),
        contributions=torch.tensor([parts[t][row] for row, t in enumerate(target)]),
        bias=torch.tensor([(0.25, -0.5)[t] for t in target]),
        activation=torch.tensor([[2.0, 1.0], [0.5, 4.0]]),
        support=torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]], [[[0.0, 0.0]], [[0.25, 0.75]]]]),
        units=(BEAK, TAIL),
        domain=BIRDS,
        inputs=torch.tensor([[[[0.5, -0.5]]], [[[1.0, 0.0]]]]),
    )


def graph() -> Explanation:
    """No sum: a graph of three edges."""
    edges = (torch.tensor([0, 1, 0]), torch.tensor([1, 2, 3]), torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    return replace(example(), contributions=None, bias=None, support=None, inputs=None, edges=edges)


def test_score_target_and_probability() -> None:
    explanation = example()
    assert explanation.score.tolist() == [2.75, 7.0]
    assert explanation.target_names == ["crow", "gull"]
    shares = [1 / (1 + 2.718281828459045**-3.25), 1 / (1 + 2.718281828459045**-8)]
    assert explanation.probability.tolist() == pytest.approx(shares)
    assert replace(explanation, space="probability").probability.tolist() == [2.75, 7.0]
    assert replace(explanation, space="value").probability is None
    assert replace(explanation, domain=replace(BIRDS, task="regression")).probability is None


def test_top_ranks_by_size_of_contribution() -> None:
    first, second = example().top()
    assert first == [Term(BEAK, 0, 2.0, 3.0), Term(TAIL, 1, 1.0, -0.5)]
    assert second == [Term(TAIL, 1, 4.0, 8.0), Term(BEAK, 0, 0.5, -0.5)]
    assert example().top(1) == [first[:1], second[:1]]
    tied = replace(example(), contributions=torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    assert [[term.index for term in row] for row in tied.top()] == [[0, 1], [0, 1]]


def test_top_ranks_by_activation_where_the_score_is_no_sum() -> None:
    first, second = graph().top()
    assert first == [Term(BEAK, 0, 2.0, None), Term(TAIL, 1, 1.0, None)]
    assert second == [Term(TAIL, 1, 4.0, None), Term(BEAK, 0, 0.5, None)]


def test_without_units() -> None:
    explanation = example()
    assert explanation.without(["long tail"]).tolist() == [3.25, -1.0]
    assert explanation.without([0]).tolist() == [-0.25, 7.5]
    assert explanation.without(["red beak", 0, "long tail"]).tolist() == explanation.bias.tolist()
    assert explanation.without([]).tolist() == explanation.score.tolist()


def test_versus_by_hand() -> None:
    margin = example().versus(example((1, 0))).check()
    assert margin.score.tolist() == [3.25, 8.0]
    assert margin.contributions.tolist() == [[5.0, -2.5], [-1.25, 10.0]]
    assert margin.bias.tolist() == [0.75, -0.75]
    assert margin.target_names == ["crow rather than gull (0)", "gull rather than crow (1)"]
    assert margin.space == "margin" and margin.probability is None
    assert margin[1].check().score.tolist() == [8.0]
    last = replace(example(), units=(replace(BEAK, target=1), TAIL))[0]
    alone = last.versus(
        replace(example((1, 0)), units=last.units)[0]
    )  # regression: the class was looked up among names
    assert "class" not in alone.to_dict()[0]["evidence"][0] and "beak" in alone._repr_html_()
    assert margin[1].target_names == ["gull rather than crow (1)"]


def test_versus_something_else_is_refused() -> None:
    one = example()
    for other in (one[0], replace(one, scores=one.scores + 1)):
        with pytest.raises(ValueError, match="same batch by the same model; these have different scores"):
            one.versus(other)


def test_attribution_by_hand() -> None:
    # Row 1's beak is nowhere in the input, so its -0.5 is not on the map.
    assert example().attribution().tolist() == [[[2.75, -0.25]], [[2.0, 6.0]]]
    with pytest.raises(ValueError, match="needs units with a location in the input"):
        replace(example(), support=None).attribution()


def test_gap_and_check() -> None:
    explanation = example()
    assert explanation.gap().tolist() == [0, 0] and explanation.gap().dtype == torch.float64
    assert explanation.check() is explanation
    off = replace(explanation, contributions=explanation.contributions + torch.tensor([[0.0, 0.0], [0.0, 0.5]]))
    assert off.gap().tolist() == [0, 0.5]
    message = "the contributions of row 1 miss its score by 0.5 (allowed: 9.6e-05)."
    with pytest.raises(ArithmeticError, match=re.escape(message)):
        off.check()
    with pytest.raises(ArithmeticError, match=r"contributions of row 0 miss its score by 0.25"):
        replace(explanation, bias=torch.tensor([0.0, -0.5])).check()
    with pytest.raises(ArithmeticError, match="contributions of row 1 miss its score by nan"):
        replace(off, contributions=torch.tensor([[3.0, -0.4], [torch.nan, 8.0]])).check()


@pytest.mark.parametrize("call", ["without", "versus", "attribution", "gap", "check"])
def test_what_needs_a_sum_says_so(call: str) -> None:
    explanation = replace(graph(), support=example().support)
    arguments = {"without": [[0]], "versus": [example()]}.get(call, [])
    with pytest.raises(ValueError, match=rf"{call}\(\) needs contributions.*use top\(\), which ranks by activation"):
        getattr(explanation, call)(*arguments)
    with pytest.raises(ValueError, match=r"versus\(\) needs contributions"):
        example().versus(graph())


def test_units_by_name_and_number() -> None:
    explanation = example()
    assert explanation.unit_index("long tail") == 1 and explanation.unit_index(0) == 0
    with pytest.raises(ValueError, match=r"no unit named 'red beek'; did you mean 'red beak'\?"):
        explanation.without(["red beek"])
    with pytest.raises(ValueError, match=r"no unit named 'xyz'; there are: red beak, long tail\."):
        explanation.unit_index("xyz")
    for number in (2, -1):
        with pytest.raises(ValueError, match=f"unit {number} is out of range; there are 2 units, 0 to 1"):
            explanation.unit_index(number)


def test_rows_are_explanations() -> None:
    explanation = replace(example(), edges=graph().edges)
    assert len(explanation) == 2
    rows = list(explanation)
    assert [row.target_names for row in rows] == [["crow"], ["gull"]]
    for row in (rows[1], explanation[-1], explanation[1:]):
        assert len(row) == 1 and row.score.tolist() == [7.0]
        assert row.contributions.tolist() == [[-0.5, 8.0]] and row.bias.tolist() == [-0.5]
        assert row.support.shape == (1, 2, 1, 2) and row.inputs.tolist() == [[[[1.0, 0.0]]]]
        assert row.edges[0].tolist() == [0, 1, 0]
        torch.testing.assert_close(row.edges[2], torch.tensor([[0.4, 0.5, 0.6]]))
        assert row.units == explanation.units and row.check() is row
    assert len(explanation[:]) == 2 and len(explanation[2:]) == 0
    assert graph()[0].contributions is None
    for row in (2, -3):
        with pytest.raises(IndexError, match=f"row {row} is out of range; the explanation has 2 rows"):
            explanation[row]


def test_plain_data_by_hand() -> None:
    first = json.loads(json.dumps(example().to_dict()))[0]
    assert first.pop("probability") == pytest.approx(0.962673)
    assert first == {
        "target": "crow",
        "score": 2.75,
        "space": "logit",
        "scores": {"crow": 2.75, "gull": -0.5},
        "reference": "zero",
        "explained": "logit of crow",
        "explained_score": 2.75,
        "bias": 0.25,
        "evidence": [
            {
                "unit": "red beak",
                "kind": "prototype",
                "activation": 2.0,
                "contribution": 3.0,
                "class": "crow",
                "boxes": [[0, 0, 1, 1]],
                "source": {"item": "a.png", "box": [0, 1, 2, 3]},
            },
            {"unit": "long tail", "kind": "concept", "activation": 1.0, "contribution": -0.5, "boxes": [[0, 0, 1, 2]]},
        ],
    }
    assert [len(row["evidence"]) for row in example().to_dict(top=1)] == [1, 1]
    row = graph().to_dict()[1]
    assert "bias" not in row and row["evidence"][0] == {"unit": "long tail", "kind": "concept", "activation": 4.0}


@pytest.mark.parametrize("make", [example, graph, lambda: example()[1], lambda: example().versus(example((1, 0)))])
def test_a_file_gives_back_all_of_it(make, tmp_path: Path) -> None:
    before = make()
    before.save(tmp_path / "e.safetensors")
    after = Explanation.load(tmp_path / "e.safetensors")
    for name in ("scores", "target", "contributions", "bias", "activation", "support", "inputs"):
        mine, theirs = getattr(before, name), getattr(after, name)
        assert theirs is None if mine is None else torch.equal(mine, theirs), name
    assert (after.edges is None) == (before.edges is None)
    for mine, theirs in zip(before.edges or (), after.edges or (), strict=True):
        assert torch.equal(mine, theirs)
    assert after.domain == before.domain and after.space == before.space
    beak, tail = after.units
    assert (beak.name, beak.kind, beak.target, beak.source) == (BEAK.name, BEAK.kind, BEAK.target, BEAK.source)
    assert torch.equal(beak.picture, BEAK.picture)
    assert (tail.name, tail.kind, tail.target, tail.source, tail.picture) == ("long tail", "concept", None, {}, None)
    assert after.to_dict() == before.to_dict()


def test_files_of_earlier_versions_are_relative_to_zero(tmp_path: Path) -> None:
    example().save(tmp_path / "e.safetensors")
    with safe_open(tmp_path / "e.safetensors", framework="pt") as opened:
        metadata = {key: value for key, value in opened.metadata().items() if key != "reference"}
        save_file({name: opened.get_tensor(name) for name in opened.keys()}, tmp_path / "old", metadata)  # noqa: SIM118
    old = Explanation.load(tmp_path / "old").check()
    assert old.reference == "zero" and old.references == ("zero",) and old.relative_to("zero") is old
    with pytest.raises(ValueError, match="relative to 'mean' are unknown; this explanation has zero"):
        old.relative_to("mean")


def test_tensors_in_two_roles_are_saved_twice(tmp_path: Path) -> None:
    """Regression: safetensors refuses shared memory, which inputs that are the activations, or pictures, may have."""
    features = torch.tensor([[2.0, 1.0], [0.5, 4.0]])
    twin = replace(TAIL, picture=BEAK.picture)
    explanation = replace(example(), activation=features, inputs=features, units=(BEAK, twin))
    explanation.save(tmp_path / "e.safetensors")
    after = Explanation.load(tmp_path / "e.safetensors")
    assert torch.equal(after.inputs, features) and torch.equal(after.activation, features)
    assert torch.equal(after.units[1].picture, BEAK.picture)


def test_files_that_hold_no_explanation(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no explanation at .*nothing"):
        Explanation.load(tmp_path / "nothing")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors is a safetensors file without an explanation"):
        Explanation.load(tmp_path / "other.safetensors")
    (tmp_path / "junk").write_bytes(b"\x80\x04junk" * 10)
    with pytest.raises(ValueError, match=r"junk is not a valid safetensors file .*Explanation.save"):
        Explanation.load(tmp_path / "junk")


numbers = st.floats(-100, 100, width=32)


@given(rows=st.integers(1, 4), units=st.integers(1, 6), classes=st.integers(2, 4), data=st.data())
def test_any_linear_readout_is_explained(rows: int, units: int, classes: int, data: st.DataObject) -> None:
    draw = lambda *shape: torch.tensor(data.draw(_lists(shape)), dtype=torch.float32).view(shape)  # noqa: E731
    activation, weight, bias = draw(rows, units), draw(classes, units), draw(classes)
    target = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    explanation = Explanation(
        scores=torch.nn.functional.linear(activation.double(), weight.double(), bias.double()).float(),
        target=target,
        contributions=activation * weight[target],
        bias=bias[target],
        activation=activation,
        support=torch.rand(rows, units, 3),
        units=tuple(Unit(f"u{k}", "feature") for k in range(units)),
        domain=ImageDomain(classes=tuple(map(str, range(classes))), size=(1, 3)),
    ).check()
    size = 1 + float(explanation.contributions.abs().sum() + explanation.bias.abs().sum())
    close = {"rtol": 1e-5, "atol": 1e-5 * size}
    torch.testing.assert_close(explanation.without(range(units)), explanation.bias, **close)
    torch.testing.assert_close(explanation.attribution().sum(1), explanation.contributions.sum(1), **close)
    assert torch.equal(torch.cat([row.gap() for row in explanation]), explanation.gap())
    assert [len(row) for row in explanation.top()] == [units] * rows
    row, k = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, units - 1))
    spoilt = explanation.contributions.clone()
    spoilt[row, k] += 1e-3 * size
    with pytest.raises(ArithmeticError, match=f"contributions of row {row} miss"):
        replace(explanation, contributions=spoilt).check()


def _lists(shape: tuple[int, ...]) -> st.SearchStrategy[list[float]]:
    count = torch.Size(shape).numel()
    return st.lists(numbers, min_size=count, max_size=count)


def test_texts_and_warnings_follow_their_rows_into_files(tmp_path: Path) -> None:
    told = replace(example(), texts=("a\u2028b", ""), warnings=((), ("All pixels of the image are equal.",)))
    target = tmp_path / "target"
    target.write_text("theirs")
    (tmp_path / "a.safetensors").symlink_to(target)
    told.save(tmp_path / "a.safetensors")
    assert target.read_text() == "theirs"  # a link is replaced
    back = Explanation.load(tmp_path / "a.safetensors")
    assert (back.texts, back.warnings) == (told.texts, told.warnings)
    first, second = back.to_dict()
    assert first["text"] == "a\u2028b" and "warnings" not in first and "text" not in second
    assert second["warnings"] == ["All pixels of the image are equal."] == list(back[1].warnings[0])
