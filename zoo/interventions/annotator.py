"""Simulated annotators, who label concepts from the labels of the data, correctly or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.interventions.cached_evidence import CachedEvidence
from zoo.utils.checks import check_between, check_choice

LEVELS = ("instance", "class")
INVISIBLE = ("label", "skip", "absent")


@dataclass(frozen=True)
class SimulatedAnnotator:
    """An annotator who is asked for the value of concepts.

    Raises:
        ValueError: a competence outside [0, 1] or an unknown choice.
    """

    competence: float = 1.0
    """Probability of a correct label, drawn for every row and concept (for an exclusive group: once). With 0 every
    label is wrong. A wrong label of an exclusive group is another one of its concepts."""
    level: str = "instance"
    """"instance": the labels of the row; "class": the majority in the class of the row (ties are present), which may
    contradict the input."""
    invisible: str = "label"
    """How concepts that could not be seen are labelled: "label" (as the others), "skip" (not, so that the prediction
    is kept) or "absent" (0, as in Koh et al., ICML 2020)."""
    seed: int = 0
    """Seed of the wrong labels."""

    def __post_init__(self) -> None:
        check_between(0, 1, competence=self.competence)
        check_choice(LEVELS, level=self.level)
        check_choice(INVISIBLE, invisible=self.invisible)

    def true_labels(self, cached: CachedEvidence, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
        """Correct labels (N, k) in {0, 1}, NaN where there is none, so that the prediction is kept.

        Args:
            cached: the data.
            exclusive: columns of each exclusive group.

        Raises:
            ValueError: the labels depend on visibility, and the data has no mask "visible".
        """
        labels = cached.concepts.float()
        if self.level == "class":
            labels = class_labels(labels, cached.target, exclusive)
        if self.invisible == "label":
            return labels
        if cached.visible is None:
            raise ValueError(
                f"invisible '{self.invisible}' needs to know which concepts the annotators could see; add a mask "
                "'visible' (B, k) to the batches of the data, or use invisible 'label'."
            )
        return labels.masked_fill(~cached.visible.bool(), torch.nan if self.invisible == "skip" else 0.0)

    def annotate(self, truth: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
        """Labels (N, k) of the annotator.

        Args:
            truth: (N, k) correct labels in {0, 1, NaN}; missing ones stay missing.
            exclusive: columns of each exclusive group.
        """
        if self.competence == 1:
            return truth
        generator = torch.Generator().manual_seed(self.seed)
        mistaken = torch.rand(truth.shape, generator=generator) >= self.competence
        wrong = 1 - truth
        for columns in exclusive:
            count = len(columns)
            if count > 1:
                step = torch.randint(1, count, (len(truth),), generator=generator)
                other = (truth[:, columns].nan_to_num(0).argmax(1) + step) % count
                wrong[:, columns] = F.one_hot(other, count).to(wrong)
                mistaken[:, columns] = mistaken[:, columns[:1]]
        return torch.where(mistaken & truth.isfinite(), wrong, truth)


def class_labels(concepts: Tensor, target: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
    """The majority label of the row's class; ties are present.

    Of an exclusive group one concept is present: the most frequent, of ties the first.

    Args:
        concepts: (N, k) labels in {0, 1, NaN}.
        target: (N,) classes.
        exclusive: columns of each exclusive group.

    Returns:
        (N, k) in {0, 1}, NaN where no row of the class is labelled.
    """
    classes = int(target.max()) + 1
    known = torch.zeros(classes, concepts.shape[1]).index_add_(0, target, concepts.isfinite().float())
    count = torch.zeros_like(known).index_add_(0, target, concepts.nan_to_num(0.0))
    present = (count >= known / 2).float()
    for columns in exclusive:
        present[:, columns] = F.one_hot(count[:, columns].argmax(1), len(columns)).float()
    return present.masked_fill(known == 0, torch.nan)[target]
