"""Classifiers by name: "torchvision:NAME", "timm:NAME", or "FILE.py:FUNCTION" and "PACKAGE.MODULE:FUNCTION" of users.

A function of the user is only known after `register_classifier`, because a checkpoint, which may come from anybody,
names it: loading a checkpoint never imports what the checkpoint names.
"""

from collections.abc import Callable

import timm
import torchvision
from torch import nn

from zoo.networks.timm_networks import create_timm
from zoo.utils.errors import did_you_mean

LIBRARIES = ("torchvision", "timm")

_own: dict[str, Callable[[], nn.Module]] = {}


def is_classifier(name: str) -> bool:
    """Whether a name has the form of one here."""
    source, colon, last = name.rpartition(":")
    return bool(colon) and (source in LIBRARIES or last.isidentifier())


def register_classifier(name: str, make: Callable[[], nn.Module]) -> None:
    """Makes a network of the user known, so that checkpoints that name it can be loaded.

    Args:
        name: such as "my_network.py:make".
        make: function without arguments that builds the network, with any weights.

    Raises:
        ValueError: the name has no colon, or is one of a library.
    """
    if not is_classifier(name) or name.partition(":")[0] in LIBRARIES:
        raise ValueError(f"a classifier of your own has a name such as 'my_network.py:make'; got '{name}'.")
    _own[name] = make


def create_classifier(name: str, classes: int | None, channels: int | None, pretrained: bool = False) -> nn.Module:
    """Builds a classifier.

    Args:
        name: see above.
        classes: outputs of a network of a library; None for its default.
        channels: of the images of a network of timm.
        pretrained: with the pretrained weights of timm.

    Raises:
        ValueError: there is none of that name; or a function of the user did not return an `nn.Module`.
        FileNotFoundError: pretrained weights are neither on this machine nor can be downloaded.
    """
    library, _, model = name.partition(":")
    outputs = {} if classes is None else {"num_classes": classes}
    if library == "torchvision":
        known = torchvision.models.list_models(torchvision.models)
        if model not in known:
            raise ValueError(f"torchvision has no classifier '{model}'; {did_you_mean(model, known)}")
        return torchvision.models.get_model(model, weights=None, **outputs)
    if library == "timm":
        if not timm.is_model(model):
            raise ValueError(f"timm has no network '{model}'; {did_you_mean(model, timm.list_models())}")
        return create_timm(model, pretrained=pretrained, in_chans=channels or 3, **outputs)
    if name not in _own:
        raise ValueError(
            f"the network '{name}' is code of the user, which is not run before you name it: python train.py --code "
            f"{name} COMMAND ..., or in Python zoo.register_classifier('{name}', function)"
        )
    made = _own[name]()
    if not isinstance(made, nn.Module):
        raise ValueError(f"the function of '{name}' must return an nn.Module; got {made!r}.")
    return made
