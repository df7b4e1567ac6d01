"""Linear layers that give values in the units of regression targets, while what they learn has about unit size."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo.domain import Domain


class TargetUnits(nn.Module):
    """What a layer learned, in the units of the targets: learned * unit + origin.

    Args:
        targets: number of targets; rows of weights belong to them in turn.
        origin: also add the mean of the target, for the bias of a layer.

    Attributes:
        unit: (targets,) standard deviation of each target, of a layer without bias its root mean square.
        origin: (targets,) mean of each target, or 0.
    """

    unit: Tensor
    origin: Tensor

    def __init__(self, targets: int, origin: bool) -> None:
        super().__init__()
        self.adds = origin
        self.register_buffer("unit", torch.ones(targets))
        self.register_buffer("origin", torch.zeros(targets))

    def forward(self, learned: Tensor) -> Tensor:
        """Weights (rows, K) or biases (rows,) in the units of the targets."""
        return learned * self._rows(self.unit, learned) + self._rows(self.origin, learned)

    def right_inverse(self, value: Tensor) -> Tensor:
        """What must have been learned for weights or biases in the units of the targets."""
        return (value - self._rows(self.origin, value)) / self._rows(self.unit, value)

    @staticmethod
    def _rows(values: Tensor, of: Tensor) -> Tensor:
        rows = values.repeat(of.shape[0] // len(values))
        return rows if of.ndim == 1 else rows[:, None]


def in_target_units(layer: nn.Linear, domain: Domain, bias: bool = True) -> nn.Linear:
    """Gives a layer the units of the targets if the task is regression; a fit measures them, see `measure_targets`.

    Args:
        layer: gives the scores, or their weights with the targets as last index.
        domain: of the task.
        bias: whether the layer's bias is that of the scores.
    """
    if domain.task == "regression":
        parametrize.register_parametrization(layer, "weight", TargetUnits(len(domain.classes), origin=False))
        if layer.bias is not None:
            parametrize.register_parametrization(layer, "bias", TargetUnits(len(domain.classes), origin=bias))
    return layer


def target_units(model: nn.Module) -> list[TargetUnits]:
    """The units of a model's layers; none unless it predicts values."""
    return [module for module in model.modules() if isinstance(module, TargetUnits)]


def mean_square_unit(model: nn.Module) -> float:
    """Mean over the targets of the square of their units; 1 for a model that does not predict values."""
    layers = target_units(model)
    return layers[0].unit.square().mean().item() if layers else 1.0


def learned_weight(layer: nn.Linear) -> Tensor:
    """The weight of a layer without the units of the targets."""
    return dict(layer.named_parameters()).get("parametrizations.weight.original", layer.weight)


@torch.no_grad()
def assign(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Sets weight and bias of a layer, given in the units of the targets."""
    for name, value in (("weight", weight), ("bias", bias)):
        if parametrize.is_parametrized(layer, name):
            setattr(layer, name, value)
        else:
            getattr(layer, name).copy_(value)
