"""Further training of some parameter groups of a finished model, outside of its recipe."""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor

from zoo.training.batch import as_batch
from zoo.training.loss_terms import require_finite, weighted_sum
from zoo.training.modes import train_only
from zoo.training.staged_module import StagedModule


class Refit(LightningModule):
    """Trains some parameter groups of a model by its own loss and optimizer; the others are frozen.

    Args:
        model: finished; its recipe does not apply, except for the optimizer and the coefficients of the loss.
        groups: names of parameter groups.
        lr: learning rate of these groups; by default that of the recipe.
    """

    def __init__(self, model: StagedModule, groups: Sequence[str], lr: float | None = None) -> None:
        super().__init__()
        self.model, self.groups, self.lr = model, tuple(groups), lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.model.configure_optimizers()
        for group in optimizer.param_groups:
            if group["name"] in self.groups and self.lr is not None:
                group["lr"] = self.lr
        return optimizer

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(int(os.environ.get("PL_GLOBAL_SEED", 0)) + 1_000_003 * self.current_epoch + self.global_rank)
        train_only(self.model.groups(), self.groups)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        scores, evidence = self.model.step(batch["input"])
        terms = self.model.losses(scores, evidence, batch)
        total = weighted_sum(terms, self.model.coefficients, type(self.model).__name__)
        require_finite(total, terms, self.current_epoch, batch_idx)
        return total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.model.on_train_batch_end(outputs, batch, batch_idx)  # weights of which it promises a sign keep it


def refit(
    model: StagedModule, data: LightningDataModule, groups: Sequence[str], epochs: int, lr: float | None = None
) -> None:
    """Trains some parameter groups of a finished model, and leaves it in evaluation mode.

    Args:
        model: see `Refit`.
        data: a data module; its training data is used.
        groups: names of parameter groups.
        epochs: number of epochs.
        lr: see `Refit`.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about loggers and workers
        trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
        trainer.fit(Refit(model, groups, lr), datamodule=data)
    model.requires_grad_(True).eval()
