"""Validation accuracy before and after an action that can cost accuracy."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from zoo.training.batch import as_batch
from zoo.training.modes import evaluating

REPORTED = ("push",)  # actions that replace what a model has learned
TOLERATED = 0.02  # a fall of the accuracy that gives no warning


@contextmanager
def accuracy_reported(model: LightningModule, action: str) -> Iterator[None]:
    """Prints the validation accuracy before and after the action in the block, and warns if it fell.

    Nothing is printed for actions other than `REPORTED`, and without validation data.
    """
    loaders = model.trainer.val_dataloaders if action in REPORTED else None
    if loaders is None:
        yield
        return
    before = validation_accuracy(model, model.trainer)
    yield
    after = validation_accuracy(model, model.trainer)
    rank_zero_info(f"{action}: validation accuracy {before:.1%} before, {after:.1%} after.")
    if after < before - TOLERATED and model.trainer.is_global_zero:
        warnings.warn(
            f"{action} lowered the validation accuracy from {before:.1%} to {after:.1%}: the training patches differ "
            "from the learned prototypes. A later stage can make up for it (such as one that trains the head); if it "
            "does not, train the prototypes longer, or alternate push with stages that train the backbone.",
            stacklevel=2,
        )


@torch.no_grad()
def validation_accuracy(model: LightningModule, trainer: Trainer) -> float:
    """Share of the validation inputs whose class has the highest score; draws no random numbers of the fit."""
    counts = torch.zeros(2, device=model.device)
    loaders: Any = trainer.val_dataloaders
    step: Any = model.step
    loader = loaders[0] if isinstance(loaders, list) else loaders
    with torch.random.fork_rng(devices=[]), evaluating(model):
        for item in islice(loader, int(min(trainer.num_val_batches[0], len(loader)))):
            batch: Any = as_batch(trainer.strategy.batch_to_device(item))
            right = step(batch["input"])[0].argmax(1) == batch["target"]
            counts += torch.stack([right.sum(), torch.tensor(len(right), device=right.device)])
    if trainer.world_size > 1:
        dist.all_reduce(counts)
    return float(counts[0] / counts[1])
