"""Forbidden prototypes: they never fire again, and a head may learn to do without them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import Small, cbm, pipnet, protopnet, protopool, protosvit, prototree
from tests.toy import COLOURS, ToyData, fit
from zoo.cli.main import main
from zoo.prototypes import ProtoPNet
from zoo.training.refit import refit

TINY = {"name": "convnet", "widths": [4], "pool": [0]}
STAGES = [
    {"name": "joint", "epochs": 4, "train": ["backbone", "addon", "prototypes"]},
    {"name": "push"},
    {"name": "last", "epochs": 1, "train": ["head"]},
]


def test_a_forbidden_prototype_has_no_say() -> None:
    small = protopnet()
    before = small.model.explain(small.inputs, 0, reference="zero")
    name = before.units[1].name
    small.model.remove_prototypes([name])
    after = small.model.explain(small.inputs, 0, reference="zero")
    assert after.contributions[:, 1].abs().max() == 0
    torch.testing.assert_close(after.score, before.without([name]))
    assert after.units[1].source["pruned"]
    with pytest.raises(ValueError, match="all 5 remaining prototypes would be removed"):
        small.model.remove_prototypes(range(6))
    with pytest.raises(ValueError, match="no unit named 'nobody'"):
        small.model.remove_prototypes(["nobody"])
    assert small.model.prototypes.alive.sum() == 5


@pytest.mark.parametrize("small", [pipnet, protosvit, protopool, prototree])
def test_every_kind_of_prototype_can_be_forbidden(small: Callable[[], Small]) -> None:
    made = small()
    model, x = made.model, made.inputs
    column = int(model.explain(x).importance.sum(0).argmax())
    with torch.no_grad():
        evidence = model.step(x)[1]
        without = model.readout(model.edit(evidence, {column: 0.0}))
    model.remove_prototypes([column])
    explanation = model.explain(x)
    torch.testing.assert_close(explanation.scores, without)
    assert not explanation.activation[:, column].any() and not explanation.support[:, column].any()
    assert explanation.units[column].source["pruned"]


def test_the_head_learns_again_and_nothing_else() -> None:
    data, options = ToyData(), {"prototypes_per_class": 2, "dim": 4, "thumbnail": 8}
    model = ProtoPNet(COLOURS, TINY, **options, recipe={"stages": STAGES, "lr": 0.01})
    fit(model, data)
    model.remove_prototypes([0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    refit(model, data, ("head",), 3, lr=0.05)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight"}
    assert len(model.stages) == len(STAGES)
    assert model.explain(data.val.inputs).contributions[:, 0].abs().max() == 0


def test_a_refitted_head_keeps_what_connections_promise() -> None:
    """Regression: with connections "own", the refit gave classes weights of other classes' prototypes."""
    data, options = ToyData(), {"prototypes_per_class": 2, "dim": 4, "thumbnail": 8, "connections": "own"}
    model = ProtoPNet(COLOURS, TINY, **options, recipe={"stages": STAGES, "lr": 0.01})
    fit(model, data)
    before = model.head.weight.clone()
    refit(model, data, ("head",), 1, lr=0.5)
    assert not torch.equal(model.head.weight, before) and (model.head.weight >= 0).all()
    assert not model.head.weight[~model.own].any()


def test_from_the_command_line(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    arguments = ["--output", str(run), "--model.init_args.prototypes_per_class", "2", "--trainer.enable_progress_bar"]
    stages = json.dumps([{**stage, "epochs": 1} if "epochs" in stage else stage for stage in STAGES])
    config = "configs/prototypes/protopnet_digits.yaml"
    assert main(["fit", "--config", config, *arguments, "false", f"--model.init_args.recipe.stages={stages}"]) == 0
    given = [
        "remove-prototypes",
        "--checkpoint",
        str(run / "checkpoint"),
        "--units",
        "three #1",
        "five #2",
        "--refit",
        "1",
    ]
    assert main([*given, "--output", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    assert "without 2 prototypes" in text and "head refitted for 1 epochs" in text
    model = zoo.load(tmp_path / "new")
    assert int((~model.prototypes.alive).sum()) == 2
    assert main([*given, "--output", str(tmp_path / "new")]) == 2
    assert "holds a checkpoint already" in capsys.readouterr().err
    merge = ["merge-prototypes", "--checkpoint", str(run / "checkpoint"), "--refit", "1"]
    assert main([*merge, "--to", "12", "--output", str(tmp_path / "merged")]) == 0
    assert "merged to 12 prototypes" in capsys.readouterr().out
    merged = zoo.load(tmp_path / "merged")
    assert int(merged.prototypes.alive.sum()) == 12 == len(set(merged.into.tolist()))
    page = str(tmp_path / "units.html")
    assert main(["show", "--checkpoint", str(tmp_path / "merged"), "--output", page]) == 0
    shared = next(unit for unit in merged.units() if unit.source.get("merged"))
    assert f"merged {', '.join(shared.source['merged'])}" in Path(page).read_text(encoding="utf-8")

    def no_data(*arguments: object) -> None:
        raise AssertionError("data were read before the number was checked")

    monkeypatch.setattr("zoo.cli.change_prototypes.data_of", no_data)
    assert main([*merge, "--to", "99", "--output", str(tmp_path / "x")]) == 2
    assert "20 prototypes remain; merge them to at least 1 and fewer, not 99" in capsys.readouterr().err
    wrong = [*given[:4], "threee #1", "--output", str(tmp_path / "x")]
    assert main(wrong) == 2
    assert "did you mean 'three #1'" in capsys.readouterr().err
    zoo.save(cbm().model, tmp_path / "cbm")
    wrong = [
        "remove-prototypes",
        "--checkpoint",
        str(tmp_path / "cbm"),
        "--units",
        "a",
        "--output",
        str(tmp_path / "x"),
    ]
    assert main(wrong) == 2
    assert "is a CBM, which has no prototypes to remove" in capsys.readouterr().err
    wrong = ["merge-prototypes", "--checkpoint", str(tmp_path / "cbm"), "--to", "2", "--output", str(tmp_path / "x")]
    assert main(wrong) == 2
    assert "is a CBM, which has no prototypes to merge" in capsys.readouterr().err
