"""What is known to fail about a recipe before anything is trained."""

from collections.abc import Iterable, Sequence

from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn

from zoo.training.modes import is_action
from zoo.training.stages import Stage


def check_actions(network: nn.Module, stages: Iterable[Stage]) -> None:
    """Checks that a network has the actions that a recipe names.

    Raises:
        ValueError: a stage without epochs is not an action of the network.
    """
    cls = type(network)
    for stage in stages:
        if stage.is_action and not is_action(getattr(network, stage.name, None)):
            known = ", ".join(name for name in dir(cls) if is_action(getattr(cls, name)))
            raise ValueError(
                f"stage '{stage.name}' has no epochs, so it is an action, but {cls.__name__} has no such action "
                f"(it has: {known or 'none'}). Correct the name, or give the stage epochs."
            )


def check_strategy(strategy: Strategy, stages: Sequence[Stage], groups: Iterable[str]) -> None:
    """Checks that a distributed strategy can follow stages that freeze parameter groups.

    Raises:
        ValueError: plain DDP waits for gradients of frozen groups, which never come.
    """
    trained = {stage.trained for stage in stages if not stage.is_action}
    plain_ddp = isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters")
    if plain_ddp and trained != {tuple(groups)}:
        raise ValueError(
            "this recipe freezes parameter groups, which plain DDP cannot follow; use the Trainer's "
            "strategy='ddp_find_unused_parameters_true'."
        )
