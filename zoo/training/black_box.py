"""The black-box twin: the same backbone and trainer with a plain linear head, as a reference for accuracy.

It explains nothing, so it is not in the registry of models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.staged_module import Batch, StagedModule
from zoo.training.tasks import task_loss


class BlackBox(StagedModule):
    """Backbone, global average pooling of a map, linear layer.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`.
        stages, lr, weight_decay, optimizer, coefficients: see `StagedModule`; parameter groups: backbone, head.
    """

    default_coefficients: ClassVar[Mapping[str, float]] = {"task": 1.0}

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        stages: Sequence[dict[str, Any]] = ({"name": "train", "epochs": 10, "train": ["backbone", "head"]},),
        lr: float | dict[str, float] = 1e-3,
        weight_decay: float | dict[str, float] = 0.0,
        optimizer: str = "adam",
        coefficients: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            domain, stages=stages, lr=lr, weight_decay=weight_decay, optimizer=optimizer, coefficients=coefficients
        )
        self.backbone = create_encoder(backbone, self.domain)
        self.head = nn.Linear(self.backbone.channels, len(self.domain.classes))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C)."""
        return self.head(self.backbone(x))

    def step(self, x: Tensor) -> tuple[Tensor, None]:
        return self(x), None

    def losses(self, scores: Tensor, evidence: None, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain)}
