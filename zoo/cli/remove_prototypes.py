"""`train.py remove-prototypes`: removes prototypes from a model and refits its head."""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.evaluate import data_of, loader, require_same_domain
from zoo.core.module import SelfInterpretable
from zoo.training.stages import parse_stages


def remove_prototypes(arguments: list[str]) -> int:
    """Forbids prototypes, such as those of background, and writes the model without them as a checkpoint.

    With --refit, the head then learns anew on the run's training data. Prints the accuracy on validation and test data
    before and after. --data.init_args.NAME VALUE changes the config's data, such as where it lies.
    """
    options, rest = _parser().parse_known_args(arguments)
    model = zoo.load(options.checkpoint)
    if not hasattr(model, "remove_prototypes"):
        raise ValueError(f"{options.checkpoint} is a {type(model).__name__}, whose units cannot be forbidden.")
    if options.refit < 0:
        raise ValueError(f"--refit must be a number of epochs from 0; got {options.refit}.")
    if options.refit and "head" not in model.groups():
        raise ValueError(f"{type(model).__name__} has no head to fit again; leave out --refit.")
    if (options.output / "config.yaml").exists():
        raise FileExistsError(f"{options.output} holds a checkpoint already; choose another --output.")
    data = data_of(options.checkpoint, options.config, rest)
    require_same_domain(model, data)
    rows = [("as it was", *_accuracies(model, data))]
    model.remove_prototypes(options.units)
    rows.append((f"without {len(options.units)} prototypes", *_accuracies(model, data)))
    if options.refit:
        refit(model, data, options.refit, options.lr)
        rows.append((f"after {options.refit} epochs of the head", *_accuracies(model, data)))
    width = max(len(row[0]) for row in rows)
    print(f"{'accuracy':<{width}}  validation    test")
    for name, validation, test in rows:
        print(f"{name:<{width}}  {validation:>10.1%}  {test:>6.1%}")
    print(f"saved {zoo.save(model, options.output)}")
    return 0


def refit(model: SelfInterpretable, data: Any, epochs: int, lr: float | None = None) -> None:
    """Trains the head alone, everything else as it is.

    Args:
        model: with a parameter group `head`.
        data: a data module.
        epochs: how long.
        lr: by default the head's own.
    """
    before = model.stages
    model.stages = parse_stages(
        [{"name": "last", "epochs": epochs, "train": ["head"], "lr": {} if lr is None else {"head": lr}}]
    )
    check, model.check_recipe = model.check_recipe, lambda: None  # the prototypes are patches already
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
            trainer.fit(model, datamodule=data)
    finally:
        model.stages, model.check_recipe = before, check
    model.requires_grad_(True).eval()


def _accuracies(model: SelfInterpretable, data: Any) -> tuple[float, float]:
    return accuracy(model, data, "val"), accuracy(model, data, "test")


@torch.no_grad()
def accuracy(model: SelfInterpretable, data: Any, split: str) -> float:
    """Share of the inputs of a split that the model answers rightly."""
    right = count = 0
    for batch in loader(data, split):
        right += int((model(batch["input"]).argmax(1) == batch["target"]).sum())
        count += len(batch["target"])
    return right / max(count, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("train.py remove-prototypes", description=remove_prototypes.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="folder of a prototype model")
    parser.add_argument("--units", required=True, nargs="+", help="names of prototypes, as explanations show them")
    parser.add_argument("--refit", default=0, type=int, metavar="EPOCHS", help="of the head (default: 0)")
    parser.add_argument("--lr", type=float, help="of the refit (default: the head's own)")
    parser.add_argument("--config", type=Path, help="whose data to use (default: the config beside the checkpoint)")
    parser.add_argument("--output", required=True, type=Path, help="folder for the new checkpoint")
    return parser
