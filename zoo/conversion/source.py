"""The trained network to convert: where it comes from, and the black box that is made of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from zoo.domain import Domain, ImageDomain, TextDomain
from zoo.networks.classifiers import LIBRARIES, create_classifier, register_classifier
from zoo.networks.hf_classifier import read_classifier
from zoo.networks.take_apart import Parts, require_close, take_apart
from zoo.networks.target_units import assign, target_units
from zoo.networks.trunks import scores_of
from zoo.networks.weights import PREFIX
from zoo.training.batch import as_batch
from zoo.training.black_box_file import FILE, Network, load_network, save_network
from zoo.training.distillation import differences
from zoo.utils.user_code import import_code

ROWS = 8  # training inputs that the network is taken apart by
KINDS = "a folder of a run of a BlackBox, torchvision:NAME, timm:NAME, hf:FOLDER_OR_NAME, or module:FILE.py:FUNCTION"


@dataclass(frozen=True)
class BlackBoxRun:
    """A black box as a teacher of recipes.

    Attributes:
        run: folder with its file.
        backbone: specification of its backbone.
        network: the black box itself.
        layer: of the network, whose output are the features; None for the run of a BlackBox.
        cells: number of cells of the features.
        code: what `--code` must name before a checkpoint of it is loaded; None where nothing is needed.
    """

    run: Path
    backbone: Any
    network: Network
    layer: str | None
    cells: int
    code: str | None = None


def open_run(folder: Path, domain: Domain, x: Tensor) -> BlackBoxRun:
    """The black box of a run of `fit`.

    Raises:
        FileNotFoundError, ValueError: it has no intact black box, or one of other inputs or classes.
    """
    network = load_network(folder / FILE)
    if found := differences(network.domain, domain):
        raise ValueError(f"the black box {folder} does not fit these data: {'; '.join(found)}.")
    inner = getattr(network.backbone, "backbone", None)  # of images
    with torch.no_grad():
        cells = inner(x).flatten(2).shape[2] if isinstance(inner, nn.Module) else 1
    return BlackBoxRun(folder, network.spec, network, None, cells)


def open_network(spec: str, domain: Domain, weights: Path | None = None) -> tuple[nn.Module, str, str | None]:
    """The classifier that a specification names.

    Args:
        spec: "torchvision:NAME", "timm:NAME" or "module:CODE", see `zoo.utils.user_code.import_code`.
        domain: of the data.
        weights: safetensors file with all weights of the classifier.

    Returns:
        the classifier, the name under which it can be built again, and the file that `--code` must name for that.

    Raises:
        ValueError: an unknown kind or network, or weights that do not fit.
        FileNotFoundError: no such file.
        ImportError: the user's module cannot be imported.
    """
    kind, _, rest = spec.partition(":")
    if kind in LIBRARIES:
        if kind == "torchvision" and weights is None:
            raise ValueError(f"{spec} has no trained weights of its own; give --weights FILE.safetensors.")
        channels = domain.channels if isinstance(domain, ImageDomain) else None
        pretrained = weights is None
        network = create_classifier(spec, None if pretrained else len(domain.classes), channels, pretrained)
        name, code = spec, None
    elif kind == "module" and rest:
        name, code = register_code(spec), rest
        network = create_classifier(name, None, None)
    elif Path(spec).is_dir():
        raise ValueError(f"{spec} has no {FILE}, so it is not a finished run of a BlackBox. Give {KINDS}.")
    else:
        raise ValueError(f"the model to convert is {KINDS}; got '{spec}', which is none of these.")
    if weights is not None:
        fill(network, weights)
    return network, name, code


def register_code(spec: str) -> str:
    """Makes the function of "module:FILE.py:FUNCTION" known as a classifier; returns its name.

    Raises:
        ValueError: it names no function.
        FileNotFoundError, ImportError: the user's module cannot be imported.
    """
    code = spec.removeprefix("module:")
    found = import_code(code)
    if found.function is None:
        raise ValueError(f"'{spec}' names no function; give module:{code}:FUNCTION.")
    register_classifier(found.name, found.function)
    return found.name


def fill(network: nn.Module, weights: Path) -> None:
    """Fills a classifier with the weights of a safetensors file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, or names or shapes that are not those of the classifier.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"no file of weights at {weights}.")
    if weights.suffix != ".safetensors":
        raise ValueError(
            f"{weights} is not a safetensors file. Write one where the network was trained: "
            "safetensors.torch.save_file(network.state_dict(), 'network.safetensors')."
        )
    found, needed = load_file(weights), network.state_dict()
    optional = {name for name in needed if name.endswith("num_batches_tracked")}
    missing, extra = sorted(needed.keys() - found.keys() - optional), sorted(found.keys() - needed.keys())
    wrong = [name for name in needed.keys() & found.keys() if needed[name].shape != found[name].shape]
    if missing or extra or wrong:
        first = wrong[:1] and f"'{wrong[0]}' is {tuple(found[wrong[0]].shape)}, not {tuple(needed[wrong[0]].shape)}"
        raise ValueError(
            f"{weights} does not fit {type(network).__name__}: {len(missing)} weights are missing "
            f"(first: {missing[:1]}), {len(extra)} are unknown (first: {extra[:1]}), {len(wrong)} have another shape"
            f"{f' ({first})' if first else ''}. Give all weights of the classifier, with its head."
        )
    network.load_state_dict(found, strict=False)


@torch.no_grad()
def write_black_box(
    network: nn.Module,
    name: str,
    domain: Domain,
    x: Tensor,
    folder: Path,
    layer: str | None = None,
    code: str | None = None,
) -> BlackBoxRun:
    """Writes a classifier as a black box, which is compared with it.

    Args:
        network: the classifier; is not changed.
        name: from which its architecture can be built again, see `zoo.networks.classifiers`.
        domain: of the data.
        x: inputs (B, *shape) to take it apart by.
        folder: of the black box.
        layer: see `take_apart`.
        code: see `BlackBoxRun`.

    Raises:
        ValueError: see `take_apart`; or what the name builds is another network.
    """
    parts = take_apart(network, x, len(domain.classes), layer)
    spec: dict[str, Any] = {
        "name": name,
        "layer": f"{PREFIX}{parts.layer}",
        "head": f"{PREFIX}{parts.head}",
        "form": parts.form,
    }
    if name.partition(":")[0] in LIBRARIES:
        spec["num_classes"] = len(domain.classes)
    training = {module: module.training for module in network.modules()}
    try:
        scores = scores_of(network.eval()(x))
    finally:
        for module, mode in training.items():
            module.training = mode
    made = Network(domain, spec)
    copy_into(made, network, parts)
    set_head(made, parts.weight, parts.bias, scores)
    require_close(made.eval()(x), scores, parts.head)
    keep(made, folder)
    return BlackBoxRun(folder, spec, made, parts.layer, parts.cells, code)


@torch.no_grad()
def write_text_black_box(model: str, domain: Domain, x: Tensor, folder: Path) -> BlackBoxRun:
    """Writes a text classifier of Hugging Face as a black box, which is compared with it.

    Its features are the vector that its last layer reads, so that codes of them have no place in the text.

    Args:
        model: see `zoo.networks.hf_classifier.read_classifier`.
        domain: of the data.
        x: texts (B, T) to compare by.
        folder: of the black box.

    Raises:
        ValueError: other data than texts; or see `read_classifier`.
        FileNotFoundError, ImportError: see there.
    """
    if not isinstance(domain, TextDomain):
        raise ValueError(f"hf:{model} reads texts, and the data are {domain.noun}; give data of texts.")
    found = read_classifier(model, domain)
    scores = found.scores(x)
    made = Network(domain, found.encoder.spec)
    made.backbone.load_state_dict(found.encoder.state_dict())
    set_head(made, found.head.weight, found.head.bias, scores)
    require_close(made.eval()(x), scores, "classifier")
    keep(made, folder)
    return BlackBoxRun(folder, found.encoder.spec, made, found.layer, 1)


def keep(made: Network, folder: Path) -> None:
    """Writes a black box to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_network(made, {"domain": made.domain.to_dict(), "backbone": made.spec}, folder)


def set_head(made: Network, weight: Tensor, bias: Tensor, scores: Tensor) -> None:
    """Sets the head of a black box; the units of regression targets are those of some scores (B, C).

    A fit would measure units that are 1, and change the weights with them.
    """
    deviation, mean = torch.std_mean(scores, 0, correction=0)
    for units in target_units(made):
        units.unit.copy_(torch.where(deviation > 1e-6 * mean.abs(), deviation, 1))
        if units.adds:
            units.origin.copy_(mean)
    assign(made.head, weight, bias)


def copy_into(made: Network, network: nn.Module, parts: Parts) -> None:
    """Fills the backbone of a black box with the weights of the classifier that it is made of.

    Raises:
        ValueError: it has other tensors.
    """
    theirs = {k: v for k, v in network.state_dict().items() if not k.startswith(f"{parts.head}.")}
    trunk = made.get_submodule(
        "backbone.backbone.network" if isinstance(made.domain, ImageDomain) else "backbone.network"
    )
    inner = trunk.get_submodule("network")
    try:
        inner.load_state_dict(theirs)
    except RuntimeError as error:
        raise ValueError(
            f"the function that builds the network gives another one than that to convert ({error}); it must build the "
            "same layers at each call."
        ) from error


def example_inputs(dataset: Dataset, rows: int = ROWS) -> Tensor:
    """The first inputs of a data set (B, *shape)."""
    size = len(dataset)  # pyright: ignore[reportArgumentType]  # a Dataset of torch does not declare its length
    items: Iterable[Any] = (dataset[i] for i in range(min(rows, size)))
    return torch.stack([as_batch(item)["input"] for item in items])
