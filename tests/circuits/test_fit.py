"""The sparse transformer from its config to a circuit on the command line; killed runs; two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

import zoo
from tests.test_resume import DRIVER, ROOT
from zoo.circuits import Choice, Circuit
from zoo.circuits.choice import score
from zoo.cli import main
from zoo.data.code_tasks import Task, encode, tasks

pytest.importorskip("tokenizers", reason="needs the extra 'text': pip install self-interpretable-zoo[text]")

EASY = ("for_while", "lambda_func", "if_equals", "var_if", "if_ternary", "with_as")  # whose answers differ in number
KILLS = {
    "nothing": "",
    "anneal": "at_step(1, 2)",
    "sparse": "at_step(2, 1)",
    "average": "before(reference.Reference, 'total', call=1)",
}


def recipe(cache: Path, **options: Any) -> dict[str, Any]:
    small = {"width": 16, "layers": 1, "head_width": 8, "density": 0.25, "alive": 1, "lr": 0.1, **options}
    small["stages"] = [
        {"name": "anneal", "epochs": 2, "train": ["network"]},
        {"name": "sparse", "epochs": 1, "train": ["network"]},
        {"name": "average"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    data = {"idioms": 1.0, "vocabulary": 700, "length": 40, "idiom_tokens": 8000, "windows": 256, "batch_size": 16}
    return {
        "model": {"class_path": "SparseTransformer", "init_args": small},
        "data": {"class_path": "CodeData", "init_args": {**data, "cache": str(cache)}},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
    }


def start(tmp: Path, output: str, kill: str, *options: str) -> subprocess.Popen:
    config = tmp / "tiny.yaml"
    config.write_text(yaml.safe_dump(recipe(tmp / "cache")))
    arguments = ["fit", "--config", str(config), "--output", str(tmp / output), *options]
    code = f"{DRIVER}\nfrom zoo import reference\n{KILLS[kill]}\nsys.exit(main({arguments!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("sparse")
    process = start(tmp, "whole", "nothing")
    said = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 0, said
    return tmp / "whole"


@pytest.mark.parametrize("kill", [name for name in KILLS if name != "nothing"])
def test_killed_and_resumed_is_bit_equal(kill: str, run: Path, tmp_path: Path) -> None:
    killed = start(tmp_path, "run", kill)
    said = killed.communicate(timeout=200)[0].decode()
    assert killed.returncode == -9, said
    resumed = start(tmp_path, "run", "nothing", "--ckpt_path", "last")
    said = resumed.communicate(timeout=200)[0].decode()
    assert resumed.returncode == 0, said
    whole, weights = (load_file(r / "checkpoint" / "model.safetensors") for r in (run, tmp_path / "run"))
    assert weights.keys() == whole.keys()
    for name, tensor in whole.items():
        assert tensor.equal(weights[name]), name


def test_the_checkpoint_is_as_sparse_as_the_recipe_says(run: Path) -> None:
    model = zoo.load(run / "checkpoint")
    densities = (model.density, model.embedding_density)
    for sparse in model.sparse_parameters():
        assert int((sparse.weight != 0).sum()) == sparse.budget(densities).keep
    assert bool(model.averaged)
    assert "nats" in json.loads((run / "metrics.json").read_text())


def test_prune_and_explain_on_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, found = str(run / "checkpoint"), tmp_path / "circuits"
    model = zoo.load(checkpoint)

    def loss(task: Task) -> float:
        pairs = encode(task, model.domain, 4, "train")
        return score(model.network, Choice.of_pairs(pairs.prompts, pairs.answers))["loss"]

    easy = min((task for task in tasks() if task.name in EASY), key=loss)
    assert loss(easy) < 0.65  # hardly trained, but a little better than chance at something
    arguments = ["prune", "--checkpoint", checkpoint, "--output", str(found), "--pairs", "4", "--steps", "3"]
    assert main([*arguments, "--task", easy.name, "--target-loss", "0.65"]) == 0
    said = capsys.readouterr().out
    assert f"{easy.name}: " in said and " nodes, " in said
    page = (found / f"{easy.name}.html").read_text()
    assert f"Circuit of {easy.name}" in page and "<svg" in page and "control: shuffled weights" in page
    circuit = Circuit.load(found / f"{easy.name}.safetensors")
    assert json.loads((found / f"{easy.name}.json").read_text())["report"]["nodes"] == len(circuit.nodes)
    explain = ["explain", "--checkpoint", checkpoint, "--input", "for a", "--output", str(tmp_path / "out")]
    assert main([*explain, "--circuit", str(found / f"{easy.name}.json")]) == 0


def test_a_task_that_is_not_solved_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--checkpoint", str(run / "checkpoint"), "--task", "var_swap", "--no-controls"]) == 1
    assert "var_swap: no circuit. the whole model's loss on 'var_swap' is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "quotes"], "no task named 'quotes'"),
        (["--task", "for_while", "--target-loss", "0.8"], "between 0 and chance"),
    ],
)
def test_bad_options(run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["prune", "--checkpoint", str(run / "checkpoint"), "--no-controls", *options])
    captured = capsys.readouterr()
    assert code != 0 and message in captured.err + captured.out


def test_other_models_have_no_circuits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.small_models import SMALL

    zoo.save(SMALL["rrl"]().model, tmp_path / "rules")
    assert main(["prune", "--checkpoint", str(tmp_path / "rules"), "--task", "for_while"]) == 2
    assert "circuits are pruned in a sparse_transformer" in capsys.readouterr().err
