"""What policies do otherwise than other models: they learn from their own steps and are measured by returns."""

from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric

from zoo.training.batch import Batch
from zoo.training.ppo import Critic, ReturnReport, collect_steps, evaluate_episodes, world_of
from zoo.training.staged_module import StagedModule


class Acting(StagedModule):
    """A module that acts in a world, where its data have one.

    With `zoo.data.Control` it is trained by proximal policy optimisation on its own steps, and validated and tested by
    returns of its best actions. On plain rows it learns to imitate the actions that are the targets.

    Attributes:
        acts: whether its epochs are made of its own steps, where there is a world.
        critic: value of a state, see `zoo.training.ppo.Critic`; of a policy that learns from its own steps.
    """

    acts: ClassVar[bool] = True
    weighs_classes = False
    critic: Critic

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.experience()

    def experience(self) -> None:
        """Makes the minibatches of an epoch, where there is a world: by default of steps of the policy."""
        collect_steps(self)

    def losses(self, scores: Tensor, evidence: Any, batch: Batch) -> dict[str, Tensor]:
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
