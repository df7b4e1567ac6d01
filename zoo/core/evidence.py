"""Evidence and units: what a model saw, and the vocabulary that it saw it in.

input --evidence()--> Evidence --readout()--> scores
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean
from zoo.utils.functional import at_least_fp32


@dataclass
class Evidence:
    """What a model saw in a batch of B inputs, as K units. The readout sees this and nothing else.

    Attributes:
        activation: (B, K), how strongly each unit fires, in the unit's own scale.
        support: (B, K, *S) in [0, 1], where in the input each unit fires, on the feature grid
            S = (h, w), (T,), (T, V) or (F,); None if the units have no place, while training,
            or where only scores are asked for.
        state: further tensors, batch first, that the readout or the losses need.
    """

    activation: Tensor
    support: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def float(self) -> "Evidence":
        """The same evidence with every tensor of half precision in fp32."""
        support = None if self.support is None else at_least_fp32(self.support)
        return Evidence(at_least_fp32(self.activation), support, {k: at_least_fp32(v) for k, v in self.state.items()})


torch.export.register_dataclass(Evidence, serialized_type_name="zoo.Evidence")


@dataclass(frozen=True, eq=False)
class Unit:
    """One entry of a model's vocabulary.

    Attributes:
        name: for people, unique within the model.
        kind: "prototype", "concept", "group", "neuron", "feature", "rule", "residual", ...
        target: the class it belongs to, if it belongs to one.
        source: where it comes from, as plain data (training image and box, phrase, rule text, layer and index), and
            under "shows" what its picture is, if that is not plain.
        picture: uint8 (C, h, w), what it looks like, if it looks like anything; one without pixels is none.
    """

    name: str
    kind: str
    target: int | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    picture: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.picture is not None and not self.picture.numel():
            object.__setattr__(self, "picture", None)


def find_unit(unit: str | int, index: Mapping[str, int]) -> int:
    """Column of a unit given by name or number, from a mapping of names to columns.

    Raises:
        ValueError: there is no such unit; the message names the nearest one or the valid range.
    """
    if isinstance(unit, str):
        if unit not in index:
            raise ValueError(f"no unit named '{unit}'; {did_you_mean(unit, index)}")
        return index[unit]
    if not 0 <= unit < len(index):
        raise ValueError(f"unit {unit} is out of range; there are {len(index)} units, 0 to {len(index) - 1}.")
    return int(unit)
