"""Bottlenecks of concept logits: probabilities, logits or hard decisions as activations (CBM, C3M)."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.groups import complete_labels
from zoo.concepts.layers.losses import probabilities
from zoo.core.evidence import Evidence
from zoo.domain import Domain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.checks import check_choice

TRAINING = ("joint", "sequential", "independent")


class Bottleneck(AnnotatedConcepts):
    """Annotated concepts whose logits become the activations that the head reads.

    An intervention sets a concept to 0 or 1, or, where activations are logits, to the 5th or 95th percentile of its
    logit on the training set (Koh et al., ICML 2020, section 4.3). Buffer `percentiles` (2, k): -5 and 5 until
    `calibrate` measures them.

    Args:
        domain: names the concepts and their groups.
        model: name of the model, for error messages.
        kind: activations: "logit", "hard" (1 where the probability exceeds 0.5, with a straight-through gradient), or
            any other name for probabilities (a sigmoid, or a softmax in exclusive groups).
        training: what the head learns from: "joint" (the activations), "sequential" (the activations, without a
            gradient to the concepts) or "independent" (the true concepts).
    """

    percentiles: Tensor

    def __init__(self, domain: Domain, model: str, kind: str, training: str = "joint") -> None:
        super().__init__(domain, model)
        check_choice(TRAINING, training=training)
        self.kind, self.head_training = kind, training
        self.register_buffer("percentiles", torch.tensor([[-5.0], [5.0]]).repeat(1, self.count))

    def evidence(self, logits: Tensor) -> Evidence:
        """The evidence of concept logits (B, k); keeps them as state "logit"."""
        return Evidence(self.activate(logits), state={"logit": logits})

    def activate(self, logits: Tensor) -> Tensor:
        """Activations (B, k) of concept logits (B, k)."""
        if self.kind == "logit":
            return logits
        found = probabilities(logits, self.exclusive)
        if self.kind != "hard":
            return found
        hard = (found > 0.5).to(found)
        return hard + found - found.detach() if self.training else hard

    def probability(self, evidence: Evidence) -> Tensor:
        return probabilities(evidence.state["logit"], self.exclusive)

    def values(self, labels: Tensor) -> Tensor:
        low, high = self.percentiles
        return low + (high - low) * labels if self.kind == "logit" else labels

    def evidence_for_head(self, evidence: Evidence, labels: Tensor) -> Evidence:
        """What the head learns from, see `training`; predictions stand in where labels (B, k) are missing."""
        if self.head_training == "joint":
            return evidence
        activation = evidence.activation.detach()
        if self.head_training == "independent":
            known = complete_labels(labels, self.exclusive)
            activation = torch.where(known, self.values(labels.nan_to_num(0.0)), activation)
        return replace(evidence, activation=activation)

    def calibrate(self, projection_set: ProjectionSet, logits: Callable[[Tensor], Tensor]) -> None:
        """Measures the percentiles.

        Args:
            projection_set: the training set.
            logits: maps inputs (B, ...) to concept logits (B, k).
        """
        found = projection_set.gather(torch.cat([logits(batch["input"]).float() for batch in projection_set]))
        for row, share in enumerate((0.05, 0.95)):  # by nearest rank, because torch.quantile refuses large tensors
            self.percentiles[row] = found.kthvalue(1 + round(share * (len(found) - 1)), dim=0).values
