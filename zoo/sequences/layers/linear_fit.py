"""A linear head by penalised logistic regression, solved to convergence."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.module import SelfInterpretable
from zoo.training.projection_set import ProjectionSet

STEPS = 300
CONSTANT = 1e-6  # deviation below which an activation tells nothing


def fitted(activation: Tensor, target: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight (C, K) and bias (C,) for activations as given.

        minimise  mean cross-entropy(z V' + b, y) + penalty · Σ V² / K          z: standardised activations

    Args:
        activation: (N, K).
        target: (N,) classes.
        classes: C.
        penalty: see above; of the mean square of a class's weights.
    """
    deviation, mean = torch.std_mean(activation.double(), 0, correction=0)
    deviation = torch.where(deviation > CONSTANT, deviation, torch.inf)
    z = (activation.double() - mean) / deviation
    weight = z.new_zeros(classes, z.shape[1]).requires_grad_()
    bias = z.new_zeros(classes).requires_grad_()
    solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> float:
        solver.zero_grad()
        loss = F.cross_entropy(F.linear(z, weight, bias), target) + penalty * weight.square().sum() / z.shape[1]
        loss.backward()
        return loss.item()

    with torch.enable_grad():
        solver.step(closure)
    scaled = weight.detach() / deviation
    return scaled.float(), (bias.detach() - scaled @ mean).float()


def fit_linear_head(model: SelfInterpretable, projection_set: ProjectionSet, penalty: float) -> None:
    """Replaces the linear layer `head` of a model by the solution for its activations of the training data.

    Args:
        model: whose scores are the head applied to its activations.
        projection_set: the training set, this rank's share.
        penalty: see `fitted`.
    """
    rows = [(model.evidence(batch["input"]).activation, batch["target"]) for batch in projection_set]
    activation, target = (projection_set.gather(torch.cat(part)) for part in zip(*rows, strict=True))
    weight, bias = fitted(activation, target, len(model.domain.classes), penalty)
    model.head.weight.copy_(weight)
    model.head.bias.copy_(bias)
