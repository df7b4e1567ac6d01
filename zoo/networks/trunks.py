"""Any classifier without its linear head, as a backbone: what a layer within it gives."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.networks.base import Encoder
from zoo.networks.classifiers import create_classifier
from zoo.networks.weights import PREFIX
from zoo.utils.checks import check_choice
from zoo.utils.signatures import refuse_unknown

FORMS = ("map", "map_last", "tokens", "vector")
"""What a layer gives: (B, d, h, w), (B, h, w, d), (B, T, d) with T = h w, or (B, d)."""


class Trunk(nn.Module):
    """The features of a classifier at one of its layers. The classifier is complete but for its head.

    Args:
        classifier: is changed: its head becomes the identity.
        layer: name of the layer; that of the head stands for the vector that the head reads.
        head: name of the last linear layer.
        form: of the layer's output, see `FORMS`.

    Attributes:
        channels: d.

    Raises:
        ValueError: an unknown form, or the classifier has no such layer or no such head.
    """

    def __init__(self, classifier: nn.Module, layer: str, head: str, form: str) -> None:
        super().__init__()
        check_choice(FORMS, form=form)
        names = dict(classifier.named_modules())
        last = names.get(head)
        if not head or not isinstance(last, nn.Linear) or not layer or layer not in names:
            raise ValueError(
                f"{type(classifier).__name__} has no layer '{layer}', or no linear layer '{head}'; is it the network "
                "that was converted?"
            )
        classifier.set_submodule(head, nn.Identity())
        self.network, self.layer, self.form, self.channels = classifier, layer, form, last.in_features

    def forward(self, x: Tensor) -> Tensor:
        """A map (B, d, h, w) of images (B, C, H, W), of one cell where the features have no place; else (B, d)."""
        output = output_of(self.network, self.layer, x)
        if x.ndim != 4:
            return output
        cells = cells_of(output, self.form)
        height, width = grid_of(output, self.form, (x.shape[2], x.shape[3])) or (1, cells.shape[1])
        return cells.mT.unflatten(2, (height, width))


class TrunkEncoder(Encoder):
    """A trunk of inputs other than images, which gives vectors."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.network, self.channels = trunk, trunk.channels

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def output_of(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer of a network gave in its last call in a pass over inputs."""
    found: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        found.append(output)

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        network(x.contiguous())  # channels first, for networks that call view()
    finally:
        handle.remove()
    return found[-1]


def cells_of(output: Tensor, form: str) -> Tensor:
    """Cells (B, P, d) of the output of a layer."""
    if form == "map":
        return output.flatten(2).mT
    return output.flatten(1, 2) if form == "map_last" else output if form == "tokens" else output[:, None]


def grid_of(output: Tensor, form: str, size: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) of the cells of a layer, for images of (height, width); None if tokens do not fill such a grid.

    Tokens are taken to be row by row.
    """
    if form == "map":
        return output.shape[2], output.shape[3]
    if form == "map_last":
        return output.shape[1], output.shape[2]
    if form == "vector":
        return 1, 1
    height = max(round((output.shape[1] * size[0] / size[1]) ** 0.5), 1)
    width = output.shape[1] // height
    return (height, width) if height * width == output.shape[1] else None


def create_trunk(name: str, options: Mapping[str, Any], channels: int | None = None) -> Trunk:
    """Builds a classifier without its head, from what a config or a checkpoint says.

    Args:
        name: see `zoo.networks.classifiers`.
        options: `layer`, `head` and `form`, see `Trunk`; and `num_classes` of a network of a library. The names of
            layers begin with "network.", so that none, such as "0.10", is a number in a config.
        channels: of the images.

    Raises:
        ValueError: there is no such classifier or layer, or an option is missing.
        TypeError: an unknown option.
    """
    refuse_unknown(options, ("layer", "head", "form", "num_classes"), f"backbone '{name}'")
    if not {"layer", "head"} <= set(options):
        raise ValueError(
            f"backbone '{name}' needs the names of a layer and of the head, as `python train.py convert` writes them; "
            f"got {', '.join(options) or 'no options'}."
        )
    classifier = create_classifier(name, options.get("num_classes"), channels)
    layer, head = (str(options[key]).removeprefix(PREFIX) for key in ("layer", "head"))
    return Trunk(classifier, layer, head, options.get("form", "map"))


def scores_of(output: Any) -> Tensor:
    """The scores (B, C) that a classifier returned, also within an object with `logits`.

    Raises:
        ValueError: it returned something else.
    """
    scores = getattr(output, "logits", output)
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(output).__name__
        raise ValueError(f"a classifier must return scores (B, classes), or an object with them as logits; got {got}.")
    return scores
