"""Image backbones: a name, or a mapping of a name and options, gives a network from images to a feature map."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
from torch import Tensor, nn

from zoo.networks.bagnet_trunk import bagnet_layers
from zoo.networks.base import Encoder, Features
from zoo.networks.blocks import freeze, last_blocks, states_of
from zoo.networks.classifiers import is_classifier
from zoo.networks.receptive_field import ReceptiveField, receptive_field
from zoo.networks.steadying import Steadied, Steady
from zoo.networks.timm_networks import map_network
from zoo.networks.trunks import create_trunk
from zoo.networks.weights import load_weights
from zoo.utils.errors import did_you_mean, short
from zoo.utils.options import parse_options
from zoo.utils.signatures import check_options


class Backbone(nn.Module):
    """A network from images (B, C, H, W) to a feature map (B, `channels`, h, w).

    Args:
        network: gives a feature map, or a list of maps of which the last is taken.
        in_channels: C.
        channels: channels of the feature map.
        tune: number of last blocks that can learn; 0: all. The weights of the other blocks become buffers, which no
            stage trains, and no batch norm changes its statistics.
        steady: averages before and after the network, see `zoo.networks.steadying.Steadied`.

    Attributes:
        fixed: the modules that cannot learn.

    Raises:
        ValueError: there are not more blocks than `tune`, or some parameters belong to none.
    """

    def __init__(
        self, network: nn.Module, in_channels: int, channels: int, tune: int = 0, steady: Steady | None = None
    ) -> None:
        super().__init__()
        self.steadied = Steadied(steady or Steady())
        self.network, self.in_channels, self.channels, self.tune = network, in_channels, channels, tune
        first = last_blocks(network, tune, "tune")[0] if tune else []
        self.fixed = [module for block in first for module in block.modules()]
        freeze(self.fixed)

    @property
    def fixed_names(self) -> set[str]:
        """Names in the state of what cannot learn."""
        return states_of(self, self.fixed)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        norms = [m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for module in (*self.fixed, *(norms if self.tune else ())):
            module.training = False  # also dropout
        return self

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Which pixels each cell depends on; None where that is not known, as for networks of timm."""
        return receptive_field(self.network)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Features):
            return x.as_subclass(Tensor)
        try:
            return self.steadied(self.network, x)
        except AssertionError as error:  # how timm refuses images of another size
            raise ValueError(
                f"the backbone cannot read images of {x.shape[2]} x {x.shape[3]} ({error}); change the size in the "
                "data, or choose another backbone."
            ) from error


class Pooled(Encoder):
    """An image backbone with global average pooling: (B, C, H, W) to (B, `channels`).

    Args:
        backbone: of all C channels, or of one.
        separate: number of channels that the backbone reads one by one, its vectors concatenated; 0: reads all at once.
    """

    def __init__(self, backbone: Backbone, separate: int = 0) -> None:
        super().__init__()
        self.backbone, self.separate, self.channels = backbone, separate, backbone.channels * max(separate, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.separate:
            return self.backbone(x).mean((2, 3))
        return self.backbone(x.flatten(0, 1)[:, None]).mean((2, 3)).view(x.shape[0], self.channels)


_registered: dict[str, Callable[..., Backbone]] = {}


def register_backbone(name: str) -> Callable[[Callable[..., Backbone]], Callable[..., Backbone]]:
    """Decorator that makes your own network a backbone for every model: `backbone: {name: ..., options}`.

    It decorates a function from the number of input channels, and any options by name, to a `Backbone`. A checkpoint
    keeps name and options, so the function must be registered before the checkpoint is loaded. The options `weights`
    and `pretrained` are left out then, as the checkpoint holds the weights; give them defaults.

    Raises:
        ValueError: the name is taken.
    """
    if name in _registered or name in OWN or timm.is_model(name):
        raise ValueError(f"there is a backbone named '{name}' already; choose another name.")

    def enter(build: Callable[..., Backbone]) -> Callable[..., Backbone]:
        _registered[name] = build
        return build

    return enter


def create_backbone(backbone: str | Mapping[str, Any], in_channels: int) -> Backbone:
    """Builds a backbone.

    Args:
        backbone: a name, or a mapping of `name` and options: "convnet" (options of `convnet`); "bagnet" (options of
            `bagnet_layers`), whose cells see small patches; any network of timm (options of `timm.create_model`, such
            as `pad_type` or `pretrained`, see `zoo.networks.pretrained`, and `weights`, a safetensors file, in place of
            `pretrained`; `tune`, the number of last blocks that can learn, by default all; `steady`, options of
            `zoo.networks.steadying.Steady`, by default none); a name given to `register_backbone`; or a classifier
            without its head, as `zoo.convert` writes it, see `zoo.networks.trunks.create_trunk`. The first two take
            `weights` too, such as the `black_box.safetensors` of a run.
        in_channels: channels of the images.

    Raises:
        ValueError: an unknown name, options that timm cannot build, or weights that do not fit.
        TypeError: an unknown option.
        FileNotFoundError: no weights file, or no pretrained weights within reach.
    """
    options: dict[str, Any] = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    name = options.pop("name", None)
    if name is None:
        raise ValueError(f"backbone needs a 'name'; got only {', '.join(options) or 'nothing'}.")
    if name in OWN:
        weights = options.pop("weights", None)
        if name == "convnet":
            check_options(convnet, options, "backbone 'convnet'")
        own = OWN[name](in_channels, **options)
        if weights:
            load_weights(own.network, weights)
        return own
    if name in _registered:
        check_options(_registered[name], options, f"backbone '{name}'")
        made = _registered[name](in_channels, **options)
        if not isinstance(made, Backbone):
            raise ValueError(
                f"the function of backbone '{name}' must return a Backbone of zoo.networks.image_backbones; got "
                f"{made!r}."
            )
        return made
    if is_classifier(name):
        trunk = create_trunk(name, options, in_channels)
        return Backbone(trunk, in_channels, trunk.channels)
    if not timm.is_model(name):
        near = did_you_mean(name, [*OWN, *_registered, *timm.list_models()])
        raise ValueError(f"no backbone named '{name}' ('convnet', 'bagnet' or a model of timm); {near}")
    weights, tune = options.pop("weights", None), options.pop("tune", 0)
    steady = parse_options(Steady, options.pop("steady", None), "steady")
    if not isinstance(tune, int) or tune < 0:
        raise ValueError(f"backbone '{name}': tune must be a number of last blocks, 0 for all; got {tune!r}.")
    if weights and options.get("pretrained"):
        raise ValueError("backbone has both 'weights' (a file) and 'pretrained' (a download); give one of them.")
    try:
        network, channels = map_network(name, in_channels, options)
    except (AssertionError, LookupError, ArithmeticError, RuntimeError) as error:  # timm's own checks have no message
        raise ValueError(
            f"timm cannot build the backbone '{name}' with the options {short(str(options))}: {type(error).__name__} "
            f"{short(str(error))}. Correct or remove an option."
        ) from error
    if weights:
        load_weights(network, weights)
    return Backbone(network, in_channels, channels, tune, steady)


def convnet(
    in_channels: int,
    widths: Sequence[int] = (32, 64),
    pool: Sequence[int] = (1,),
    strided: bool | Sequence[int] = False,
) -> Backbone:
    """A small backbone for small images: two 3x3 convolutions with batch norm and ReLU for each width.

    Args:
        in_channels: channels of the images.
        widths: channels of each block.
        pool: blocks, counted from 0, that end with a 2x2 max pooling.
        strided: use one convolution of stride 2 for each width instead, without pooling; a list gives the strides.

    Raises:
        ValueError: not one stride for each width.
    """
    strides = strided if isinstance(strided, Sequence) else [2] * len(widths)
    if len(strides) != len(widths):
        raise ValueError(f"strided must have one stride for each width; got {list(strides)} for {list(widths)}.")
    layers: list[nn.Module] = []
    first = in_channels
    for i, width in enumerate(widths):
        if strided is not False:
            layers += [nn.Conv2d(in_channels, width, 3, strides[i], 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            in_channels = width
            continue
        for source in (in_channels, width):
            layers += [nn.Conv2d(source, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if i in pool:
            layers.append(nn.MaxPool2d(2))
        in_channels = width
    return Backbone(nn.Sequential(*layers), first, in_channels)


def bagnet(in_channels: int, **options: Any) -> Backbone:
    """The trunk of `zoo.parts.BagNet`, whose cells see small patches: options of `bagnet_layers`."""
    check_options(bagnet_layers, options, "backbone 'bagnet'")
    trunk = bagnet_layers(in_channels, **options)
    return Backbone(trunk, in_channels, trunk[-1].channels)  # pyright: ignore[reportArgumentType]


OWN: dict[str, Callable[..., Backbone]] = {"convnet": convnet, "bagnet": bagnet}
"""The networks of this package by name."""
