"""Stories of circuits: sentences with interventions and the effects that they expect."""

from pathlib import Path

import pytest

from tests.circuits.tokens import pairs
from zoo.circuits import Circuit, Intervention, SparseTransformer, Story, intervene
from zoo.circuits.analysis.story import outcomes_text

WRITE = "layer 0 attn_out"
ONE = {"says": "It carries the token.", "swap": [WRITE], "expect": {"moved": 0.5}}


def test_a_story_is_tested(model: SparseTransformer, circuit: Circuit, tmp_path: Path) -> None:
    task = pairs(4)
    measured = intervene(model, task, [Intervention("swap", {WRITE: 1.0})])
    path = tmp_path / "story.yaml"
    path.write_text(
        "task: first token\npairs: 4\nexperiments:\n"
        f"- says: True.\n  swap: [{WRITE}]\n  within: network\n  expect: {{moved: {measured.moved}}}\n"
        "- says: False.\n  scale: {channel 1: 1}\n  expect: {flipped: 0.5}\n  tolerance: 0.1\n"
    )
    story = Story.load(path)
    true, false = story.run(model, task, circuit)
    assert true.passed and true.effect == measured and not false.passed and false.effect.flipped == 0
    record = true.to_dict()
    assert record["interventions"] == [{"kind": "swap", "targets": {WRITE: 1.0}}] and record["passed"]
    assert "FAILED  False. [circuit: flipped 0.000 (expected 0.5)]" in outcomes_text([true, false])
    with pytest.raises(ValueError, match="within the circuit, and no circuit"):
        story.run(model, task)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "a story is a mapping"),
        ({"task": "t", "experiments": []}, "has 1 to 1000 experiments"),
        ({"task": "t", "experiments": [ONE], "pair": 3}, "a story has no 'pair'; did you mean 'pairs'"),
        ({"task": "t", "experiments": [ONE], "pairs": True}, "`pairs` must be an integer"),
        ({"task": "t", "experiments": [ONE], "pairs": 10**9}, "`pairs` must be an integer from 1"),
        (
            {"task": "t", "experiments": [ONE | {"expects": {}}]},
            "an experiment has no 'expects'; did you mean 'expect'",
        ),
        (
            {"task": "t", "experiments": [ONE | {"expect": {"move": 1}}]},
            "an effect has no 'move'; did you mean 'moved'",
        ),
        ({"task": "t", "experiments": [ONE | {"expect": {"moved": "1"}}]}, "expected numbers in `expect`"),
        ({"task": "t", "experiments": [ONE | {"within": "model"}]}, "within must be one of circuit, network"),
        ({"task": "t", "experiments": [ONE | {"tolerance": -1}]}, "tolerance must be at least 0"),
        ({"task": "t", "experiments": [{"says": "x", "expect": {"moved": 1}}]}, "needs a sentence `says`, an interv"),
    ],
)
def test_what_is_no_story(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Story.parse(given)
