"""The sparse transformer from its config to a circuit on the command line; killed runs; two processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import zoo
from tests.cli.test_resume import DRIVER
from tests.processes import ROOT, Server
from zoo.circuits import Choice, Circuit
from zoo.circuits.analysis.token_pair_task import margins, task_loss
from zoo.circuits.network.optimizer import Schedule
from zoo.cli.main import main
from zoo.data.synthetic.code_tasks import encode, find_task

pytest.importorskip("tokenizers", reason="needs the extra 'text': pip install self-interpretable-zoo[text]")

KILLS = {
    "nothing": "",
    "anneal": "at_step(1, 2)",
    "sparse": "at_step(2, 1)",
    "average": "before(projection_set.ProjectionSet, 'total', call=1)",
}


def recipe(cache: Path, **options: Any) -> dict[str, Any]:
    small = {"width": 16, "layers": 1, "head_width": 8, "density": 0.25, "alive": 1, **options}
    stages = [
        {"name": "anneal", "epochs": 2, "train": ["network"], "anneal": True},
        {"name": "sparse", "epochs": 1, "train": ["network"]},
        {"name": "average"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    small["recipe"] = {"lr": 0.05, "stages": stages}
    data = {"idioms": 1.0, "vocabulary": 700, "length": 40, "idiom_tokens": 8000, "windows": 64, "batch_size": 16}
    return {
        "model": {"class_path": "SparseTransformer", "init_args": small},
        "data": {"class_path": "CodeData", "init_args": {**data, "cache": str(cache)}},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
    }


def start(server: Server, tmp: Path, output: str, kill: str, *options: str) -> tuple[int, str]:
    config = tmp / "tiny.yaml"
    config.write_text(yaml.safe_dump(recipe(tmp / "cache")))
    arguments = ["fit", "--config", str(config), "--output", str(tmp / output), *options]
    return server.run(
        f"{DRIVER}\nfrom zoo.training import projection_set\n{KILLS[kill]}\nsys.exit(main({arguments!r}))", tmp
    )


@pytest.fixture(scope="module")
def run(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("sparse")
    ended, said = start(servers[0], tmp, "whole", "nothing")
    assert ended == 0, said
    return tmp / "whole"


@pytest.mark.parametrize("kill", [name for name in KILLS if name != "nothing"])
def test_killed_and_resumed_is_bit_equal(kill: str, servers: tuple[Server, Server], run: Path, tmp_path: Path) -> None:
    ended, said = start(servers[0], tmp_path, "run", kill)
    assert ended == -9, said
    ended, said = start(servers[1], tmp_path, "run", "nothing", "--ckpt_path", "last")
    assert ended == 0, said
    whole, weights = (load_file(r / "checkpoint" / "model.safetensors") for r in (run, tmp_path / "run"))
    assert weights.keys() == whole.keys()
    for name, tensor in whole.items():
        assert tensor.equal(weights[name]), name


def test_two_processes_train_as_one_does(run: Path, tmp_path: Path) -> None:
    """Each takes every other window of a batch of twice its size, so the gradients are the same up to rounding."""
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(recipe(tmp_path / "cache")))
    halves = ["--data.init_args.batch_size", "8", "--trainer.devices", "2", "--output", str(tmp_path / "two")]
    command = [sys.executable, "train.py", "fit", "--config", str(config), *halves]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(r / "checkpoint" / "model.safetensors") for r in (run, tmp_path / "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_the_checkpoint_is_as_sparse_as_the_recipe_says(run: Path) -> None:
    model = zoo.load(run / "checkpoint")
    densities = (model.density, model.embedding_density)
    for sparse in model.sparse_parameters():
        assert int((sparse.weight != 0).sum()) == sparse.budget(densities).keep
    assert bool(model.averaged)
    assert "nats" in json.loads((run / "metrics.json").read_text())


def test_prune_and_explain_on_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that was taught one task after all is pruned, drawn and explained."""
    model = zoo.load(run / "checkpoint")
    found = encode(find_task("for_while"), model.domain, 64, "train")
    choice = Choice.of_pairs(found.prompts, found.answers)
    optimizer = model.configure_optimizers()
    optimizer.param_groups[0]["lr"] = 0.05
    optimizer.schedule = Schedule(100, model.density, model.embedding_density, end=0)
    for optimizer.at in range(100):
        optimizer.zero_grad()
        task_loss(margins(model.network, choice)).backward()
        optimizer.step()
    shutil.copy(run / "config.yaml", tmp_path)
    checkpoint, circuits = str(zoo.save(model.eval(), tmp_path / "checkpoint")), tmp_path / "circuits"
    arguments = ["prune", "--checkpoint", checkpoint, "--output", str(circuits), "--pairs", "8", "--steps", "20"]
    assert main([*arguments, "--task", "for_while"]) == 0
    assert re.search(r"for_while: \d+ nodes, \d+ edges; held-out loss", capsys.readouterr().out)
    page = (circuits / "for_while.html").read_text()
    assert "Circuit of for_while" in page and "<svg" in page and "control: shuffled weights" in page
    circuit = Circuit.load(circuits / "for_while.safetensors")
    assert json.loads((circuits / "for_while.json").read_text())["report"]["nodes"] == len(circuit.nodes)
    explain = ["explain", "--checkpoint", checkpoint, "--input", "for a", "--output", str(tmp_path / "out")]
    assert main([*explain, "--circuit", str(circuits / "for_while.json")]) == 0


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
