"""Evaluation mode for a while, the actions of a recipe, which run in it, and whether only scores are asked for."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from zoo.training.projection_set import ProjectionSet

_ONLY_SCORES: ContextVar[bool] = ContextVar("only_scores", default=False)  # of each thread its own


@contextmanager
def asking_for_scores() -> Iterator[None]:
    """Within the block, models may leave out where their units fire."""
    before = _ONLY_SCORES.set(True)
    try:
        yield
    finally:
        _ONLY_SCORES.reset(before)


def only_scores() -> bool:
    """Whether the caller wants scores alone; never in a traced graph, from which what is not used falls out anyway."""
    return not torch.compiler.is_compiling() and _ONLY_SCORES.get()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every submodule has its own mode back."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def train_only(groups: Mapping[str, nn.Module | nn.Parameter], names: Collection[str]) -> None:
    """Unfreezes the parameter groups with these names and freezes the others; modules change their mode with it."""
    for name, group in groups.items():
        group.requires_grad_(name in names)
        if isinstance(group, nn.Module):
            group.train(name in names)


def broadcast_state(module: nn.Module) -> None:
    """Gives every process the state of the first; parameters that processes hold in parts (FSDP2) are one state."""
    from torch.distributed.tensor import DTensor  # here, because it imports much

    for tensor in module.state_dict().values():
        if not isinstance(tensor, DTensor):
            dist.broadcast(tensor, 0)


def action(method: Callable[[Any, ProjectionSet], None]) -> Callable[[Any, ProjectionSet], None]:
    """Marks a method as an action of a recipe: it runs without gradients and in evaluation mode."""

    @wraps(method)
    def run(self: nn.Module, projection_set: ProjectionSet) -> None:
        with torch.no_grad(), evaluating(self):
            method(self, projection_set)

    run.__dict__["is_action"] = True
    return run


def is_action(method: object) -> bool:
    """Whether something is a method marked by `action`."""
    return getattr(method, "is_action", False)
