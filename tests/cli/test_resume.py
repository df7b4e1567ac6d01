"""A run that is killed and continued must end with exactly the weights of a run that was not."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.processes import Server

RECIPE = {
    "model": {
        "class_path": "ProtoPNet",
        "init_args": {
            "backbone": {"name": "convnet", "widths": [4], "pool": [0]},
            "prototypes_per_class": 1,
            "dim": 4,
            "thumbnail": 8,
            "recipe": {
                "lr": 0.01,
                "stages": [
                    {"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]},
                    {"name": "joint", "epochs": 2, "train": ["backbone", "addon", "prototypes"]},
                    {"name": "push"},
                    {"name": "last", "epochs": 2, "train": ["head"]},
                ],
            },
        },
    },
    "data": {"class_path": "Digits", "init_args": {"batch_size": 256, "augment": "shift"}},
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
}

# Each waits for its moment and then kills the process, as a power cut would.
KILLS = {
    "nothing": "",
    "warm": "at_step(0, 3)",
    "joint": "at_step(2, 1)",
    "push": "before(projection, '_nearest_in_batch', call=3)",
    "last": "at_step(4, 2)",
    "writing": "torn_write(call=6)",
    "between": "before(callbacks.os, 'replace', call=5)",
}
DRIVER = """
import os, signal, sys
import torch
from zoo.training import callbacks
from zoo.training import staged_module
from zoo.cli.main import main
from zoo.prototypes.layers import projection

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def at_step(epoch, batch):
    step = staged_module.StagedModule.training_step
    def stop(self, data, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            die()
        return step(self, data, batch_idx)
    staged_module.StagedModule.training_step = stop

def before(owner, name, call):
    inner, calls = getattr(owner, name), []
    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            die()
        return inner(*args, **kwargs)
    setattr(owner, name, stop)

def torn_write(call):
    inner, calls = torch.save, []
    def stop(content, file):
        calls.append(1)
        if len(calls) == call:
            file.write(b"half a checkpoint")
            file.flush()
            die()
        inner(content, file)
    torch.save = stop
"""


def run(server: Server, tmp: Path, output: str, kill: str, *options: str) -> tuple[int, str]:
    config = tmp / "tiny.yaml"
    config.write_text(yaml.safe_dump(RECIPE))
    arguments = ["fit", "--config", str(config), "--output", str(tmp / output), *options]
    return server.run(f"{DRIVER}\n{KILLS[kill]}\nsys.exit(main({arguments!r}))", tmp)


@pytest.fixture(scope="module")
def whole(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> dict:
    tmp = tmp_path_factory.mktemp("whole")
    ended, said = run(servers[0], tmp, "whole", "nothing")
    assert ended == 0, said
    return load_file(tmp / "whole" / "checkpoint" / "model.safetensors")


@pytest.mark.parametrize("kill", [name for name in KILLS if name != "nothing"])
def test_killed_and_resumed_is_bit_equal(
    kill: str, servers: tuple[Server, Server], whole: dict, tmp_path: Path
) -> None:
    ended, said = run(servers[0], tmp_path, "run", kill)
    assert ended == -9, said
    begun = (tmp_path / "run" / "last.ckpt").exists()
    assert begun == (kill != "warm"), said  # killed in the first epoch, there is nothing to continue
    again = ["--ckpt_path", "last"] if begun else ["--overwrite", "true"]
    ended, said = run(servers[1], tmp_path, "run", "nothing", *again)
    assert ended == 0, said
    weights = load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")
    assert weights.keys() == whole.keys()
    for name, tensor in whole.items():
        assert tensor.equal(weights[name]), name
