"""Finds head and features of a trained classifier: a linear layer on the mean of a map, of tokens, or on a vector."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.networks.trunks import cells_of, grid_of, scores_of
from zoo.utils.errors import SHOWN, short

CLOSE = 1e-4  # relative to the largest value


@dataclass(frozen=True)
class Parts:
    """What a classifier consists of: scores = head(mean over cells of the output of a layer).

    Attributes:
        head: name of the linear layer.
        layer: name of the layer with the features; the head itself stands for the vector that it reads.
        form: of the layer's output, see `zoo.networks.trunks.FORMS`.
        cells: number of cells; 1 where features have no place.
        weight: of the head (C, d).
        bias: of the head (C,), 0 where it has none.
    """

    head: str
    layer: str
    form: str
    cells: int
    weight: Tensor
    bias: Tensor


@torch.no_grad()
def take_apart(network: nn.Module, x: Tensor, classes: int, layer: str | None = None) -> Parts:
    """Takes a classifier apart by a pass over some inputs. The network itself is not changed.

    Args:
        network: gives scores (B, C), or an object with them as `logits`.
        x: inputs (B, *shape).
        classes: C.
        layer: name of the layer whose output becomes the features; by default the last one whose mean over cells the
            head reads.

    Raises:
        ValueError: the network does not read such inputs, its scores are not those of a linear layer with C outputs,
            or the head does not read the mean of the given layer.
    """
    own = copy_of(network).eval()
    outputs, read, scores = trace(own, x)
    head = head_of(own, read, classes)
    vector, last = read[head], own.get_submodule(head)
    assert isinstance(last, nn.Linear)
    found = forms_of(outputs, vector, x) if x.ndim == 4 else {}
    if layer is not None and layer not in found:
        near = list(found)[-SHOWN:]
        raise ValueError(
            f"the head '{head}' does not read the mean over the cells of '{layer}'"
            + ("" if layer in dict(own.named_modules()) else ", which is not a layer of the network")
            + (f"; it reads that of {', '.join(near)}." if near else "; there is no such layer. Leave out the layer.")
        )
    name = layer or (list(found)[-1] if found else head)
    form = found.get(name, "vector")
    mean = cells_of(outputs[name], form).mean(1) if form != "vector" else vector
    require_close(last(mean), scores, head)
    bias = torch.zeros_like(last.weight[:, 0]) if last.bias is None else last.bias
    cells = 1 if form == "vector" else cells_of(outputs[name], form).shape[1]
    return Parts(head, name, form, cells, last.weight.clone(), bias.clone())


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of a network.

    Raises:
        ValueError: it cannot be copied, such as one that keeps what it computed with gradients.
    """
    try:
        return copy.deepcopy(network)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(network).__name__} cannot be copied ({short(str(error))}). Give a network that was just built and "
            "filled with its weights."
        ) from error


def trace(network: nn.Module, x: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], Tensor]:
    """The output of each layer and the input of each linear layer in the last call, in order of the calls; the scores.

    Raises:
        ValueError: the network does not read such inputs.
    """
    outputs: dict[str, Tensor] = {}
    read: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor):
            outputs.pop(name, None)  # the order of the last calls
            outputs[name] = output
        if isinstance(module, nn.Linear) and given and isinstance(given[0], Tensor):
            read.pop(name, None)
            read[name] = given[0]

    handles = [
        module.register_forward_hook(lambda m, given, output, name=name: keep(name, m, given, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        scores = scores_of(network(x))
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"{type(network).__name__} cannot read inputs {tuple(x.shape)} of the data ({error}). Give the data the "
            "size and the channels that it was trained on."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return outputs, read, scores


def head_of(network: nn.Module, read: Mapping[str, Tensor], classes: int) -> str:
    """The last linear layer with so many outputs that reads vectors.

    Raises:
        ValueError: there is none; names what there is.
    """
    layers = {name: network.get_submodule(name) for name in read}
    sizes = {name: layer.out_features for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    fitting = [name for name, size in sizes.items() if size == classes and read[name].ndim == 2]
    if fitting:
        return fitting[-1]
    last = list(sizes)[-1:]
    got = f"its last linear layer is '{last[0]}' with {sizes[last[0]]} outputs" if last else "it has no linear layer"
    raise ValueError(
        f"{type(network).__name__} must end in a linear layer (nn.Linear) with {classes} outputs, one for each class "
        f"of the data, that reads vectors; {got}."
    )


def forms_of(outputs: Mapping[str, Tensor], vector: Tensor, x: Tensor) -> dict[str, str]:
    """The forms of the layers whose mean over more than one cell is the vector (B, d), in order of the calls."""
    found = {}
    for name, output in outputs.items():
        for form in ("map", "map_last") if output.ndim == 4 else ("tokens",) if output.ndim == 3 else ():
            grid = grid_of(output, form, (x.shape[2], x.shape[3]))
            cells = cells_of(output, form)
            if grid is None or cells.shape[1] < 2 or cells[:, 0].shape != vector.shape:
                continue
            if (cells.mean(1) - vector).abs().max() <= CLOSE * vector.abs().max():
                found[name] = form
    return found


def require_close(rebuilt: Tensor, scores: Tensor, head: str) -> None:
    """Refuses a network whose scores are not those of its head.

    Raises:
        ValueError: with the difference and the size of the scores.
    """
    if rebuilt.shape == scores.shape:
        difference, size = (rebuilt - scores).abs().max().item(), scores.abs().max().item()
        if difference <= CLOSE * size:
            return
        told = f"they differ by up to {difference:.3g}, where scores are up to {size:.3g}"
    else:
        told = f"they are {tuple(rebuilt.shape)} and {tuple(scores.shape)}"
    raise ValueError(
        f"the scores of the network are not those of its linear layer '{head}': {told}. Give a network that returns "
        "the outputs of its last linear layer, without a softmax or another layer after it."
    )
