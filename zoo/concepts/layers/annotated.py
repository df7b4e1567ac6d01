"""What all models with annotated concepts share: units, metrics, and what an explanation tells of a concept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.concepts.layers.groups import answered, effects
from zoo.concepts.layers.losses import imbalance
from zoo.core.evidence import Evidence, Unit
from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.tasks import concept_metrics


class Annotated:
    """Mixin, written before `SelfInterpretable`, of models whose units are the domain's annotated concepts.

    An activation is the concept's probability unless a model overrides `concept_probability` and `concept_values`.
    """

    if TYPE_CHECKING:  # what SelfInterpretable brings

        def __getattr__(self, name: str) -> Any: ...

    domain: Domain

    @staticmethod
    def require_concepts(domain: Mapping[str, Any] | Domain, model: str) -> Domain:
        """The domain, if it has annotated concepts.

        Raises:
            ValueError: it has none.
        """
        domain = Domain.from_dict(domain)
        if not domain.concepts:
            raise ValueError(
                f"{model} learns annotated concepts, and this data has none; use data with concepts "
                "(`python train.py list data`), or a model that discovers its own."
            )
        return domain

    @property
    def exclusive(self) -> list[list[int]]:
        """Columns of each exclusive concept group."""
        groups = self.domain.group_columns()
        return [groups[name] for name in self.domain.exclusive]

    def units(self) -> tuple[Unit, ...]:
        group = {c: {"group": name} for name, members in self.domain.concept_groups.items() for c in members}
        about = {"supervision": "annotated"}
        return tuple(Unit(name, "concept", source=about | group.get(name, {})) for name in self.domain.concepts)

    def concept_probability(self, evidence: Evidence) -> Tensor:
        """(B, k) how probable each concept is, in [0, 1]."""
        return evidence.activation

    def concept_values(self, concepts: Tensor) -> Tensor:
        """The activations (B, k) that stand for concepts (B, k) in [0, 1] that somebody vouches for."""
        return concepts

    def scores_if(self, evidence: Evidence) -> Tensor:
        """(B, 2, k, C): the exact scores were each concept absent or present, and its exclusive group as it then is.

        One addition where the scores are linear in the activations (`slopes`), else one readout of 2 k rows an input.
        See `zoo.concepts.layers.groups` for what the rest of a group then is.
        """
        slopes = self.slopes(evidence)
        if slopes is not None:
            return self.readout(evidence)[:, None, None] + effects(self, evidence, slopes)
        rows, count = evidence.activation.shape
        many = Evidence(
            evidence.activation.repeat_interleave(count, 0),
            state={name: state.repeat_interleave(count, 0) for name, state in evidence.state.items()},
        )
        scores = []
        for truth in (0.0, 1.0):
            mask, labels = answered(self, evidence, truth)
            values = self.concept_values(labels.flatten(0, 1))
            scores.append(self.readout(self.intervene(many, mask.repeat(rows, 1), values)).unflatten(0, (-1, count)))
        return torch.stack(scores, 1)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """The probability of each concept, and the target's exact score were it absent or present."""
        slopes, (rows, count) = self.slopes(evidence), evidence.activation.shape
        if slopes is None:
            scores = self.scores_if(evidence).gather(3, target[:, None, None, None].expand(-1, 2, count, 1))
        else:  # of the target alone: the other classes would cost as much each
            own = slopes.expand(rows, -1, -1).gather(2, target[:, None, None].expand(-1, count, 1))
            scores = self.readout(evidence).gather(1, target[:, None])[..., None, None] + effects(self, evidence, own)
        absent, present = scores[..., 0].unbind(1)
        return {"probability": self.concept_probability(evidence), "absent": absent, "present": present}

    def on_fit_start(self) -> None:
        """Weighs concepts by how rare they are among the training labels, where the model asks for that."""
        if getattr(self, "weighting", "none") == "none":
            return
        data = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "concept_labels"):
            raise ValueError(
                f"weighting '{self.weighting}' needs the training labels; give the Trainer a data module with "
                "concept_labels(), or use weighting 'none'."
            )
        self.concept_weights.copy_(imbalance(data.concept_labels()))

    def concept_metric_sets(self) -> nn.ModuleDict:
        """Metrics of the concepts by split; kept as `self.concept_cards`."""
        return nn.ModuleDict({f"{split}_metrics": concept_metrics() for split in ("val", "test")})

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        """Updates the metrics of the task, and outside training also those of the concepts."""
        found = super().update_metrics(split, scores, evidence, batch)
        if split == "train" or "concepts" not in batch:
            return found
        card = self.concept_cards[f"{split}_metrics"]
        card.update(self.concept_probability(evidence).detach(), batch["concepts"])
        return {**found, **card}
