"""Two versions of a model: planted changes are found, and units are matched."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from tests.small_models import CLIPS, SMALL, Small, build
from zoo.audit.matching import match_units
from zoo.audit.observations import Observations, observe
from zoo.audit.versions import compare_models
from zoo.cli.main import main
from zoo.core.evidence import Unit


def inputs(small: Small, count: int = 40) -> Tensor:
    return small.model.domain.example(count, torch.Generator().manual_seed(5))


def names(comparison: zoo.audit.versions.Comparison, how: str) -> dict[str, str]:
    return {mover.first: mover.second for mover in comparison.movers if mover.how == how}


@pytest.mark.parametrize("name", ["protopnet", "cbm", "senn", "prototree", "sop", "lex", "sparse_code", "ga2m"])
def test_a_model_is_like_itself(name: str) -> None:
    small = SMALL[name]()
    found = zoo.compare_models(small.model, small.model, inputs(small))
    assert found.answers_share == found.reasons_share == 0
    assert torch.allclose(found.overlap, torch.ones(40, dtype=torch.float64))
    assert all(mover.first == mover.second and mover.moved == 0 for mover in found.movers if mover.before)
    assert json.dumps(found.to_dict())


def test_units_that_are_numbered_anew_are_matched_by_when_they_fire() -> None:
    """SENN's concepts have no source and names that are numbers: the same network, its concepts in another order."""
    small = build("senn")
    x = inputs(small)
    one = observe(small.model, [x[:25], x[25:]])
    order = [2, 0, 3, 1]
    other = replace(
        one,
        weights=one.weights[:, order],
        activation=one.activation[:, order] * 3 + 1,  # another scale
        support=None if one.support is None else one.support[:, order],
    )
    matches = match_units(one, other)
    assert [(m.first, m.second, m.how) for m in matches] == [(k, order.index(k), "similarity") for k in range(4)]
    found = zoo.audit.versions.compare_observations(one, other)
    assert torch.allclose(found.overlap, torch.ones(40, dtype=torch.float64)) and found.reasons_share == 0


def observed(units: list[Unit], activation: Tensor, support: Tensor | None = None) -> Observations:
    count = len(activation)
    return Observations(
        tuple(units),
        ("a",) * count,
        torch.zeros(count),
        activation,
        activation,
        support,
        "classification",
        True,
        "zero",
    )


def test_matching_by_hand() -> None:
    place = {"image": "a.png", "index": 3, "cell": 1, "distance": 0.1}
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    first = [
        Unit("one #1", "prototype", source=place),
        Unit("one #2", "prototype", source={**place, "cell": 2}),
        Unit("age", "feature"),
        Unit("concept 1", "concept"),
        Unit("concept 2", "concept"),
    ]
    second = [
        Unit("concept 1", "concept"),
        Unit("two #7", "prototype", source={**place, "distance": 0.4}),  # the same place by another name
        Unit("one #2", "prototype", source={**place, "cell": 5}),  # another place by the same name
        Unit("age", "feature"),
        Unit("concept 2", "concept"),
    ]
    columns = torch.stack([x[:, 4], x[:, 0], torch.randn(30), -x[:, 2], torch.ones(30)], 1)
    found = match_units(observed(first, x), observed(second, columns))
    assert [(m.first, m.second, m.how) for m in found] == [
        (0, 1, "source"),
        (1, None, ""),
        (2, 3, "name"),  # whatever it does
        (3, None, ""),
        (4, 0, "similarity"),
        (None, 2, ""),
        (None, 4, ""),
    ]
    of_class = [replace(unit, target=0) for unit in first]
    other_class = replace(observed(of_class, x), classes=("crow",)), replace(observed(of_class, x), classes=("gull",))
    assert all(m.how == "" for m in match_units(*other_class))  # the same in every respect but the class
    few = match_units(observed(first, x[:3]), observed(second, columns[:3]))
    assert [(m.first, m.second) for m in few if m.how == "number"] == [(3, 0), (4, 4)]


def test_constant_units_are_matched_by_where_they_fire() -> None:
    units = [Unit(f"group {k}", "group") for k in (1, 2)]
    support = torch.zeros(10, 2, 4)
    support[:, 0, :2] = support[:, 1, 2:] = 1.0
    one = observed(units, torch.ones(10, 2), support)
    found = match_units(one, replace(one, support=support.flip(1)))
    assert [(m.first, m.second, m.how, m.similarity) for m in found] == [
        (0, 1, "similarity", 1.0),
        (1, 0, "similarity", 1.0),
    ]
    assert all(m.second is None for m in match_units(one, replace(one, support=None)) if m.first is not None)


def test_a_removed_prototype_is_the_one_that_moved() -> None:
    before, after = build("protopnet"), build("protopnet")
    x = inputs(before)
    strongest = before.model.explain(x).top(1)[0][0].unit.name
    after.model.remove_prototypes([strongest])
    found = compare_models(before.model, after.model, x)
    assert names(found, "source").keys() == {unit.name for unit in before.model.units()}
    gone = next(mover for mover in found.movers if mover.first == strongest)
    assert gone.after == 0 < gone.before and found.answers_share > 0
    assert torch.equal(found.changed, before.model(x).argmax(1) != after.model(x).argmax(1))
    same = ~found.changed
    assert float(found.overlap[same].max()) < 1


def test_another_seed_has_other_prototypes() -> None:
    before, after = build("protopnet"), build("protopnet")
    with torch.no_grad():
        for parameter in after.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)) * parameter.std())
    found = compare_models(before.model, after.model, inputs(before))
    assert found.answers_share > 0.1 or found.reasons_share > 0.1
    assert float(found.overlap.mean()) < 0.9


def test_an_edited_head_gives_other_reasons_for_the_same_answers() -> None:
    """The weight of one concept goes to another one that fires as strongly: scores stay, reasons do not."""
    before, after = build("senn"), build("senn")
    x = inputs(before)
    one = observe(before.model, [x])
    moved = one.weights.clone()
    moved[:, 0], moved[:, 1] = 0.0, one.weights[:, 0] + one.weights[:, 1]
    found = zoo.audit.versions.compare_observations(one, replace(one, weights=moved), overlap=0.9)
    assert found.answers_share == 0 and found.reasons_share > 0.5
    assert {mover.first for mover in found.movers[:2]} == {"concept 1", "concept 2"}
    before, after = build("cbm"), build("cbm")
    x = inputs(before)
    with torch.no_grad():
        after.model.head.weight[:, 0] = 0.0  # "round" does not count any more
    found = compare_models(before.model, after.model, x)
    edited = next(mover for mover in found.movers if mover.first == "round")
    assert edited.second == "round" and edited.how == "name" and edited.after == 0 < edited.before
    kept = ~found.changed
    assert kept.any() and float(found.overlap[kept].min()) < 1


def test_tags_values_and_what_does_not_fit() -> None:
    tags = build("attention_pool", domain=replace(CLIPS, task="multilabel"), backbone={
        "name": "audio_convnet", "timbre": [[4, 3]], "rhythm": [5], "width": 4, "channels": 8, "stride": 2,
    })  # fmt: skip
    found = compare_models(tags.model, tags.model, tags.inputs)
    assert found.answers_share == 0 and all("," in a or a in (*CLIPS.classes, "none") for a in found.first.answers)
    small = build("cbm")
    with pytest.raises(ValueError, match="other tasks, multilabel and classification"):
        compare_models(tags.model, small.model, small.inputs)
    with pytest.raises(ValueError, match=r"overlap must be in \[0, 1\]; got 2"):
        compare_models(small.model, small.model, small.inputs, overlap=2)
    with pytest.raises(ValueError, match="explained 5 and 4 inputs; give both the same"):
        compare_models(small.model, small.model, small.inputs, small.inputs[:4])
    with pytest.raises(ValueError, match="there are no inputs"):
        compare_models(small.model, small.model, [])
    one = observe(small.model, [small.inputs])
    values = replace(one, task="regression", strengths=torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]))
    moved = replace(values, strengths=torch.tensor([0.0, 1.0, 2.0, 3.1, 4.5]))  # a standard deviation is 1.41
    assert zoo.audit.versions.compare_observations(values, moved).changed.tolist() == [False] * 4 + [True]


def test_the_command_says_what_moved_where_no_answer_changed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Regression: an edit that changed no answer was "0.0% of the answers changed"."""
    small = build("cbm")
    rows = inputs(small, 12)
    zoo.save(small.model, tmp_path / "a")
    with torch.no_grad():
        small.model.head.weight[:, 0] *= 1.001
    zoo.save(small.model, tmp_path / "b")
    table = "\n".join(["width,height,hue", *(",".join(map(str, row)) for row in rows.tolist())])
    (tmp_path / "in.csv").write_text(table)
    run = ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out"), "--pages", "0"]
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b"), *run]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("12 inputs: no answer changed; none kept the answer for other reasons -> ")
    models = [zoo.load(tmp_path / name) for name in "ab"]
    before, after = (model.explain(rows).probability for model in models)
    i = int((after - before).abs().argmax())
    move = json.loads((tmp_path / "out" / "diff.json").read_text())["strongest move"]
    assert move == pytest.approx({"input": i, "before": before[i].item(), "after": after[i].item()})
    assert f"row {i + 1}, " in printed and "The unit that moved most: round, mean size " in printed
    page = (tmp_path / "out" / "index.html").read_text()
    assert "None <span class='share'>of 12 answers changed" in page and "The unit that moved most: round" in page
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "a"), *run]) == 0
    assert "All answers are equally strong, and no unit moved." in capsys.readouterr().out


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small = build("cbm")
    zoo.save(small.model, tmp_path / "a")
    with torch.no_grad():
        small.model.head.weight[:, 0] *= -2
    zoo.save(small.model, tmp_path / "b")
    rows = inputs(small, 12).tolist()
    (tmp_path / "in.csv").write_text("\n".join(["width,height,hue", *(",".join(map(str, row)) for row in rows)]))
    run = ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--input", str(tmp_path / "in.csv")]
    out = tmp_path / "out"
    assert main([*run, "--output", str(out), "--pages", "2"]) == 0
    assert re.match(
        r"12 inputs: \d+\.\d% of the answers changed; .* for other reasons -> \S+\n$", capsys.readouterr().out
    )
    told = json.loads((out / "diff.json").read_text())
    found = compare_models(zoo.load(tmp_path / "a"), zoo.load(tmp_path / "b"), torch.tensor(rows))
    assert told["answers changed"] == pytest.approx(found.answers_share) and told["answers changed"] > 0
    assert told["units"][0]["first"] == "round" and told["inputs"] == 12
    lines = list(csv.DictReader((out / "inputs.csv").read_text().splitlines()))
    assert len(lines) == 12 and [line["page"] for line in lines] == ["1.html", "2.html", *[""] * 10]
    assert [line["changed"] for line in lines] == sorted((line["changed"] for line in lines), reverse=True)
    assert len(list(csv.DictReader((out / "units.csv").read_text().splitlines()))) == 5
    page = (out / "index.html").read_text()
    assert "href='./before/1.html'" in page and "href='./after/2.html'" in page and "round" in page
    for side in ("before", "after"):
        assert sorted(path.name for path in (out / side).iterdir()) == ["1.html", "2.html"]
    assert main([*run, "--output", str(out), "--pages", "0", "--max-answers", "0"]) == 1
    told = capsys.readouterr()
    assert f"FAILED {found.answers_share:.1%} of the answers changed; allowed: 0.0%" in told.err
    assert main([*run, "--output", str(out), "--pages", "0", "--max-answers", "1", "--max-reasons", "1"]) == 0
    capsys.readouterr()
    for more, message in (
        (["--max-answers", "2"], "expected a number from 0 to 1; got 2"),
        (["--pages", "-1"], "--pages must be at least 0"),
        (["--config", "x.yaml"], "both name inputs; give one of them"),
    ):
        assert main([*run, *more]) == 2 and message in capsys.readouterr().err
    assert main(run[:3]) == 2 and "the data of" in capsys.readouterr().err
