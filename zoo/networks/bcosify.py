"""Ordinary convolutional networks as dynamic-linear ones (B-cosification).

Arya, Rao, Böhle, Schiele: "B-cosification: Transforming Deep Neural Networks to be Inherently Interpretable",
NeurIPS 2024, arXiv 2411.00715.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.networks.dynamic_linear import DynamicLinear, Gate, HeldConv, HeldNorm, Size, UncentredNorm
from zoo.networks.dynamic_network import Chain, Residual
from zoo.networks.dynamic_pools import AveragePool, MaxPool
from zoo.networks.trunks import Trunk

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)  # f(0) = 0
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
STEM = ("conv1", "bn1", "relu", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
BODY = (  # of a residual block: of torchvision with one `relu`, of timm with several activations
    ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "conv3", "bn3"),
    ("conv1", "bn1", "act1", "conv2", "bn2"),
)
EXTRA = ("aa", "se", "drop_block", "drop_path")  # of a block of timm


@dataclass(frozen=True)
class Rules:
    """How layers are changed.

    Attributes:
        b: the exponent of all convolutions.
        biases: keep biases and the means of batch norms.
    """

    b: float
    biases: bool


def bcosify(network: nn.Module, b: float, biases: bool) -> Chain:
    """A network of the same weights whose layers are dynamic-linear.

    Convolutions get the factor |cos|^(B - 1), with weights as they are; the first one reads [z, -z] with the weights
    [w, -w] / 2, which is the same for B = 1. Without `biases`, biases are left out and batch norms only divide by the
    deviation. Activations and poolings remain.

    Args:
        network: a chain (`nn.Sequential`) of convolutions, batch norms, activations and poolings; a ResNet of
            torchvision or timm; or such a classifier up to a layer (`Trunk`). Its weights are copied.
        b: the exponent B.
        biases: keep biases and means. With B = 1 the network is then the same as before.

    Raises:
        ValueError: another kind of network or layer; the message names it.
    """
    chain = Chain(_layers(network, Rules(b, biases)))
    first = next((layer for layer in chain.modules() if isinstance(layer, HeldConv)), None)
    if first is None:
        raise ValueError(f"{type(network).__name__} has no convolution, so there is nothing to B-cosify.")
    if first.groups != 1:
        raise ValueError("the first convolution must read all channels at once (groups 1).")
    first.weight = nn.Parameter(torch.cat([first.weight, -first.weight], 1).detach() / 2)
    return chain


def _layers(module: nn.Module, rules: Rules) -> Iterator[DynamicLinear]:
    """The layers that stand for a module, in order."""
    if isinstance(module, Trunk):
        yield from _trunk(module, rules)
    elif isinstance(module, nn.Sequential):
        for layer in module:
            yield from _layers(layer, rules)
    elif _is_block(module):
        yield from _block(module, rules)
    elif all(hasattr(module, name) for name in ("conv1", "layer1", "layer4")):
        for name in STEM:
            if hasattr(module, name):
                yield from _layers(getattr(module, name), rules)
    elif not isinstance(module, NOTHING):
        yield _layer(module, rules)


def _trunk(trunk: Trunk, rules: Rules) -> Iterator[DynamicLinear]:
    """A classifier up to the layer with the features."""
    if trunk.form != "map":
        raise ValueError(f"B-cosification needs features as a map of cells; '{trunk.layer}' gives a {trunk.form}.")
    network = trunk.network
    if isinstance(network, nn.Sequential) and "." not in trunk.layer:
        names = [name for name, _ in network.named_children()]
        yield from _layers(network[: names.index(trunk.layer) + 1], rules)
    elif trunk.layer == "layer4" and hasattr(network, "layer4"):
        yield from _layers(network, rules)
    else:
        raise ValueError(
            f"B-cosification reads a chain of layers or a ResNet; got {type(network).__name__} up to '{trunk.layer}'."
        )


def _is_block(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("conv1", "bn1", "conv2", "bn2", "downsample"))


def _block(block: Any, rules: Rules) -> Iterator[DynamicLinear]:
    """A residual block and the activation after it."""
    for name in EXTRA:
        found = getattr(block, name, None)
        if isinstance(found, nn.Module) and not isinstance(found, NOTHING):
            raise ValueError(f"a residual block with '{name}' ({type(found).__name__}) cannot be B-cosified.")
    three = hasattr(block, "conv3")
    body: list[DynamicLinear] = []
    for name in BODY[0 if three else 1]:
        layer = getattr(block, name, None)
        body += _layers(block.relu if layer is None else layer, rules)
    shortcut = [] if block.downsample is None else list(_layers(block.downsample, rules))
    yield Residual(Chain(body), Chain(shortcut))
    yield from _layers(getattr(block, "act3" if three else "act2", None) or block.relu, rules)


def _layer(layer: nn.Module, rules: Rules) -> DynamicLinear:
    """One layer.

    Raises:
        ValueError: a kind that is not known, or an option of it.
    """
    if isinstance(layer, ACTIVATIONS):
        if getattr(layer, "inplace", False):
            layer = type(layer)()  # the input is needed for the factor
        return Gate(layer)
    if isinstance(layer, nn.Conv2d):
        return _conv(layer, rules)
    if isinstance(layer, nn.BatchNorm2d) and layer.affine and layer.track_running_stats:
        return _norm(layer, rules)
    if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
        plain = not layer.ceil_mode and pair(getattr(layer, "dilation", 1)) == (1, 1)
        if isinstance(layer, nn.AvgPool2d):
            plain &= layer.divisor_override is None and (layer.count_include_pad or pair(layer.padding) == (0, 0))
        if plain:
            kind = AveragePool if isinstance(layer, nn.AvgPool2d) else MaxPool
            return kind(pair(layer.kernel_size), pair(layer.stride), pair(layer.padding))
    raise ValueError(
        f"{layer} cannot be B-cosified. Known are Conv2d (zero padding), BatchNorm2d, AvgPool2d and MaxPool2d "
        f"(no ceil_mode, no dilation), Dropout, {', '.join(kind.__name__ for kind in ACTIVATIONS)}, chains of these, "
        "and ResNets."
    )


def _conv(layer: nn.Conv2d, rules: Rules) -> HeldConv:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ValueError(f"{layer} cannot be B-cosified: its padding must be a number of zeros.")
    geometry = (pair(layer.stride), pair(layer.padding), pair(layer.dilation), layer.groups)
    bias = layer.bias.detach().clone() if rules.biases and layer.bias is not None else None
    return HeldConv(layer.weight.detach().clone(), rules.b, *geometry, normed=False, bias=bias)


def _norm(layer: nn.BatchNorm2d, rules: Rules) -> DynamicLinear:
    if rules.biases:
        own = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        own.load_state_dict(layer.state_dict())
        return HeldNorm(own)
    norm = UncentredNorm(layer.num_features, 0.1 if layer.momentum is None else layer.momentum, layer.eps)
    assert layer.running_var is not None  # as `track_running_stats`
    norm.weight = nn.Parameter(layer.weight.detach().clone())
    norm.variance = layer.running_var.detach().clone()
    return norm


def pair(value: Any) -> Size:
    """A number of both axes, or one of each, as two numbers."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def head_of(weight: Tensor, b: float) -> HeldConv:
    """The linear layer of a classifier, weights (C, D), as a convolution that reads each cell."""
    return HeldConv(weight.detach()[:, :, None, None].clone(), b, normed=False)


@torch.no_grad()
def copy_bcosified(chain: Chain, teacher: nn.Module, b: float, biases: bool, model: str) -> None:
    """Gives a B-cosified network the weights of the backbone of an ordinary classifier.

    Args:
        chain: made by `bcosify` with the same `b` and `biases`.
        teacher: a `zoo.training.black_box_file.Network`.
        b: see `bcosify`.
        biases: see `bcosify`.
        model: its name, for error messages.

    Raises:
        ValueError: the teacher has no backbone, or another one.
    """
    trunk = getattr(getattr(teacher, "backbone", None), "backbone", None)
    if trunk is None:
        raise ValueError(
            f"teacher.start gives the weights of a classifier with a backbone; {model} needs the same one."
        )
    try:
        chain.load_state_dict(bcosify(trunk.network, b, biases).state_dict())
    except RuntimeError as error:
        raise ValueError(f"the teacher has another backbone than {model} ({error}); give both the same.") from error
