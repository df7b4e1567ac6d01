"""Verification of a checkpoint: the loaded model explains its golden inputs as it did when it was saved."""

from pathlib import Path

import torch

from zoo.checkpoints import model_card
from zoo.checkpoints.config_file import ABOUT, CONFIG, GOLDEN, read_config
from zoo.checkpoints.golden import golden_terms
from zoo.checkpoints.load import load
from zoo.checkpoints.tensor_files import read_tensors


def verify(folder: str | Path, tolerance: float = 1e-4) -> float:
    """Loads a checkpoint, explains its golden inputs again and compares; returns the largest difference.

    Raises:
        ValueError: a score, contribution or activation differs by more than `tolerance`, absolutely and relatively; or
            the model card does not match the config; or the checkpoint cannot be loaded.
        ArithmeticError: contributions and bias do not add up to the scores.
    """
    folder = Path(folder)
    check_card(folder)
    model, golden = load(folder), read_tensors(folder / GOLDEN)
    path, again = folder / GOLDEN, "save the checkpoint again."
    terms = golden_terms(model, golden.pop("inputs"))
    if extra := sorted(golden.keys() - terms.keys()):
        raise ValueError(f"{path} has {extra}, which the model does not compute; {again}")
    worst = 0.0
    for name, now in terms.items():
        if name not in golden or golden[name].shape != now.shape:
            raise ValueError(f"{path} has no '{name}' of shape {tuple(now.shape)}; {again}")
        difference = float((now - golden[name]).abs().max())
        if not torch.allclose(now.double(), golden[name].double(), rtol=tolerance, atol=tolerance):
            raise ValueError(
                f"{folder} explains its golden inputs differently than when it was saved: '{name}' differs by "
                f"{difference:.3g}."
            )
        worst = max(worst, difference)
    return worst


def check_card(folder: Path) -> None:
    """Compares the model card of a checkpoint with its config; passes if there is none.

    Raises:
        ValueError: the card is missing or differs.
    """
    config, path = read_config(folder), folder / model_card.CARD
    if ABOUT not in config:
        return
    if not path.is_file() or path.read_text(encoding="utf-8") != model_card.render(config):
        raise ValueError(f"{path} does not match {CONFIG}; save the checkpoint again.")
