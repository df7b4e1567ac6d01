"""How every network of the zoo trains: a recipe of stages, one optimizer, named losses, the same metrics.

Written once, for the self-interpretable models and for their black-box twins alike.
"""

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import wraps
from typing import Any, ClassVar, Self

import torch
import torch.distributed as dist
from lightning import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.domain import Domain
from zoo.training.projection_set import Reference
from zoo.training.stages import Stage, check_groups, parse_stages, stage_at, total_epochs
from zoo.training.tasks import metrics_of
from zoo.utils.errors import hint

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
Batch = Mapping[str, Any]


class StagedModule(LightningModule):
    """A network that trains by a recipe of stages.

    A parameter group is a child module with parameters, or a parameter, of the model, under its attribute's name.

    Args:
        domain: what inputs and outputs mean, as plain data (`data.domain`) or a `Domain`.
        stages: the recipe, see `zoo.training.stages.Stage`.
        lr: learning rate, one for all groups or one for each.
        weight_decay: likewise; a group that is not named has none.
        optimizer: "adam" (L2 weight decay, as the papers before 2019), "adamw" or "sgd" (momentum 0.9).
        coefficients: weights of loss terms; those that are not named keep `default_coefficients`.
    """

    default_coefficients: ClassVar[Mapping[str, float]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        self.__dict__["_arguments"] = {k: plain(v) for k, v in list(bound.arguments.items())[1:]}
        return self

    def __init__(
        self,
        domain: Mapping[str, Any] | Domain,
        *,
        stages: Sequence[Mapping[str, Any]],
        lr: float | Mapping[str, float] = 1e-3,
        weight_decay: float | Mapping[str, float] = 0.0,
        optimizer: str = "adam",
        coefficients: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.hparams.update(self._arguments)
        self.domain = Domain.from_dict(domain)
        self.stages = parse_stages(stages)
        self.lr, self.weight_decay = lr, weight_decay
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got '{optimizer}'.")
        self.optimizer = optimizer
        self.coefficients = {**self.default_coefficients, **(coefficients or {})}
        for name in self.coefficients:
            if name not in self.default_coefficients:
                known = hint(name, self.default_coefficients)
                raise ValueError(f"{type(self).__name__} has no loss term '{name}'; {known}")
        self.scorecards = nn.ModuleDict(
            {f"{split}_metrics": metrics_of(self.domain) for split in ("train", "val", "test")}
        )

    @property
    def max_epochs(self) -> int:
        """How many epochs the recipe lasts; what to give to the Trainer."""
        return total_epochs(self.stages)

    @property
    def in_last_stage(self) -> bool:
        """Whether the current epoch belongs to the recipe's last stage, which leaves a finished model."""
        return stage_at(self.stages, self.current_epoch).stage is self.stages[-1]

    # What a network defines

    def step(self, x: Tensor) -> tuple[Tensor, Any]:
        """Scores (B, C) of a batch, and whatever else `losses` needs."""
        raise NotImplementedError("a network defines step()")

    def losses(self, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Tensor]:
        """Every term of the training loss under its own name, unweighted."""
        raise NotImplementedError("a network defines losses()")

    def check_recipe(self) -> None:
        """Refuses a recipe at whose end the model would not be ready, before anything is trained.

        Raises:
            ValueError: what the recipe lacks.
        """

    def on_stage_start(self, stage: Stage) -> None:
        """Called at the start of the first epoch of each stage with epochs, after the actions before it."""

    # Recipe

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        """The parameter groups by name."""
        children = {name: child for name, child in self.named_children() if any(True for _ in child.parameters())}
        return {**children, **dict(self.named_parameters(recurse=False))}

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        check_groups(self.stages, self.groups(), type(self).__name__)
        if any(not s.train and not s.is_action for s in self.stages):  # its training_step returns None on purpose
            warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
        for s in self.stages:
            if s.is_action and not hasattr(getattr(self, s.name, None), "is_action"):
                known = ", ".join(n for n in dir(type(self)) if hasattr(getattr(type(self), n), "is_action"))
                raise ValueError(
                    f"stage '{s.name}' has no epochs, so it is an action, but {type(self).__name__} has no such action "
                    f"(it has: {known or 'none'}). Correct the name, or give the stage epochs."
                )
        self.check_recipe()
        strategy, trained = self.trainer.strategy, {s.train for s in self.stages if not s.is_action}
        unused = isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters")
        if unused and trained != {tuple(self.groups())}:
            raise ValueError(
                "this recipe freezes parameter groups, which plain DDP cannot follow; use the Trainer's "
                "strategy='ddp_find_unused_parameters_true'."
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        named = self.groups()
        lr, decay = _by_group(self.lr, named, "lr"), _by_group(self.weight_decay, named, "weight_decay", 0.0)
        groups = [
            {
                "name": name,
                "params": [group] if isinstance(group, nn.Parameter) else list(group.parameters()),
                "lr": lr[name],
                "weight_decay": decay[name],
            }
            for name, group in named.items()
        ]
        extra = {"momentum": 0.9} if self.optimizer == "sgd" else {}
        return OPTIMIZERS[self.optimizer](groups, **extra)

    def on_train_epoch_start(self) -> None:
        # Every draw of this epoch follows from its number, so that a resumed run repeats it.
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) + 1_000_003 * self.current_epoch + self.global_rank
        torch.manual_seed(seed)
        position = stage_at(self.stages, self.current_epoch)
        for action in position.actions:
            self.act(action.name)
        if position.epoch == 0:
            self.on_stage_start(position.stage)
        self._freeze(position.stage)
        lr = {**_by_group(self.lr, self.groups(), "lr"), **position.stage.lr}
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr[group["name"]] * position.stage.lr_factor(position.epoch)

    def _freeze(self, stage: Stage) -> None:
        for name, group in self.groups().items():
            learns = name in stage.train
            group.requires_grad_(learns)
            if isinstance(group, nn.Module):
                group.train(learns)

    def act(self, action: str) -> None:
        """Runs an action over the unaugmented training set, then gives every rank the state of rank 0."""
        with self.trainer.precision_plugin.forward_context():
            getattr(self, action)(Reference.of(self.trainer, self.device, action))
        if self.trainer.world_size > 1:
            for tensor in self.state_dict().values():
                dist.broadcast(tensor, 0)

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        total = self._evaluate(batch, "train", batch_idx)
        if total.requires_grad:
            return total
        # A stage that trains nothing only measures; ranks that train together may not skip a step, so they take an
        # empty one.
        return None if self.trainer.world_size == 1 else total.detach().requires_grad_()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "val", batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "test", batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch if isinstance(batch, Tensor) else as_batch(batch)["input"])

    def _evaluate(self, batch: Any, split: str, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        scores, evidence = self.step(batch["input"])
        terms = self.losses(scores, evidence, batch)
        total = torch.stack([self.coefficients[name] * term for name, term in terms.items()]).sum()
        size = len(scores)
        if split == "train" and not bool(total.isfinite()):
            values = ", ".join(f"{name} = {term.item():.4g}" for name, term in terms.items())
            bad = next((name for name, term in terms.items() if not bool(term.isfinite())), "total")
            raise FloatingPointError(
                f"loss term '{bad}' is not finite in epoch {self.current_epoch}, batch {batch_idx} ({values}). "
                "Look for NaN inputs in that batch, lower the learning rate, or train in fp32."
            )
        self.log_dict(
            {f"{split}/loss/{name}": term.detach() for name, term in terms.items()},
            on_step=False,
            on_epoch=True,
            batch_size=size,
            sync_dist=split != "train",
        )
        self.log(
            f"{split}/loss",
            total.detach(),
            on_step=False,
            on_epoch=True,
            batch_size=size,
            prog_bar=split == "train",
            sync_dist=split != "train",
        )
        if split == "val" and self.in_last_stage:
            # Only the last stage leaves a finished model, so only its epochs compete for the best checkpoint.
            self.log("monitor", total.detach(), on_epoch=True, batch_size=size, sync_dist=True)
        metrics = {f"{split}/{name}": metric for name, metric in self.measure(split, scores, evidence, batch).items()}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=size, prog_bar=split != "test")
        return total

    def measure(self, split: str, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Metric]:
        """Updates the metrics of a split, "train", "val" or "test", and returns them by name."""
        scorecard = self.scorecards[f"{split}_metrics"]
        scorecard.update(scores.detach(), batch["target"])
        return dict(scorecard.items())


def as_batch(batch: Any) -> Batch:
    """A batch as a mapping with "input" and "target"; accepts (input, target) pairs as well.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(batch, Mapping) and {"input", "target"} <= set(batch):
        return batch
    if isinstance(batch, Sequence) and len(batch) == 2:
        return {"input": batch[0], "target": batch[1]}
    found = f"keys {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
    raise TypeError(f"a batch must be a dict with 'input' and 'target', or an (input, target) pair; got {found}.")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the moment; afterwards every submodule has its own mode back."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def action(method: Callable[[Any, Reference], None]) -> Callable[[Any, Reference], None]:
    """Marks a method as an action of a recipe: it runs without gradients and in evaluation mode."""

    @wraps(method)
    def run(self: StagedModule, reference: Reference) -> None:
        with torch.no_grad(), evaluating(self):
            method(self, reference)

    run.is_action = True  # pyright: ignore[reportFunctionMemberAccess]
    return run


def plain(value: Any) -> Any:
    """Constructor arguments as plain data, so that a checkpoint holds no classes."""
    if isinstance(value, Domain):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def _by_group(
    setting: float | Mapping[str, float], groups: Iterable[str], what: str, default: float | None = None
) -> dict[str, float]:
    """One value for every parameter group, from one number for all or a mapping."""
    groups = list(groups)
    if not isinstance(setting, Mapping):
        return dict.fromkeys(groups, setting)
    for name in setting:
        if name not in groups:
            raise ValueError(f"{what} names '{name}', which is not a parameter group; {hint(name, groups)}")
    values = {name: setting.get(name, default) for name in groups}
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{what} names {', '.join(setting)}, but not the parameter group '{name}'; add it.")
    return {name: float(value) for name, value in values.items() if value is not None}
