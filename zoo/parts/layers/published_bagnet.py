"""Published BagNets (github.com/wielandbrendel/bag-of-local-features-models) as models of the zoo."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.domain import Domain
from zoo.parts.bagnet import BagNet

STEM = {"conv1": "0", "conv2": "1", "bn1": "2"}
BLOCK = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4", "conv3": "6", "bn3": "7"}
STRIDES = (2, 2, 2, 1)


def from_bagnet(
    state_dict: Mapping[str, Tensor], domain: dict[str, Any] | Domain, strides: Sequence[int] = STRIDES
) -> BagNet:
    """Builds a BagNet with published weights, which gives the published logits.

    Those of ImageNet expect square images of 224 pixels, normalised by mean (0.485, 0.456, 0.406) and standard
    deviation (0.229, 0.224, 0.225). Patches of 33, 17 or 9 pixels are recognised by the weights.

    Args:
        state_dict: published weights, such as `torch.load("bagnet32-2ddd53ed.pth.tar", weights_only=True)`.
        domain: what inputs and outputs mean: images, and the classes in the order of the published layer `fc`.
        strides: of each stage's first block, which the weights do not tell; published: (2, 2, 2, 1).

    Returns:
        the model, in evaluation mode.

    Raises:
        ValueError: tensors of another network; or another number of classes or channels than those of the domain.
    """
    try:
        shape = _shape(state_dict)
        renamed = {_present_name(name, shape["depths"]): tensor for name, tensor in state_dict.items()}
    except LookupError as error:
        raise ValueError(
            f"these are not the weights of a published BagNet (no place for {error}); expected tensors named "
            "conv1.weight, ..., layer1.0.conv1.weight, ..., fc.weight and fc.bias."
        ) from error
    model = BagNet(domain, **shape, strides=strides, shortcut="corner")
    needed = model.state_dict()
    counters = {name: tensor for name, tensor in needed.items() if name.endswith("num_batches_tracked")}
    complete = {**counters, **renamed}  # the oldest files have no counters
    shapes, wanted = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in (complete, needed))
    if differ := sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name)):
        raise ValueError(
            f"these weights do not fit a BagNet of {len(model.domain.classes)} classes and {model.domain.shape[0]} "
            f"channels: {differ[0]} is {shapes.get(differ[0])}, expected {wanted.get(differ[0])}."
        )
    model.load_state_dict(complete)
    return model.eval()


def _shape(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths, depths and number of wide stages."""
    found = {(int(m[1]), int(m[2])) for name in state if (m := re.fullmatch(r"layer(\d+)\.(\d+)\.conv2\.weight", name))}
    stages = sorted({stage for stage, _ in found})
    return {
        "widths": [len(state[f"layer{i}.0.conv3.weight"]) for i in stages],
        "depths": [sum(stage == i for stage, _ in found) for i in stages],
        "wide": sum(state[f"layer{i}.0.conv2.weight"].shape[2] == 3 for i in stages),
    }


def _present_name(name: str, depths: Sequence[int]) -> str:
    """The name in `BagNet` of a published tensor."""
    head, _, rest = name.partition(".")
    if head == "fc":
        return f"head.{rest}"
    if not head.startswith("layer"):
        return f"backbone.0.{STEM[head]}.{rest}"
    block, part, rest = rest.split(".", 2)
    place = 1 + sum(depths[: int(head.removeprefix("layer")) - 1]) + int(block)
    inner = f"shortcut.{rest}" if part == "downsample" else f"body.{BLOCK[part]}.{rest}"
    return f"backbone.{place}.{inner}"
