"""Evidence of models whose units are functions: one number, or one number for each class, for each unit.

For values and for two classes each unit has one number f_k, its activation. A value is the sum of them; the scores of
two classes are -1/2 and +1/2 of the sum, so that their difference, the log-odds of the second class, is the sum itself.
For more classes a unit has one number for each class, and its activation is 1.
"""

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.domain import Domain


def outputs_of(domain: Domain) -> int:
    """C', the numbers that each unit has: 1 for two classes and for a single value, else one for each class."""
    return 1 if domain.task == "classification" and len(domain.classes) == 2 else len(domain.classes)


def weights_of(domain: Domain) -> Tensor:
    """(C,) what one number of a unit counts in each score, if it has but one."""
    return torch.tensor([-0.5, 0.5] if domain.task == "classification" else [1.0])


def additive_evidence(terms: Tensor, bias: Tensor, support: Tensor | None, domain: Domain) -> Evidence:
    """The evidence of a `zoo.core.unit_logits.UnitLogits`.

    Args:
        terms: (B, K, C') the units' numbers.
        bias: (C') of the sum.
        support: (B, K, F) or None.
        domain: of the model.
    """
    if terms.shape[2] == 1:
        weights = weights_of(domain).to(terms)
        activation, logits = terms[..., 0], weights.expand(terms.shape[0], terms.shape[1], -1)
        bias = bias * weights
    else:
        activation, logits = torch.ones_like(terms[..., 0]), terms
    return Evidence(activation, support, {"unit_logits": logits, "bias": bias.expand(terms.shape[0], -1)})


def per_class(values: Tensor, domain: Domain) -> Tensor:
    """Numbers (..., C') of units as contributions (..., C) to the scores."""
    return values * weights_of(domain).to(values) if values.shape[-1] == 1 else values
