"""`train.py show`: a model's whole vocabulary as one page; `train.py curves`: how its training went, as a figure."""

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import zoo
from zoo import registry
from zoo.module import SelfInterpretable
from zoo.views.training import training_figure
from zoo.views.vocabulary import vocabulary_page


def show(arguments: list[str]) -> int:
    """Writes a page with every unit of a checkpoint: its picture, where it comes from, and its weights for classes."""
    parser = argparse.ArgumentParser("train.py show", description=show.__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path, help="folder written by fit, or by zoo.save()")
    parser.add_argument("--output", default=Path("model.html"), type=Path, help="page to write (default: model.html)")
    options = parser.parse_args(arguments)
    if options.output.is_dir():
        raise ValueError(f"--output names the page to write; {options.output} is a folder.")
    model = zoo.load(options.checkpoint)
    title = f"{registry.name_of(type(model))}: {options.checkpoint}"
    page = vocabulary_page(title, model.units(), model.domain, weights_of(model), measured(options.checkpoint))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page, encoding="utf-8")
    print(f"{len(model.units()):,} units -> {options.output}")
    return 0


def curves(arguments: list[str]) -> int:
    """Draws losses and accuracies by epoch of a run, from the log that `fit` leaves."""
    parser = argparse.ArgumentParser("train.py curves", description=curves.__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder written by fit")
    kinds = ".png, .svg or .pdf (default: curves.png)"
    parser.add_argument("--output", default=Path("curves.png"), type=Path, help=kinds)
    options = parser.parse_args(arguments)
    if options.output.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--output must end in .png, .svg or .pdf; got {options.output}.")
    figure = training_figure(options.run)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)
    print(f"figure {options.output}")
    return 0


def weights_of(model: SelfInterpretable) -> Tensor | None:
    """(K, C) the weight of each unit for each class, where a linear head reads the activations; else None."""
    head = getattr(model, "head", None)
    plain = type(model).readout is SelfInterpretable.readout and isinstance(head, nn.Linear)
    if not plain or head.weight.shape[1] != len(model.units()):
        return None
    return head.weight.detach().float().T.cpu()


def measured(checkpoint: Path) -> dict[str, Any]:
    """The numbers that `fit` left beside a checkpoint, if it did."""
    path = checkpoint.parent / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name.replace("_", " "): value for name, value in found.items() if isinstance(value, int | float)}
