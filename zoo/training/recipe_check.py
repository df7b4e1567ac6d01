"""What is known to fail about a recipe before anything is trained."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch import Tensor, nn

from zoo.training.modes import is_action
from zoo.training.sparse_head import check_sparse_stages
from zoo.training.stages import Stage


def check_actions(network: nn.Module, stages: Sequence[Stage]) -> None:
    """Checks that a network has the actions that a recipe names.

    Raises:
        ValueError: a stage without epochs, or one of the actions of each epoch, is not an action of the network; or see
            `check_sparse_stages`.
    """
    check_sparse_stages(stages)
    cls = type(network)
    for stage in stages:
        known = ", ".join(name for name in dir(cls) if is_action(getattr(cls, name)))
        for name in stage.each_epoch:
            if not is_action(getattr(network, name, None)):
                raise ValueError(
                    f"stage '{stage.name}' runs '{name}' before each epoch, but {cls.__name__} has no such action (it "
                    f"has: {known or 'none'}). Correct the name."
                )
        if stage.is_action and not stage.per_class and not is_action(getattr(network, stage.name, None)):
            raise ValueError(
                f"stage '{stage.name}' has no epochs, so it is an action, but {cls.__name__} has no such action "
                f"(it has: {known or 'none'}). Correct the name, or give the stage epochs."
            )


def check_strategy(strategy: Strategy, stages: Sequence[Stage], groups: Iterable[str]) -> None:
    """Checks that a distributed strategy can follow stages that freeze parameter groups.

    Raises:
        ValueError: plain DDP waits for gradients of frozen groups, which never come; FSDP of the first version has no
            parameters that belong to one group.
    """
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "the strategy 'fsdp' flattens parameters, so that stages and learning rates of parameter groups cannot be "
            "followed; use 'ddp_find_unused_parameters_true', or FSDP2 for the backbone (docs: Train on many GPUs)."
        )
    trained = {stage.trained for stage in stages if not stage.is_action}
    plain_ddp = isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters")
    if plain_ddp and trained != {tuple(groups)}:
        raise ValueError(
            "this recipe freezes parameter groups, which plain DDP cannot follow; use the Trainer's "
            "strategy='ddp_find_unused_parameters_true'."
        )


def check_precision(precision: str) -> None:
    """Refuses parameters in another precision than float32, in which evidence is read out and checkpoints are kept.

    Raises:
        ValueError: names the precision to use.
    """
    if precision != "32-true" and not precision.endswith("mixed"):
        mixed = "16-mixed" if precision.startswith("16") else "bf16-mixed"
        raise ValueError(
            f"precision {precision} changes the type of the parameters, but explanations are computed and checkpoints "
            f"are kept in float32; use 32-true or {mixed}."
        )


def class_sizes(trainer: Trainer, classes: int) -> Tensor | None:
    """Number of training items of each class (C,); None if it is not known without reading the items."""
    find = getattr(getattr(trainer, "datamodule", None), "projection_dataset", None)
    targets = getattr(find(), "targets", None) if find else None
    if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
        return None
    return torch.bincount(targets, minlength=classes)


@contextmanager
def explained_batch_norm() -> Iterator[None]:
    """Completes the error of a batch norm that sees a single value by what to do about it.

    Raises:
        ValueError: the batch is too small.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"{error} The network has a batch norm; set the batch_size of the data to 2 or more."
        ) from error
