"""Two processes end with the same model on both ranks, and take the same prototypes as one process does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from safetensors.torch import load_file

import zoo
from tests.processes import Server
from zoo.data import Digits
from zoo.training.recipe_check import check_strategy

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, warnings
import lightning as L
import torch
from safetensors.torch import save_file
import zoo
from zoo.data import Digits

devices, folder, strategy = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)

class Watch(L.Callback):
    def on_train_epoch_end(self, trainer, module):
        state = {k: v.clone().contiguous() for k, v in module.state_dict().items()}
        save_file(state, f"{folder}/{devices}-epoch{trainer.current_epoch}-rank{trainer.global_rank}.safetensors")

L.seed_everything(0, verbose=False)
data = Digits(batch_size=128)
model = zoo.create_model(
    "protopnet", domain=data.domain, backbone={"name": "convnet", "widths": [4], "pool": [0]}, prototypes_per_class=2,
    dim=4, thumbnail=8,
    # The first stage learns nothing, so that one process and two project from the same weights.
    recipe={
        "lr": {"backbone": 1e-3, "addon": 1e-2, "prototypes": 1e-2, "head": 1e-3},
        "stages": [
            {"name": "still", "epochs": 1, "train": ["addon"], "lr": {"addon": 0.0}},
            {"name": "push"},
            {"name": "last", "epochs": 1, "train": ["head"]},
            {"name": "joint", "epochs": 1, "train": ["backbone", "addon", "prototypes"]},
            {"name": "push"},
            {"name": "last", "epochs": 1, "train": ["head"]},
        ],
    },
)
trainer = L.Trainer(
    accelerator="cpu", devices=devices, strategy=strategy, max_epochs=model.max_epochs, callbacks=[Watch()],
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    default_root_dir=folder,
)
trainer.fit(model, datamodule=data)
"""


def test_two_processes(servers: tuple[Server, Server], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended, said = servers[0].run(f"import sys\nsys.argv[1:] = ['1', {str(tmp_path)!r}, 'auto']\n{SCRIPT}", tmp_path)
    assert ended == 0, said
    command = [sys.executable, str(script), "2", str(tmp_path), "ddp_find_unused_parameters_true"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for epoch in range(4):
        first, second = (load_file(tmp_path / f"2-epoch{epoch}-rank{rank}.safetensors") for rank in (0, 1))
        for name, tensor in first.items():
            if "running_" not in name:  # each rank's batch norm sees its own share until the next push
                assert tensor.equal(second[name]), f"epoch {epoch}: {name} differs between ranks"
    one, two = (load_file(tmp_path / f"{devices}-epoch1-rank0.safetensors") for devices in (1, 2))
    for name in ("provenance.index", "provenance.cell", "provenance.box", "provenance.picture", "vectors"):
        assert one[f"prototypes.{name}"].equal(two[f"prototypes.{name}"]), name


def test_plain_ddp_is_refused() -> None:
    backbone = {"name": "convnet", "widths": [4], "pool": [0]}
    model = zoo.create_model("protopnet", domain=Digits().domain, backbone=backbone, prototypes_per_class=1, dim=4)
    model.trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="use the Trainer's strategy='ddp_find_unused_parameters_true'"):
        model.setup("fit")


def test_flat_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="the strategy 'fsdp' flattens parameters"):
        check_strategy(FSDPStrategy(), (), ())
