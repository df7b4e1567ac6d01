"""How every network of the zoo trains: a recipe of stages, one optimizer, named losses, the same metrics.

Written once, for the self-interpretable models and for their black-box twins alike.
"""

import os
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, cast

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from zoo.domain import Domain
from zoo.networks.weights import without_weights
from zoo.training.arguments import argument_names, kept_arguments, plain
from zoo.training.batch import Batch, as_batch
from zoo.training.further_terms import FurtherTerm, further_terms
from zoo.training.loss_terms import require_finite, weighted_sum
from zoo.training.modes import asking_for_scores, broadcast_state, train_only
from zoo.training.projection_set import ProjectionSet
from zoo.training.push_report import accuracy_reported
from zoo.training.recipe import Recipe, by_group, gather_recipe, make_optimizer, parse_recipe
from zoo.training.recipe_check import check_actions, check_precision, check_strategy, class_sizes, explained_batch_norm
from zoo.training.report import ClassificationReport
from zoo.training.sparse_head import run_on
from zoo.training.stages import Stage, check_groups, stage_at, total_epochs
from zoo.training.target_scale import measure_targets, relative_coefficients
from zoo.training.tasks import Report, check_sample_weights, check_task, class_weights_of, metrics_of, report_of
from zoo.utils.errors import ContractError

SPLITS = ("train", "val", "test")


class StagedModule(LightningModule):
    """A network that trains by a recipe of stages.

    A parameter group is a child module with parameters, or a parameter, of the model, under its attribute's name.

    Args:
        domain: what inputs and outputs mean, as plain data (`data.domain`) or a `Domain`.
        recipe: how to train, see `zoo.training.recipe.Recipe`; what it leaves out is taken from `default_recipe`.
        default_recipe: in place of the class's own, where it depends on the constructor's arguments.

    Attributes:
        default_recipe: the complete recipe of the class; its coefficients name every loss term.
        tasks: what the model can learn, see `zoo.domain.Domain.task`.
        weighs_classes: whether the loss can weigh classes, see `zoo.data.DataModule`.
        stages: of the recipe.
        coefficients: weights of the loss terms by name.
        metrics: of each split, "train", "val" and "test".
    """

    default_recipe: ClassVar[Recipe]
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    weighs_classes: ClassVar[bool] = True  # whether `losses` reads batch.get("class_weights")
    weighs_rows: ClassVar[bool] = False  # whether `losses` reads batch.get("weight")
    class_weights: Tensor | None
    metrics: nn.ModuleDict

    def __init__(
        self,
        domain: Mapping[str, Any] | Domain,
        recipe: Recipe | Mapping[str, Any] | None = None,
        *,
        default_recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        self.domain = Domain.from_dict(domain)
        check_task(self.domain, self.tasks, type(self).__name__)
        default = default_recipe or getattr(self, "default_recipe", None)
        if default is None:
            raise ContractError(
                f"{type(self).__name__} must define default_recipe = Recipe(stages=..., lr=..., weight_decay=..., "
                "optimizer=..., coefficients=...)."
            )
        self.recipe = parse_recipe(recipe).over(default, type(self).__name__)
        self.stages: tuple[Stage, ...] = self.recipe.stages or ()
        self.coefficients: dict[str, float] = self.recipe.coefficients or {}
        self.metrics = nn.ModuleDict({f"{split}_metrics": metrics_of(self.domain) for split in SPLITS})
        self.register_buffer("class_weights", None, persistent=False)  # (C,) of the data of a fit
        self.further: tuple[FurtherTerm, ...] = ()  # of the recipe, while it trains
        self.report: Report | None = None  # of the last test or validation
        self.decision_threshold: float | None = None  # of two classes, chosen by the last validation

    def keep_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Keeps what the constructor was given in `hparams`, as plain data, so that a checkpoint can build the model.

        Args:
            arguments: `locals()` of the constructor, right after `super().__init__(...)`.
        """
        given = {**arguments, "recipe": self.recipe}  # whole, so that other defaults of another version change nothing
        self.hparams.update({name: plain(given[name]) for name in argument_names(type(self)) if name in given})

    @classmethod
    def upgrade_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Converts constructor arguments stored by an earlier version of the class to the current ones.

        Called when a checkpoint is loaded. Arguments that are already current are returned unchanged.
        """
        return gather_recipe(arguments, argument_names(cls))

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments that build the model without reading a file or the network; its weights are random.

        Networks are built without the weights that their specifications name, see
        `zoo.networks.weights.without_weights`. A model with other arguments that name files overrides this.

        Raises:
            ValueError: an argument names a file that the model cannot be built without.
        """
        kept = ("domain", "recipe")
        return {name: value if name in kept else without_weights(value, name) for name, value in arguments.items()}

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, as plain data.

        Raises:
            ContractError: the constructor did not keep it.
        """
        return kept_arguments(type(self), self.hparams)

    @property
    def max_epochs(self) -> int:
        """How many epochs the recipe lasts; what to give to the Trainer."""
        return total_epochs(self.stages)

    @property
    def in_last_stage(self) -> bool:
        """Whether the current epoch belongs to the recipe's last stage, which leaves a finished model."""
        return stage_at(self.stages, self.current_epoch).stage is self.stages[-1]

    @property
    def stage(self) -> Stage | None:
        """The stage of the fit that is running; None outside of a fit."""
        state = None if self._trainer is None else self._trainer.state
        running = state is not None and state.fn == "fit" and not state.finished
        return stage_at(self.stages, self.current_epoch).stage if running else None

    # What a network defines

    def step(self, x: Tensor) -> tuple[Tensor, Any]:
        """Scores (B, C) of a batch, and whatever else `losses` needs."""
        raise NotImplementedError(f"{type(self).__name__} must define step(x), which returns scores and evidence.")

    def losses(self, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Tensor]:
        """Every term of the training loss under its own name, unweighted."""
        raise NotImplementedError(
            f"{type(self).__name__} must define losses(scores, evidence, batch), which returns scalar terms by name."
        )

    def check_recipe(self) -> None:
        """Refuses a recipe at whose end the model would not be ready, before anything is trained.

        Raises:
            ValueError: what the recipe lacks.
        """

    def check_class_sizes(self, images: Tensor) -> None:
        """Refuses classes with too few training items (C,) for the recipe by a ValueError, before the training."""

    def on_stage_start(self, stage: Stage) -> None:
        """Called at the start of the first epoch of each stage with epochs, after the actions before it.

        Of a stage with actions before each epoch, called at the start of every epoch.
        """

    # Recipe

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        """The parameter groups by name."""
        children = {name: child for name, child in self.named_children() if any(True for _ in child.parameters())}
        return {**children, **dict(self.named_parameters(recurse=False))}

    def setup(self, stage: str) -> None:
        check_precision(self.trainer.precision)
        if stage != "fit":
            return
        check_groups(self.stages, self.groups(), type(self).__name__)
        if any(not s.trained and not s.is_action for s in self.stages):  # its training_step returns None on purpose
            warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
        check_actions(self, self.stages)
        self.class_weights = class_weights_of(self.trainer, self.domain, self.weighs_classes, type(self).__name__)
        check_sample_weights(self.trainer, self.weighs_rows, type(self).__name__)
        self.check_recipe()
        self.further = further_terms(self.recipe, self.domain, self, self.trainer)
        check_strategy(self.trainer.strategy, self.stages, self.groups())
        if (sizes := class_sizes(self.trainer, len(self.domain.classes))) is not None:
            self.check_class_sizes(sizes)

    def on_fit_end(self) -> None:
        self.further = ()  # a teacher is no part of the model

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.recipe, self.groups())

    def on_train_epoch_start(self) -> None:
        # Every draw of this epoch follows from its number, so that a resumed run repeats it.
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) + 1_000_003 * self.current_epoch + self.global_rank
        torch.manual_seed(seed)
        if self.current_epoch == 0:
            measure_targets(self, lambda: ProjectionSet.of(self.trainer, self.device, "targets"))
        position = stage_at(self.stages, self.current_epoch)
        for action in position.actions:
            self.run_action(action)
        if position.epoch == 0 or position.stage.each_epoch:  # training undoes what the actions did
            self.on_stage_start(position.stage)
        train_only(self.groups(), position.stage.trained)
        lr = {**by_group(self.recipe.lr or 0.0, self.groups(), "lr"), **position.stage.lr}
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr[group["name"]] * position.stage.lr_factor(position.epoch)

    def run_action(self, action: Stage) -> None:
        """Runs an action over the unaugmented training set, then gives every rank the state of rank 0."""
        with self.trainer.precision_plugin.forward_context(), accuracy_reported(self, action.name):
            run_on(self, action, ProjectionSet.of(self.trainer, self.device, action.name))
        if self.trainer.world_size > 1:
            broadcast_state(self)

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        with explained_batch_norm():
            total = self._evaluate(batch, "train", batch_idx)
        if total.requires_grad:
            return total
        # A stage that trains nothing only measures; ranks that train together may not skip a step, so they take an
        # empty one.
        return None if self.trainer.world_size == 1 else total.detach().requires_grad_()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "val", batch_idx)

    def on_validation_epoch_start(self) -> None:
        # Within a fit every epoch is validated, by the loss and the few metrics that follow training.
        self.report = self._make_report(None) if self.trainer.state.fn == "validate" else None

    def on_validation_epoch_end(self) -> None:
        self._log_report("val")
        if isinstance(self.report, ClassificationReport):
            self.decision_threshold = self.report.best_threshold()
            if self.decision_threshold is not None:
                self.log("val/threshold", self.decision_threshold)

    def on_test_epoch_start(self) -> None:
        self.report = self._make_report(self.decision_threshold)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "test", batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_report("test")

    def _make_report(self, threshold: float | None) -> Report:
        return report_of(self.domain, getattr(self, "space", "logit"), threshold).to(self.device)

    def _log_report(self, split: str) -> None:
        if self.report is not None:
            self.log_dict({f"{split}/{name}": value.float() for name, value in self.report.compute().items()})

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch if isinstance(batch, Tensor) else as_batch(batch)["input"])

    def _evaluate(self, batch: Any, split: str, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        if self.class_weights is not None:
            batch = {**batch, "class_weights": self.class_weights.to(self.device)}
        with nullcontext() if split == "train" else asking_for_scores():
            scores, evidence = self.step(batch["input"])
        terms, size = self.losses(scores, evidence, batch), len(scores)
        total = weighted_sum(terms, relative_coefficients(self.coefficients, self), type(self).__name__)
        if split == "train":
            for term in self.further:
                terms = terms | (more := term(self, batch, scores))
                total = torch.stack([total, *more.values()]).sum()
            require_finite(total, terms, self.current_epoch, batch_idx)
        options: Any = {"on_step": False, "on_epoch": True, "batch_size": size, "sync_dist": True}
        self.log_dict({f"{split}/loss/{name}": term.detach() for name, term in terms.items()}, **options)
        self.log(f"{split}/loss", total.detach(), prog_bar=split == "train", **options)
        if split == "val" and self.in_last_stage:
            # Only the last stage leaves a finished model, so only its epochs compete for the best checkpoint.
            self.log("monitor", total.detach(), on_epoch=True, batch_size=size, sync_dist=True)
        found = self.update_metrics(split, scores, evidence, batch)
        metrics = {f"{split}/{name}": metric for name, metric in found.items()}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=size, prog_bar=split != "test")
        return total

    def update_metrics(self, split: str, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Metric]:
        """Updates the metrics of a split, "train", "val" or "test", and returns them by name."""
        if split != "train" and self.report is not None:
            self.report.update(scores, batch["target"])
        metrics = cast(MetricCollection, self.metrics[f"{split}_metrics"])
        metrics.update(scores.detach(), batch["target"])
        return dict(metrics.items())
