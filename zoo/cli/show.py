"""`train.py show`: writes the vocabulary of a model as one page."""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

import zoo
from zoo.checkpoints.config_file import content_hash, read_config
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.circuit_files import circuits_of
from zoo.cli.names_file import add_names, names_for
from zoo.core import registry
from zoo.core.curves import HasCurves
from zoo.core.distance_functions import HasDistanceFunctions
from zoo.core.module import SelfInterpretable
from zoo.core.rule_table import Rule, ordered
from zoo.core.top_activating import blocks, top_activating_inputs
from zoo.domain import ImageDomain, TableDomain
from zoo.domain.inputs import Input, inputs_of, modified, read
from zoo.utils.atomic import write_text
from zoo.utils.pieces import Pieces
from zoo.utils.printable import printable
from zoo.utils.shards import Shard
from zoo.views.additive.model_page import curves_page
from zoo.views.additive.shown import known
from zoo.views.circuits.graph import graph
from zoo.views.distances import model_by_distance
from zoo.views.tree import tree
from zoo.views.vocabulary import vocabulary_page

SHOWN, SIDE = 5, 72  # images for each unit, and their side in pixels


def show(arguments: list[str]) -> int:
    """Writes a page with all units of a checkpoint: image, source, and weights for the classes.

    Prototype trees and circuits are drawn as graphs. Of models whose units are functions of columns, the page has all
    curves, and for `edit` an editor that exports edits. Rules are also printed, with their support and precision, and
    the card of a scoring system.
    """
    options = _parse(arguments)
    shard = Shard.of_environment()
    if shard.world > 1 and not options.images:
        raise ValueError("show draws one page, which several processes cannot share; start it without torchrun.")
    model = zoo.load(options.checkpoint)
    names = names_for(options.names, options.checkpoint)
    images, pieces = (), None
    if options.images:
        files = list(islice(inputs_of(options.images, model.domain), options.limit))
        pieces = Pieces(options.output, identity_of(options, files), blocks(files), shard)
        if (images := top_activating_images(model, files, pieces)) is None:
            return 0  # the last process writes the page
    title = f"{registry.name_of(type(model))}: {options.checkpoint}"
    curves = model.curves() if isinstance(model, HasCurves) else ()
    if isinstance(model.domain, TableDomain) and known(curves, model.domain):
        editable = callable(getattr(model, "edited", None))
        page = curves_page(title, curves, model.domain, saved_metrics(options.checkpoint), editable)
    else:
        page = vocabulary_page(
            title,
            model.units() if names is None else names.units(model.units()),
            model.domain,
            weights_of(model),
            saved_metrics(options.checkpoint),
            drawings(model, options.checkpoint, options.circuit),
            images,
            curves,
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.output, page)
    if pieces is not None:
        pieces.clear()
    if isinstance(model, HasRules):
        for rule in ordered(model.rule_table()):
            print(printable(str(rule)))
    if isinstance(model, HasCard):
        print("\n".join(printable(line) for line in model.card().splitlines()))
    print(f"{len(model.units()):,} units -> {printable(options.output)}")
    return 0


@runtime_checkable
class HasRules(Protocol):
    """A model of rules that were measured on its training set (RRL, LEN, GraphConcepts)."""

    def rule_table(self) -> list[Rule]:
        """The rules."""
        ...


@runtime_checkable
class HasCard(Protocol):
    """A model that is a card of points (ScoringSystem)."""

    def card(self) -> str:
        """The card as text."""
        ...


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser("show", show.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--output", default=Path("model.html"), type=Path, help="HTML file (default: model.html)")
    parser.add_argument("--circuit", nargs="+", type=Path, help="circuits to draw (default: those of the checkpoint)")
    parser.add_argument("--images", nargs="+", metavar="FILE|FOLDER", help="show the top-activating of these images")
    parser.add_argument("--limit", type=positive, default=1000, help="maximum number of images (default: 1000)")
    add_names(parser)
    options = parser.parse(arguments)
    if options.output.is_dir():
        raise ValueError(f"--output must be an HTML file; {options.output} is a folder.")
    return options


def weights_of(model: SelfInterpretable) -> Tensor | None:
    """Weights (K, C) of the units for the classes, if a linear head reads the activations; otherwise None."""
    head = getattr(model, "head", None)
    if type(model).readout is not SelfInterpretable.readout or not isinstance(head, nn.Linear):
        return None
    return head.weight.detach().float().T.cpu() if head.weight.shape[1] == len(model.units()) else None


def drawings(model: SelfInterpretable, checkpoint: Path, chosen: Sequence[Path] | None) -> list[tuple[str, str]]:
    """Title and drawing of each part of a model: the tree of a prototype tree, circuits, functions of distances.

    Raises:
        FileNotFoundError: there is no such circuit file.
        ValueError: a file is not a circuit of this model, or the model has no circuits.
    """
    name = registry.name_of(type(model))
    if name == "prototree":
        from zoo.prototypes.prototree import ProtoTree  # here, because other models do not need this family

        assert isinstance(model, ProtoTree)
        return [("Tree", tree(model.outline(), model.units(), model.domain.classes))]
    if name != "sparse_transformer":
        if chosen:
            raise ValueError(f"{name} has no circuits. Leave out --circuit.")
        if isinstance(model, HasDistanceFunctions):
            return [("The model", model_by_distance(model.distance_functions()))]
        return []
    from zoo.circuits.network.circuit import Circuit
    from zoo.circuits.sparse_transformer import SparseTransformer

    assert isinstance(model, SparseTransformer)
    files = chosen or circuits_of(checkpoint)
    drawn = []
    for file in files:
        circuit = Circuit.load(file)
        if circuit.layout != model.network.layout:
            raise ValueError(
                f"{file} is a circuit of a different network; expected one that `prune` wrote for {checkpoint}."
            )
        plain = circuit.to_dict()
        title = f"{circuit.task}: {len(plain['nodes'])} nodes and {len(plain['edges'])} weights"
        drawn.append((title, f"<div class='graph'>{graph(plain['nodes'], plain['edges'])}</div>"))
    return drawn


def identity_of(options: argparse.Namespace, files: Sequence[Input]) -> dict[str, Any]:
    """What the search of images depends on."""
    return {
        "checkpoint": content_hash(read_config(options.checkpoint)),
        "files": [(str(file), modified(file)) for file in files],
        "version": zoo.__version__,
    }


def top_activating_images(
    model: SelfInterpretable, files: Sequence[Input], pieces: Pieces
) -> list[list[tuple[Tensor, str, float]]] | None:
    """For each unit without an image of its own: thumbnail, file and activation of its top-activating images.

    None in processes that are not the last to finish.

    Raises:
        ValueError: the model does not read images, or there are none.
    """
    domain = model.domain
    if not isinstance(domain, ImageDomain):
        raise ValueError(f"--images requires a model of images; this model reads {domain.noun}.")
    if (found := top_activating_inputs(model, files, SHOWN, pieces)) is None:
        return None
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


def saved_metrics(checkpoint: Path) -> dict[str, Any]:
    """The metrics that `fit` wrote next to a checkpoint, or else those in its config."""
    path = checkpoint.parent / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else read_config(checkpoint)["metrics"]
    return {name.replace("_", " "): value for name, value in found.items() if isinstance(value, int | float)}
