"""`zoo.convert`: a trained network in, a self-interpretable model of its features out."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from zoo.checkpoints.save import save
from zoo.conversion.source import (
    BlackBoxRun,
    example_inputs,
    open_network,
    open_run,
    write_black_box,
    write_text_black_box,
)
from zoo.conversion.targets import EPOCHS, Request, find_target, size_title
from zoo.core.module import SelfInterpretable
from zoo.core.registry import create_model
from zoo.domain import Domain
from zoo.networks.classifiers import register_classifier
from zoo.networks.take_apart import copy_of
from zoo.training.black_box_file import FILE
from zoo.training.fit import fit
from zoo.training.seeding import seeded

if TYPE_CHECKING:
    from zoo.data.base.module import DataModule

BLACK_BOX = "black_box"  # folder within that of the conversion
CHECKPOINT = "checkpoint"
TEXTS = "hf:"  # prefix of text classifiers of Hugging Face


class Converted(NamedTuple):
    """What `zoo.convert` returns.

    Attributes:
        model: trained.
        report: the numbers of convert.json.
    """

    model: SelfInterpretable
    report: dict[str, Any]


def convert(
    network: nn.Module | str,
    data: "DataModule",
    to: str = "sparse_code",
    *,
    folder: str | Path,
    name: str | None = None,
    weights: str | Path | None = None,
    layer: str | None = None,
    head: str | None = None,
    budget: float | None = None,
    epochs: int = EPOCHS,
    trainer: Mapping[str, Any] | None = None,
    **options: Any,
) -> Converted:
    """Converts a trained network to a self-interpretable model of its features, and compares the two.

    The network, of classes or values, is taken apart at its last linear layer. The folder gets the network as a black
    box (black_box/), the checkpoint of the model (checkpoint/), and the report (convert.json, convert.html).

    Args:
        network: a network that returns scores or values, which is not changed; the folder of a run of a `BlackBox`; or
            "torchvision:NAME", "timm:NAME", "hf:FOLDER_OR_NAME" or "module:FILE.py:FUNCTION".
        data: with the classes of the network, and the size, mean and std of its training.
        to: see `zoo.conversion.targets.TARGETS`.
        folder: for the files.
        name: under which a later program makes the classifier known, see `zoo.register_classifier`, before it loads the
            checkpoint; by default "network:" and the name of its class.
        weights: safetensors file with the weights of the classifier.
        layer: name of the layer with the features; by default the last whose mean the head reads.
        head: of the model, such as "explaining", "replacing" or "sparse" of sparse codes.
        budget: accuracy or R² that may be lost: finds the smallest explanation within it, on validation data.
        epochs: of the training.
        trainer: options of `zoo.fit`, such as `{"accelerator": "cpu", "progress": False}`.
        **options: arguments of the model in place of those that `to` gives.

    Raises:
        ValueError: the classifier does not end in a linear layer with an output for each class, or is not a linear
            function of its features; or an option does not fit.
        FileNotFoundError: a file is missing.
    """
    # Here, because `import zoo` loads neither data nor metrics.
    from zoo.conversion.budget import Attempts, cached, search
    from zoo.conversion.report import Conversion
    from zoo.conversion.write import write_report

    domain, place, given = Domain.from_dict(data.domain), Path(folder), dict(trainer or {})
    target = find_target(to, head, domain)
    data.prepare_data()
    black_box = open_black_box(network, data, domain, place, name, weights, layer)

    def build(size: int | None, trial: bool) -> SelfInterpretable:
        scores = options.get("scores")
        arguments = target.arguments(Request(domain, black_box, head, size, epochs, trial, scores))
        with seeded(given.get("seed", 0)):
            return create_model(target.model, domain=domain, **(arguments | options))

    found = None
    if budget is not None:
        if not target.sizes:
            raise ValueError(f"{to} has no size to find for a budget; leave the budget out.")
        attempts = Attempts(lambda size: build(size, True), data, black_box.network, **given)
        found = search(target.sizes, budget, attempts)
    model, start = build(found and found.chosen, False), time.perf_counter()
    metrics = fit(model, data if target.trains else cached(data, model), test=True, **given)
    seconds = time.perf_counter() - start
    tested = {key.removeprefix("test/"): value for key, value in metrics.items() if key.startswith("test/")}
    known = {key: value for key, value in tested.items() if value is not None}
    save(model, place / CHECKPOINT, metrics=known, golden=example_inputs(data.test_dataset(), 2))
    conversion = Conversion(model, black_box, data, tested, seconds, found, size_title(target, head))
    return Converted(model, write_report(conversion, place))


def open_black_box(
    network: nn.Module | str,
    data: "DataModule",
    domain: Domain,
    folder: Path,
    name: str | None = None,
    weights: str | Path | None = None,
    layer: str | None = None,
) -> BlackBoxRun:
    """The black box of a network, written to a folder unless it is that of a run.

    Raises:
        ValueError: an option does not fit the kind of network, or see `open_run`, `open_network`, `write_black_box`.
    """
    x = example_inputs(data.projection_dataset())
    if isinstance(network, str) and (Path(network) / FILE).is_file():
        if weights is not None or layer is not None:
            raise ValueError(f"{network} is a run of a BlackBox, with its own weights and layer; leave these out.")
        return open_run(Path(network), domain, x)
    code = None
    if isinstance(network, str) and network.startswith(TEXTS):
        if weights is not None or layer is not None:
            raise ValueError(f"{network} has its own weights and layer; leave these out.")
        return write_text_black_box(network.removeprefix(TEXTS), domain, x, folder / BLACK_BOX)
    if isinstance(network, str):
        network, known, code = open_network(network, domain, None if weights is None else Path(weights))
    else:
        known, kept = name or f"network:{type(network).__name__}", copy_of(network)
        register_classifier(known, lambda: copy_of(kept))
    return write_black_box(network, known, domain, x, folder / BLACK_BOX, layer, code)
