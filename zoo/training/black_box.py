"""The black-box twin: the same backbone and trainer with a plain linear head, as a reference for accuracy.

It explains nothing, so it is not in the registry of models.
"""

from typing import Any

from torch import Tensor, nn

from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.staged_module import StagedModule
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(Stage("train", epochs=10, train=("backbone", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


class BlackBox(StagedModule):
    """Backbone, global average pooling of a map, linear layer.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`.
        smoothing: share of the target that is spread over all classes in the cross-entropy of training, in [0, 1).
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head.

    Raises:
        ValueError: smoothing out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")
    weighs_rows = True

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        smoothing: float = 0.0,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1); got {smoothing}.")
        self.smoothing = smoothing
        self.backbone = create_encoder(backbone, self.domain)
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(self.domain.classes)), self.domain)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C)."""
        return self.head(self.backbone(x))

    def step(self, x: Tensor) -> tuple[Tensor, None]:
        return self(x), None

    def losses(self, scores: Tensor, evidence: None, batch: Batch) -> dict[str, Tensor]:
        weights, smoothing = (batch.get("class_weights"), batch.get("weight")), self.smoothing if self.training else 0.0
        return {"task": task_loss(scores, batch["target"], self.domain, *weights, smoothing)}
