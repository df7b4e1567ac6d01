"""The scale of regression targets, measured on the training set before the first epoch of a fit."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from zoo.networks.target_units import mean_square_unit, target_units
from zoo.training.projection_set import ProjectionSet

SQUARED = ("task", "random", "baseline", "stability")  # loss terms in squared units of regression targets


@torch.no_grad()
def measure_targets(model: nn.Module, training_set: Callable[[], ProjectionSet]) -> None:
    """Gives the layers of a model that predicts values mean and standard deviation of the targets of the training set.

    Without it a target of some hundreds would need more steps than a training has. Where no layer adds the mean, the
    unit is the root mean square. A target that is constant has the unit 1. Units that were measured before, or copied
    from a black box with its head, are kept, because the learned weights belong to them.

    Args:
        model: layers of other models are left alone.
        training_set: gives the training set; not called unless it is needed.
    """
    layers = target_units(model)
    if not layers or any(bool((layer.unit != 1).any() or (layer.origin != 0).any()) for layer in layers):
        return
    rows, count = training_set(), len(layers[0].unit)
    sums = torch.zeros(2, count, dtype=torch.float64, device=layers[0].unit.device)
    for batch in rows:
        target = batch["target"].view(-1, count).to(sums)
        sums += torch.stack([target.sum(0), target.square().sum(0)])
    mean, square = rows.total(sums) / len(rows)
    centred = any(layer.adds for layer in layers)
    unit = (square - mean.square() if centred else square).clamp_min(0).sqrt()
    for layer in layers:
        layer.unit.copy_(torch.where(unit > 1e-6 * mean.abs(), unit, 1))
        if layer.adds:
            layer.origin.copy_(mean)


def relative_coefficients(coefficients: Mapping[str, float], model: nn.Module) -> Mapping[str, float]:
    """Coefficients with those of squared errors divided by the mean squared unit of the targets.

    So the other terms keep their weight relative to them, whatever the unit is.

    Args:
        coefficients: of the loss terms by name.
        model: whose layers have the units, see `zoo.networks.target_units`.
    """
    if (square := mean_square_unit(model)) == 1:
        return coefficients
    return {name: value / square if name in SQUARED else value for name, value in coefficients.items()}
