"""Fits of the sparse transformer by a config: killed runs, two processes, and pruning on the command line."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import zoo
from tests.cli.test_resume import DRIVER
from tests.processes import Server
from zoo.circuits import Circuit, TokenPairTask
from zoo.circuits.analysis.token_pair_task import logit_differences, task_loss
from zoo.circuits.network.schedule import Schedule
from zoo.cli.main import main
from zoo.data.synthetic.code_tasks import encode, find_task

KILLS = {
    "nothing": "",
    "anneal": "at_step(1, 2)",
    "average": "before(projection_set.ProjectionSet, 'total', call=1)",
}


def recipe(cache: Path, **sparsity: float) -> dict[str, Any]:
    """The config of a small fit."""
    sparsity = {"density": 0.25, "alive": 1, **sparsity}
    small: dict[str, Any] = {"width": 16, "layers": 1, "head_width": 8, "sparsity": sparsity}
    stages = [
        {"name": "anneal", "epochs": 2, "train": ["network"], "anneal": True},
        {"name": "sparse", "epochs": 1, "train": ["network"]},
        {"name": "average"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    small["recipe"] = {"lr": 0.05, "stages": stages}
    data = {"idioms": 1.0, "vocabulary": 700, "length": 40, "idiom_tokens": 8000, "windows": 64, "batch_size": 16}
    data["held_out_windows"] = 8
    return {
        "model": {"class_path": "SparseTransformer", "init_args": small},
        "data": {"class_path": "CodeData", "init_args": {**data, "cache": str(cache)}},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
    }


def start(server: Server, cache: Path, tmp: Path, output: str, kill: str, *options: str) -> tuple[int, str]:
    config = tmp / "tiny.yaml"
    config.write_text(yaml.safe_dump(recipe(cache)))
    arguments = ["fit", "--config", str(config), "--output", str(tmp / output), *options]
    return server.run(
        f"{DRIVER}\nfrom zoo.training import projection_set\n{KILLS[kill]}\nsys.exit(main({arguments!r}))", tmp
    )


@pytest.fixture(scope="module")
def run(servers: tuple[Server, Server], code_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit that was not interrupted."""
    tmp = tmp_path_factory.mktemp("sparse")
    code, output = start(servers[0], code_cache, tmp, "whole", "nothing")
    assert code == 0, output
    return tmp / "whole"


@pytest.mark.parametrize("kill", [name for name in KILLS if name != "nothing"])
def test_killed_and_resumed_is_bit_equal(
    kill: str, servers: tuple[Server, Server], code_cache: Path, run: Path, tmp_path: Path
) -> None:
    code, output = start(servers[0], code_cache, tmp_path, "run", kill)
    assert code == -9, output
    code, output = start(servers[1], code_cache, tmp_path, "run", "nothing", "--ckpt_path", "last")
    assert code == 0, output
    whole, weights = (load_file(r / "checkpoint" / "model.safetensors") for r in (run, tmp_path / "run"))
    assert weights.keys() == whole.keys()
    for name, tensor in whole.items():
        assert tensor.equal(weights[name]), name


def test_two_processes_train_like_one(
    servers: tuple[Server, Server], code_cache: Path, run: Path, tmp_path: Path
) -> None:
    """Each process has every other window of a batch of twice its size, so the gradients are equal up to rounding."""
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp_fork_find_unused_parameters_true"]
    code, output = start(servers[0], code_cache, tmp_path, "two", "nothing", "--data.init_args.batch_size", "8", *two)
    assert code == 0, output
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
    """A network that is trained on one task is pruned, drawn and explained."""
    model = zoo.load(run / "checkpoint")
    found = encode(find_task("for_while"), model.domain, 16, "train")
    task = TokenPairTask.of_pairs(found.prompts, found.answers)
    optimizer = model.configure_optimizers()
    optimizer.param_groups[0]["lr"] = 0.05
    optimizer.schedule = Schedule(100, model.density, model.embedding_density, end=0)
    for optimizer.step_index in range(100):
        optimizer.zero_grad()
        task_loss(logit_differences(model.network, task)).backward()
        optimizer.step()
    shutil.copy(run / "config.yaml", tmp_path)
    checkpoint, circuits = str(zoo.save(model.eval(), tmp_path / "checkpoint")), tmp_path / "circuits"
    arguments = ["prune", "--checkpoint", checkpoint, "--output", str(circuits), "--pairs", "8", "--steps", "20"]
    assert main([*arguments, "--task", "for_while"]) == 0
    assert re.search(
        r"for_while: \d+ nodes, \d+ edges in .*\n  circuit, held-out: loss .*\n.*\n  (pass|warn)  random nodes",
        capsys.readouterr().out,
    )
    page = (circuits / "for_while.html").read_text()
    assert "Circuit of for_while" in page and "Would the search find a circuit in a meaningless network?" in page
    circuit = Circuit.load(circuits / "for_while.safetensors")
    assert json.loads((circuits / "for_while.json").read_text())["report"]["nodes"] == len(circuit.nodes)
    explain = ["explain", "--checkpoint", checkpoint, "--input", "for a", "--output", str(tmp_path / "out")]
    assert main([*explain, "--circuit", str(circuits / "for_while.json")]) == 0


def test_a_task_that_is_not_solved_is_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--checkpoint", str(run / "checkpoint"), "--task", "var_swap", "--no-controls"]) == 1
    assert "var_swap: no circuit. the loss of the complete model on 'var_swap' is" in capsys.readouterr().out


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
    assert "prune requires a sparse_transformer" in capsys.readouterr().err
