"""Progress of Lightning's Trainer where its output is not a terminal: a line every ten seconds."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from zoo.utils.progress import Pace


class LineProgress(ProgressBar):
    """Prints epoch, batch, metrics, rate and remaining time, at most every ten seconds.

    Lightning's own bars redraw a line, which fills a log file with fragments.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled, self.pace = True, Pace(None)

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace(self._total(trainer), trainer.fit_loop.total_batch_idx + 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.enabled and self.pace.due():
            done = trainer.fit_loop.total_batch_idx + 1
            epochs = "" if trainer.max_epochs in (None, -1) else f" of {trainer.max_epochs}"
            values = {name: v for name, v in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
            metrics = "".join(f", {name} {v:.4g}" for name, v in values.items() if isinstance(v, int | float))
            place = f"epoch {trainer.current_epoch + 1}{epochs}, batch {batch_idx + 1}"
            print(f"{place}{metrics}; {self.pace.text(done, 'batch')}", flush=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.pace = Pace(sum(map(float, trainer.num_val_batches)))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace(sum(map(float, trainer.num_test_batches)))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pace = Pace(sum(map(float, trainer.num_predict_batches)))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated("validation", trainer.num_val_batches, batch_idx, trainer.state.fn == "fit")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated("test", trainer.num_test_batches, batch_idx)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated("predict", trainer.num_predict_batches, batch_idx)

    def _evaluated(self, what: str, totals: list[int | float], batch_idx: int, fitting: bool = False) -> None:
        done = batch_idx + 1
        if self.enabled and self.pace.due():
            rate = "" if fitting else f"; {self.pace.text(done, 'batch')}"
            print(f"{what}, batch {done} of {int(sum(map(float, totals)))}{rate}", flush=True)

    def _total(self, trainer: Trainer) -> float | None:
        """Batches of all epochs; None if there is no limit."""
        if trainer.max_epochs in (None, -1) or trainer.num_training_batches == float("inf"):
            return None
        return trainer.max_epochs * trainer.num_training_batches
