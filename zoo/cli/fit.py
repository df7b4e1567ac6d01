"""`train.py fit`: trains a model, tests it, and writes metrics and checkpoint."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from zoo.checkpoints.save import save
from zoo.cli.settings import Settings
from zoo.cli.training_run import build, existing, folder_of, make_trainer, settings_of, to_dict
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.training.cached_features import CachedFeatures
from zoo.training.callbacks import BestCheckpoint, LastStageStopping
from zoo.training.staged_module import StagedModule

INPUTS = {"image": "IMAGE", "text": "'SOME TEXT'", "code": "'SOME CODE'", "table": "ROW.csv", "series": "SERIES.csv"}


def fit(arguments: list[str]) -> int:
    """Trains a model from a config, tests its best epoch, and writes metrics.json and the checkpoint.

    The folder of the run also holds the config with all defaults, the log, and last.ckpt, from which
    `--ckpt_path last` resumes an interrupted run.
    """
    settings = settings_of(arguments, "fit", fit.__doc__)
    if settings is None:
        return 0
    folder = folder_of(settings)
    resumed = resume_path(settings, folder)
    model, data = build(settings)
    fitted = CachedFeatures(data, model, folder) if settings.run.cache_features else data
    trainer = make_trainer(
        settings,
        [] if settings.trainer.arguments.fast_dev_run else [*callbacks(settings, folder), SaveConfig(settings, folder)],
        max_epochs=model.max_epochs,
        logger=CSVLogger(str(folder), "logs"),
    )
    if trainer.max_epochs != model.max_epochs and not settings.trainer.arguments.fast_dev_run:
        warnings.warn(
            f"trainer.max_epochs is {trainer.max_epochs}, but the recipe has {model.max_epochs} epochs.", stacklevel=2
        )
    trainer.fit(model, datamodule=fitted, ckpt_path=resumed, weights_only=True)
    if not settings.trainer.arguments.fast_dev_run and not trainer.interrupted:
        finish(trainer, model, data, folder)
    return 0


def resume_path(settings: Settings, folder: Path) -> str | None:
    """The Lightning checkpoint to resume from; None for a new run.

    Raises:
        FileNotFoundError: there is none.
        FileExistsError: the folder holds a run that would be lost.
    """
    last, wanted = folder / "last.ckpt", settings.run.ckpt_path
    if wanted == "last":
        return existing(last, "There is no run to resume; leave out --ckpt_path.")
    if last.exists() and not wanted and not settings.run.overwrite:
        raise FileExistsError(
            f"{folder} holds a run already; resume it with --ckpt_path last, replace it with --overwrite true, or "
            "choose another --output."
        )
    return wanted


def callbacks(settings: Settings, folder: Path) -> list[Callback]:
    """Early stopping, and checkpoints of the best and of the last epoch."""
    options: dict[str, Any] = {"dirpath": str(folder), "enable_version_counter": False}
    return [
        LastStageStopping("monitor", mode="min", patience=settings.run.patience),
        BestCheckpoint(**options, filename="best", monitor="monitor", mode="min", save_on_train_epoch_end=False),
        ModelCheckpoint(**options, filename="last", save_on_train_epoch_end=True),
    ]


class SaveConfig(Callback):
    """Writes the config of a run, defaults included, to its folder.

    Args:
        settings: of the run.
        folder: of the run.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.content, self.folder = to_dict(settings), folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True)
            (self.folder / "config.yaml").write_text(text, encoding="utf-8")


def finish(trainer: Trainer, model: StagedModule, data: DataModule, folder: Path) -> None:
    """Tests the best epoch; writes metrics.json and, for a self-interpretable model, the checkpoint."""
    best = folder / "best.ckpt"
    if best.exists():
        model.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    trainer.test(model, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return
    found = {k.removeprefix("test/"): v.item() for k, v in trainer.callback_metrics.items() if k.startswith("test/")}
    metrics = {name: value for name, value in sorted(found.items()) if not name.startswith("loss")}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print("\ntest " + " · ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    if not isinstance(model, SelfInterpretable):
        print(f"run      {folder} (no checkpoint: {type(model).__name__} is not self-interpretable)")
        return
    dataset = data.test_dataset()  # pyright: ignore[reportAttributeAccessIssue] (every data module of the zoo has one)
    golden = torch.stack([dataset[i]["input"] for i in range(2)])
    checkpoint = save(model.cpu(), folder / "checkpoint", metrics=metrics, golden=golden)
    print(f"saved    {checkpoint}")
    given = INPUTS[model.domain.modality]
    print(f"explain  python train.py explain --checkpoint {checkpoint} --input {given} --output out/")
