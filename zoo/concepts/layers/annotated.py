"""Annotated concepts as the units of a model: names, metrics, interventions and counterfactual scores."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from zoo.concepts.layers.groups import score_changes, set_each
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.reference import REFERENCES, relative, runner_up
from zoo.domain import Domain
from zoo.training.tasks import concept_metrics


class AnnotatedConcepts(nn.Module):
    """The annotated concepts of a domain, owned by a model as `annotated`.

    It names the units, updates the metrics of the concepts and converts labels to activations. Here an activation is
    the probability of the concept; `zoo.concepts.layers.bottleneck.Bottleneck` has other activations.

    Args:
        domain: names the concepts and their groups.
        model: name of the model, for error messages.

    Attributes:
        exclusive: columns of each exclusive group, of which exactly one concept is present.

    Raises:
        ValueError: the domain has no annotated concepts.
    """

    def __init__(self, domain: Domain, model: str) -> None:
        super().__init__()
        if not domain.concepts:
            raise ValueError(
                f"{model} learns annotated concepts, and this data has none; use data with concepts "
                "(`python train.py list data`), or a model that discovers its own."
            )
        groups = domain.group_columns()
        self.domain = domain
        self.exclusive = [groups[name] for name in domain.exclusive]
        self.val_metrics, self.test_metrics = concept_metrics(), concept_metrics()

    @property
    def count(self) -> int:
        """k, the number of concepts."""
        return len(self.domain.concepts)

    def units(self) -> tuple[Unit, ...]:
        """One unit for each concept."""
        group = {c: {"group": name} for name, members in self.domain.concept_groups.items() for c in members}
        source = {"supervision": "annotated"}
        return tuple(Unit(name, "concept", source=source | group.get(name, {})) for name in self.domain.concepts)

    def probability(self, evidence: Evidence) -> Tensor:
        """Predicted probabilities (B, k) of the concepts."""
        return evidence.activation

    def values(self, labels: Tensor) -> Tensor:
        """Activations (B, k) that stand for labels (B, k) in [0, 1], given by the user (ground truth or intervention).

        Affine in the labels.
        """
        return labels

    def score_changes(self, evidence: Evidence, slopes: Tensor) -> Tensor:
        """Changes (B, 2, k, C) of scores with these slopes when one concept is set to absent or present.

        Args:
            evidence: of B inputs.
            slopes: (B or 1, k, C), see `SelfInterpretable.slopes`.
        """
        down, up = (
            (self.values(torch.full_like(evidence.activation, value)) - evidence.activation)[..., None] * slopes
            for value in (0.0, 1.0)
        )  # (B, k, C)
        return score_changes(self.probability(evidence), self.exclusive, down, up)

    def counterfactual_scores(self, model: SelfInterpretable, evidence: Evidence) -> Tensor:
        """Exact scores (B, 2, k, C) of all classes if each concept, one at a time, were absent or present.

        The rest of an exclusive group follows, see `zoo.concepts.layers.groups`. Costs one addition if the model has
        slopes, otherwise a readout of 2 k rows per input.
        """
        slopes = model.slopes(evidence)
        if slopes is not None:
            return model.readout(evidence)[:, None, None] + self.score_changes(evidence, slopes)
        rows, count = evidence.activation.shape
        repeated = repeat_rows(evidence, count)
        scores = []
        for value in (0.0, 1.0):
            mask, labels = set_each(self.probability(evidence), self.exclusive, value)
            edited = model.intervene(repeated, mask.repeat(rows, 1), self.values(labels.flatten(0, 1)))
            scores.append(model.readout(edited).unflatten(0, (rows, count)))
        return torch.stack(scores, 1)

    def details(self, model: SelfInterpretable, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Details of an explanation: "probability", and the target's score if the concept were "absent" or "present".

        Of additive classifiers also these scores relative to the other references, such as "absent, mean".

        Args:
            model: the owner of this object.
            evidence: of B inputs.
            target: (B,) classes.

        Returns:
            (B, k) each.
        """
        scores, slopes, rows = model.readout(evidence), model.slopes(evidence), target.shape[0]
        several = model.additive and self.domain.task == "classification" and scores.shape[1] > 1
        names, rival = (REFERENCES, runner_up(scores, target)) if several else (("zero",), None)

        def each(values: Tensor) -> Tensor:  # (..., C) to (..., references)
            return torch.stack([relative(values, target, name, rival) for name in names], -1)

        if slopes is None:
            changed = each(self.counterfactual_scores(model, evidence))
        else:  # only of the references: every further class would cost as much
            changed = self.score_changes(evidence, each(slopes.expand(rows, -1, -1))) + each(scores)[:, None, None]
        found = {"probability": self.probability(evidence)}
        for i, name in enumerate(names):
            suffix = "" if name == "zero" else f", {name}"
            found |= {f"absent{suffix}": changed[:, 0, :, i], f"present{suffix}": changed[:, 1, :, i]}
        return found

    def update_metrics(self, split: str, evidence: Evidence, batch: Mapping[str, Any]) -> dict[str, Metric]:
        """Updates the metrics of the concepts and returns them by name; none in training or without labels."""
        if split == "train" or "concepts" not in batch:
            return {}
        metrics: MetricCollection = self.val_metrics if split == "val" else self.test_metrics
        metrics.update(self.probability(evidence).detach(), batch["concepts"])
        return dict(metrics.items())


def repeat_rows(evidence: Evidence, times: int) -> Evidence:
    """The evidence with every row repeated, copies of a row next to each other: B rows to B * times."""
    state = {name: tensor.repeat_interleave(times, 0) for name, tensor in evidence.state.items()}
    return Evidence(evidence.activation.repeat_interleave(times, 0), state=state)
