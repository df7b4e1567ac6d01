"""`train.py show`: a model's whole vocabulary as one page; `train.py curves`: how its training went, as a figure."""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

import zoo
from zoo.checkpoints.checkpoint import read_config
from zoo.checkpoints.pretrained import find
from zoo.circuits import Circuit, SparseTransformer
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.core.top_activating import strongest
from zoo.domain import ImageDomain
from zoo.domain.inputs import inputs_of, read
from zoo.prototypes import ProtoTree
from zoo.views.circuit import graph
from zoo.views.training_curves import training_figure
from zoo.views.tree import tree
from zoo.views.vocabulary import vocabulary_page

SHOWN, SIDE = 5, 72  # images of a unit, and the side of each in pixels


def show(arguments: list[str]) -> int:
    """Writes a page with every unit of a checkpoint: its picture, where it comes from, and its weights for classes."""
    parser = argparse.ArgumentParser("train.py show", description=show.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="folder written by fit, or by zoo.save()")
    parser.add_argument("--output", default=Path("model.html"), type=Path, help="page to write (default: model.html)")
    parser.add_argument(
        "--circuit", nargs="+", type=Path, help="draw these circuits by `prune` (default: all in CHECKPOINT-circuits)"
    )
    parser.add_argument("--images", nargs="+", metavar="FILE|FOLDER", help="show where each unit fires most in these")
    parser.add_argument("--limit", type=int, default=1000, help="images to look at, at most (default: 1000)")
    options = parser.parse_args(arguments)
    if options.output.is_dir():
        raise ValueError(f"--output names the page to write; {options.output} is a folder.")
    model = zoo.load(options.checkpoint)
    title = f"{registry.name_of(type(model))}: {options.checkpoint}"
    page = vocabulary_page(
        title,
        model.units(),
        model.domain,
        weights_of(model),
        measured(options.checkpoint),
        drawings(model, options.checkpoint, options.circuit),
        strips(model, options.images, options.limit) if options.images else (),
    )
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


def drawings(model: SelfInterpretable, checkpoint: Path, chosen: Sequence[Path] | None) -> list[tuple[str, str]]:
    """A title and a drawing of the tree that a model is, and of each of its circuits.

    Raises:
        FileNotFoundError: no such circuit.
        ValueError: a file is no circuit, or one of another network; or the model has no circuits.
    """
    if isinstance(model, ProtoTree):
        return [("The whole tree", tree(model.outline(), model.units(), model.domain.classes))]
    if not isinstance(model, SparseTransformer):
        if chosen:
            raise ValueError(f"--circuit: {registry.name_of(type(model))} has no circuits; leave it out.")
        return []
    files = chosen or sorted(checkpoint.with_name(f"{checkpoint.name}-circuits").glob("*.safetensors"))
    drawn = []
    for file in files:
        circuit = Circuit.load(file)
        if circuit.layout != model.network.layout:
            raise ValueError(f"{file} is a circuit of another network; give one that `prune` found in {checkpoint}.")
        plain = circuit.to_dict()
        title = f"{circuit.task}: {len(plain['nodes'])} nodes and {len(plain['edges'])} weights"
        drawn.append((title, f"<div class='graph'>{graph(plain['nodes'], plain['edges'])}</div>"))
    return drawn


def strips(model: SelfInterpretable, images: Sequence[str], limit: int) -> list[list[tuple[Tensor, str, float]]]:
    """For each unit without a picture of its own the images in which it fires most, the strongest first.

    Raises:
        ValueError: the model does not read images, there are none, or `limit` is below 1.
    """
    domain = model.domain
    if not isinstance(domain, ImageDomain):
        raise ValueError(f"--images: this model reads {domain.noun}, of which there are no pictures; leave it out.")
    if limit < 1:
        raise ValueError(f"--limit must be at least 1; got {limit}.")
    found = strongest(model, islice(inputs_of(images, domain), limit), SHOWN)
    small = {}
    for i in found.index.unique().tolist():
        picture = domain.picture(read(found.files[i], domain))
        small[i] = F.resize(picture, [min(SIDE, s) for s in domain.size], antialias=True)
    return [
        [(small[i], str(found.files[i]), value) for i, value in zip(row, values, strict=True)]
        if unit.picture is None
        else []
        for unit, row, values in zip(model.units(), found.index.tolist(), found.activation.tolist(), strict=True)
    ]


def measured(checkpoint: Path) -> dict[str, Any]:
    """The numbers that `fit` left beside a checkpoint, or else those that it was saved with."""
    path = checkpoint.parent / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else read_config(checkpoint)["metrics"]
    return {name.replace("_", " "): value for name, value in found.items() if isinstance(value, int | float)}
