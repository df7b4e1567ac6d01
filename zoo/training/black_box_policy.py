"""The black-box twin of policies: a multilayer perceptron, trained and measured as they are."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric

from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.black_box import BlackBox
from zoo.training.ppo import COEFFICIENTS, Critic, ReturnReport, collect_steps, evaluate_episodes, world_of
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

RECIPE = Recipe(
    stages=(Stage("train", epochs=100, train=("backbone", "head", "critic")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients=COEFFICIENTS,
)


class BlackBoxPolicy(BlackBox):
    """Backbone and linear layer over actions, trained by proximal policy optimisation.

    With `zoo.data.Control` it acts, and is validated and tested by returns; on plain rows it learns to imitate the
    actions that are the targets.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, critic.
    """

    default_recipe = RECIPE
    tasks = ("classification", "regression")
    acts = True

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "mlp",
        clip: float = 0.2,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, backbone, 0.0, recipe)
        self.keep_arguments(locals())
        self.critic = Critic(self.domain, clip=clip)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        collect_steps(self)

    def losses(self, scores: Tensor, evidence: None, batch: Batch) -> dict[str, Tensor]:
        return self.critic.terms(scores, batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._test_or_validate(batch, "val", batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._test_or_validate(batch, "test", batch_idx)

    def _test_or_validate(self, batch: Any, split: str, batch_idx: int) -> None:
        if world_of(self) is None:
            self._evaluate(batch, split, batch_idx)
        elif batch_idx == 0:  # episodes do not depend on the rows
            evaluate_episodes(self, split)

    def update_metrics(self, split: str, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Metric]:
        return {} if world_of(self) is not None else super().update_metrics(split, scores, evidence, batch)

    def _make_report(self, threshold: float | None) -> Any:
        return super()._make_report(threshold) if world_of(self) is None else ReturnReport()
