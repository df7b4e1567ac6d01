"""Trainings that torchrun starts: processes train together, and the results are written once."""

import json
from datetime import timedelta
from pathlib import Path
from threading import Thread

import yaml
from safetensors.torch import load_file
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from tests.cli.pictures_run import write_pictures
from tests.launched import torchrun_variables
from tests.processes import Server

CODE = """
import os, signal
signal.alarm(100)  # if the other process has failed
os.chdir({folder!r})
os.environ.update({variables!r})
from zoo.conversion import report
report.REMOVED = report.REPEATS = 1
from zoo.cli.main import main
code = main({arguments!r})
import sys
sys.exit(code)
"""
NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(1)
    features = nn.Conv2d(3, 6, 3, stride=4), nn.ReLU()
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
"""


def launch(servers: tuple[Server, Server], arguments: list[str], folder: Path) -> tuple[list[int], list[str]]:
    """Runs a command in two processes; how each ended, and what it said."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    ended: list[tuple[int, str]] = [(99, ""), (99, "")]

    def run(rank: int) -> None:
        (folder / f"said-{rank}").mkdir(exist_ok=True)
        variables = torchrun_variables(rank, 2, store.port)
        code = CODE.format(folder=str(folder), variables=variables, arguments=arguments)
        ended[rank] = servers[rank].run(code, folder / f"said-{rank}")

    threads = [Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [code for code, _ in ended], [said for _, said in ended]


def test_convert(servers: tuple[Server, Server], tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 2)
    arguments = {"root": "pictures", "size": [32, 32], "batch_size": 2}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": {"class_path": "ImageFolder", "init_args": arguments}}))
    (tmp_path / "network.py").write_text(NETWORK)
    convert = ["convert", "--model", "module:network.py:make", "--data", "data.yaml", "--output", "out"]
    convert += ["--epochs", "1", "--trainer.accelerator", "cpu", "--model.init_args.code.atoms", "8"]
    codes, said = launch(servers, convert, tmp_path)
    assert codes == [0, 0], "\n".join(said)
    assert "saved" in said[0] and "saved" not in said[1]
    assert json.loads((tmp_path / "out" / "convert.json").read_text())["agreement"]["model"] >= 0
    weights = load_file(tmp_path / "out" / "checkpoint" / "model.safetensors")
    assert weights and (tmp_path / "out" / "convert.html").is_file()
