"""`train.py fit|validate|test|predict`: LightningCLI, with what a finished run leaves behind."""

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

from zoo.checkpoints.save import save
from zoo.cli.config import check_arguments, data_modules, models
from zoo.cli.prediction_table import PredictionTable
from zoo.core.module import SelfInterpretable
from zoo.domain import Domain
from zoo.training.cached_features import CachedFeatures
from zoo.training.callbacks import AtomicCheckpointIO, BestCheckpoint, LastStageStopping
from zoo.training.staged_module import StagedModule

INPUTS = {"image": "IMAGE", "text": "'SOME TEXT'", "code": "'SOME CODE'", "table": "ROW.csv", "series": "SERIES.csv"}


class FittingCLI(LightningCLI):
    """Links the data's domain to the model, and keeps a run in one folder: `output`."""

    def __init__(self, arguments: list[str]) -> None:
        _quieten()
        models()  # imports them all, so that jsonargparse knows their names
        data_modules()
        super().__init__(
            StagedModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_kwargs={"prog": "train.py"},
            args=arguments,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--output", type=str | None, default=None, help="folder of the run (default: runs/<config's name>)"
        )
        parser.add_argument("--overwrite", type=bool, default=False, help="start anew in a folder that holds a run")
        parser.add_argument(
            "--patience", type=int, default=20, help="epochs without improvement that end the last stage"
        )
        parser.add_argument(
            "--cache_features", type=bool, default=False, help="run a frozen backbone once, not in every epoch"
        )
        # As a Domain: of plain data, jsonargparse would take a text that is JSON, such as a tokenizer, for its content.
        parser.link_arguments("data.domain", "model.init_args.domain", Domain.from_dict, apply_on="instantiate")
        parser.set_defaults({"trainer.logger": None})
        for base in (StagedModule, LightningDataModule):
            parser.add_instantiator(_build, base, prepend=True)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except Refused as refused:
            raise refused.reason from None

    @property
    def settings(self) -> Any:
        """What was given to the subcommand."""
        return self.config[self.subcommand]

    @property
    def output(self) -> Path:
        return Path(self.settings.output)

    def before_instantiate_classes(self) -> None:
        settings = self.settings
        if settings.output is None:
            files = settings.config or []
            settings.output = f"runs/{Path(str(files[0])).stem}" if files else "runs/unnamed"
        settings.weights_only = True
        last, best = self.output / "last.ckpt", self.output / "best.ckpt"
        if self.subcommand == "fit":
            if settings.ckpt_path == "last":
                settings.ckpt_path = str(_existing(last, "There is no run to continue; leave out --ckpt_path."))
            elif last.exists() and not settings.ckpt_path and not settings.overwrite:
                raise FileExistsError(
                    f"{self.output} holds a run already; continue it with --ckpt_path last, start anew with "
                    "--overwrite true, or choose another --output."
                )
        elif settings.ckpt_path in (None, "best", "last"):
            wanted = last if settings.ckpt_path == "last" or not best.exists() else best
            settings.ckpt_path = str(
                _existing(wanted, "Train first: python train.py fit --config ..., or give --ckpt_path.")
            )
        if self.subcommand == "predict":
            settings.return_predictions = False

    def before_fit(self) -> None:
        if self.settings.cache_features:
            self.datamodule = CachedFeatures(self.datamodule, self.model, self.output)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given, total = self.settings.trainer, self.model.max_epochs
        if given.max_epochs is None:
            kwargs["max_epochs"] = total
        elif given.max_epochs != total and self.subcommand == "fit":
            warnings.warn(
                (
                    f"trainer.max_epochs is {given.max_epochs}, but the recipe has {total} epochs; it will not be "
                    "run as written."
                ),
                stacklevel=2,
            )
        if given.strategy == "auto" and given.devices not in (1, "1", "auto", None):
            kwargs["strategy"] = "ddp_find_unused_parameters_true"  # stages freeze parameter groups
        if given.logger is None:
            kwargs["logger"] = CSVLogger(str(self.output), "logs") if self.subcommand == "fit" else False
        if self.subcommand != "fit":
            kwargs["enable_checkpointing"] = False
        if given.plugins is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        kwargs["callbacks"] = [*(self._get(self.config_init, "trainer.callbacks") or []), *self._callbacks()]
        return super().instantiate_trainer(**kwargs)

    def _callbacks(self) -> list[Callback]:
        if self.subcommand == "predict":
            return [PredictionTable(self.output / "predictions.csv")]
        if self.subcommand != "fit" or self.settings.trainer.fast_dev_run:
            return []
        folder: dict[str, Any] = {"dirpath": str(self.output), "enable_version_counter": False}
        return [
            LastStageStopping("monitor", mode="min", patience=self.settings.patience),
            BestCheckpoint(**folder, filename="best", monitor="monitor", mode="min", save_on_train_epoch_end=False),
            ModelCheckpoint(**folder, filename="last", save_on_train_epoch_end=True),
        ]

    def after_fit(self) -> None:
        """Tests the best epoch, then writes metrics.json and, for a model that explains itself, the checkpoint."""
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        best, model = self.output / "best.ckpt", self.model
        if best.exists():
            model.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
        self.trainer.test(model, datamodule=self.datamodule, verbose=False)
        if not self.trainer.is_global_zero:
            return
        measured = {
            k.removeprefix("test/"): v.item() for k, v in self.trainer.callback_metrics.items() if k.startswith("test/")
        }
        metrics = {k: v for k, v in sorted(measured.items()) if not k.startswith("loss")}
        (self.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        print("\ntest " + " · ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        if not isinstance(model, SelfInterpretable):
            print(f"run      {self.output} (a black box explains nothing, so there is no checkpoint to explain with)")
            return
        items = [self.datamodule.test_dataset()[i]["input"] for i in range(2)]
        folder = save(model.cpu(), self.output / "checkpoint", metrics=metrics, golden=torch.stack(items))
        given = INPUTS[model.domain.modality]
        print(f"saved    {folder}")
        print(f"explain  python train.py explain --checkpoint {folder} --input {given} --output out/")


class Refused(BaseException):
    """Carries a constructor's error past jsonargparse, which would bury it in a list of all types that it tried."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _build(cls: type, *args: Any, **kwargs: Any) -> Any:
    try:
        return cls(*args, **kwargs)
    except Exception as reason:
        raise Refused(reason) from reason


class SaveConfig(SaveConfigCallback):
    """Leaves the whole config, defaults included, in the run's folder."""

    def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit" and not trainer.fast_dev_run:
            folder = Path(self.config.output)
            folder.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, str(folder / "config.yaml"), skip_none=True, overwrite=True, multifile=False)


def _existing(path: Path, remedy: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}. {remedy}")
    return path


def _quieten() -> None:
    """Silences advertisements, and advice that does not fit data sets that are in memory."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).addFilter(lambda record: "Tip: For seamless" not in record.getMessage())
    for message in (
        ".*args parameter is intended to run from within Python.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches.*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)


def _command(name: str) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        check_arguments(arguments)
        FittingCLI([name, *arguments])
        return 0

    return run


fit, validate, test, predict = (_command(name) for name in ("fit", "validate", "test", "predict"))
