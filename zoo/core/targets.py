"""The classes to explain, from what a user writes."""

from operator import index
from typing import Any

import torch
from torch import Tensor

from zoo.domain import Domain


def targets_of(target: Any, domain: Domain, x: Tensor) -> Tensor | None:
    """The classes to explain, one for each row (B,); None for None.

    Args:
        target: class by name or number, or one for each row.
        domain: names the classes.
        x: the inputs (B, ...).

    Raises:
        ValueError: no class, an unknown one, or not one for each row.
    """
    if target is None:
        return None
    if isinstance(target, str) or (hasattr(target, "__index__") and getattr(target, "ndim", 0) == 0):
        name = target if isinstance(target, str) else index(target)
        return torch.full((len(x),), domain.class_index(name), device=x.device)
    if isinstance(target, list | tuple):
        target = torch.tensor([domain.class_index(t) for t in target])
    whole = isinstance(target, Tensor) and not (target.is_floating_point() or target.dtype == torch.bool)
    if not whole or target.shape != (len(x),):
        got = f"{target.dtype} of shape {tuple(target.shape)}" if isinstance(target, Tensor) else repr(target)
        raise ValueError(f"target must be a class or one whole number a row, ({len(x)},); got {got}.")
    for t in {int(target.min()), int(target.max())}:
        domain.class_index(t)
    return target.to(x.device, torch.long)
