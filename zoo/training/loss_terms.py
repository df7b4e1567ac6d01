"""The training loss: named terms, weighted by the coefficients of the recipe."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.utils.errors import ContractError


def weighted_sum(terms: Mapping[str, Tensor], coefficients: Mapping[str, float], name: str) -> Tensor:
    """The loss of a batch.

    Args:
        terms: what the network's `losses` returned: scalars by name.
        coefficients: weights of all terms.
        name: of the network's class, for error messages.

    Raises:
        ContractError: no terms, one without a coefficient, or one that is not a scalar tensor.
    """
    if not terms:
        raise ContractError(f"{name}.losses() must return at least one term; got none.")
    for term, value in terms.items():
        if term not in coefficients:
            raise ContractError(
                f"{name}.losses() returned the term '{term}', which has no coefficient; add it to the coefficients of "
                f"{name}.default_recipe (they have: {', '.join(coefficients) or 'none'})."
            )
        if not isinstance(value, Tensor) or value.ndim:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ContractError(f"{name}.losses() must return scalar tensors; '{term}' is {got}.")
    return torch.stack([coefficients[term] * value for term, value in terms.items()]).sum()


def require_finite(total: Tensor, terms: Mapping[str, Tensor], epoch: int, batch: int) -> None:
    """Stops a training whose loss is not finite.

    Raises:
        FloatingPointError: names the term, the epoch and the batch.
    """
    if bool(total.isfinite()):
        return
    values = ", ".join(f"{name} = {term.item():.4g}" for name, term in terms.items())
    bad = next((name for name, term in terms.items() if not bool(term.isfinite())), "total")
    raise FloatingPointError(
        f"loss term '{bad}' is not finite in epoch {epoch}, batch {batch} ({values}). "
        "Look for NaN inputs in that batch, lower the learning rate, or train in fp32."
    )
