"""Leakage: information of predicted concepts about the task, or about each other, beyond that of the true concepts.

CTL and ICL: Parisini et al., "Leakage and Interpretability in Concept-Based Models", 2025, arXiv 2504.14094.
"""

from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binom  # SciPy comes with scikit-learn
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.concepts.information import dense_codes, mutual_information
from zoo.metrics.concepts.pooled import Pooled, check_concepts, check_representation


class ConceptTaskLeakage(Pooled):
    """Concepts-task leakage (CTL): the excess information of predicted concepts about the task.

        CTL_j = max(0, I(ĉ_j; y) / H(y) - I(c_j; y) / H(y)),   CTL = mean_j;  0 for the true labels

    I as in `mutual_information`: Ross for scores and classes, Kraskov for scores and values, plug-in for labels. The
    H(y) of values is Kraskov's I(y; y). Scores use all rows, labels the rows where they are known.

    Differs from the published code: each score is scaled to unit variance before the neighbour search, noise is
    seeded, and each score with few distinct values is discrete, not only if all scores are.

    Args:
        neighbours: see `mutual_information`.
        repeats: see `mutual_information`.
        seed: of the noise.
        average: return the mean instead of (k,).
    """

    higher_is_better, title, chance = False, "concepts-task leakage (CTL)", 0.0
    options: dict[str, Any]

    def __init__(self, neighbours: int = 3, repeats: int = 1, seed: int = 0, average: bool = True) -> None:
        super().__init__("scores", "concepts", "target")
        self.options = {"neighbours": neighbours, "repeats": repeats, "seed": seed}
        self.average = average

    def update(self, scores: Tensor, concepts: Tensor, target: Tensor) -> None:
        """Adds predicted concepts (B, k) or (B, k, m), labels (B, k) in {0, 1, NaN}, and targets of the task.

        Targets are classes (B,), or values (B,) or (B, C).

        Raises:
            ValueError: wrong shapes or labels, or scores that are not finite.
        """
        check_representation(scores, concepts, "ConceptTaskLeakage")
        if target.ndim != 1 and not (target.ndim == 2 and target.is_floating_point()):
            raise ValueError(
                f"ConceptTaskLeakage expects classes (B,), or values (B,) or (B, C); got {target.dtype} of shape "
                f"{tuple(target.shape)}."
            )
        self.keep(scores=scores, concepts=concepts, target=target)

    def compute(self) -> Tensor:
        """CTL, or (k,) if `average` is False; NaN if all rows have the same target."""
        scores, concepts, target = self.pooled()
        entropy = mutual_information(target[:, None], **self.options)
        found, true = (mutual_information(c, target[:, None], **self.options) / entropy for c in (scores, concepts))
        leaks = (found - true).clamp_min(0)[:, 0].to(scores.device)
        return leaks.nanmean() if self.average else leaks


class InterConceptLeakage(Pooled):
    """Interconcept leakage (ICL): the excess information of predicted concepts about each other.

        ICL_ij = max(0, I(ĉ_i; ĉ_j) / √(H(ĉ_i) H(ĉ_j)) - I(c_i; c_j) / √(H(c_i) H(c_j)))
        ICL_i  = mean over j ≠ i,   ICL = mean_i;  0 for the true labels

    I as in `mutual_information`; H is the information of a variable about itself by the same estimator. For a score
    without ties that is ψ(N) - ψ(neighbours + 1), which grows with the logarithm of the number of rows and is much
    larger than the entropy of a label (at most log 2). So ICL is small for continuous scores, and only comparable at
    equal N.

    Differs from the published code: see `ConceptTaskLeakage`.

    Args:
        neighbours: see `mutual_information`.
        repeats: see `mutual_information`.
        seed: of the noise.
        average: return the mean instead of (k,).
        progress: show a progress bar over the k² / 2 pairs.
    """

    higher_is_better, title, chance = False, "interconcept leakage (ICL)", 0.0
    options: dict[str, Any]

    def __init__(
        self, neighbours: int = 3, repeats: int = 1, seed: int = 0, average: bool = True, progress: bool = False
    ) -> None:
        super().__init__("scores", "concepts")
        self.options = {"neighbours": neighbours, "repeats": repeats, "seed": seed}
        self.average, self.progress = average, progress

    def update(self, scores: Tensor, concepts: Tensor) -> None:
        """Adds predicted concepts (B, k) or (B, k, m) and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: wrong shapes or labels, fewer than 2 concepts, or scores that are not finite.
        """
        check_representation(scores, concepts, "InterConceptLeakage")
        if concepts.shape[1] < 2:
            raise ValueError("InterConceptLeakage compares pairs and needs at least 2 concepts; got 1.")
        self.keep(scores=scores, concepts=concepts)

    def compute(self) -> Tensor:
        """ICL, or (k,) if `average` is False."""
        leaks = self.pairs()
        return leaks.nanmean() if self.average else leaks.nanmean(1)

    def pairs(self) -> Tensor:
        """(k, k) ICL_ij, symmetric; NaN for i = j and for pairs that are never labelled together."""
        scores, concepts = self.pooled()
        progress = self.title if self.progress else ""
        found = normalised(mutual_information(scores, **self.options, progress=progress))
        true = normalised(mutual_information(concepts, **self.options))
        return (found - true).clamp_min(0).fill_diagonal_(torch.nan).to(scores.device)


def normalised(information: Tensor) -> Tensor:
    """Information (k, k) divided by the geometric mean of both entropies, its diagonal; 0 for constant variables."""
    entropy = information.diagonal()
    scale = (entropy[:, None] * entropy).sqrt()
    return (information / scale).where((scale > 1e-12) | scale.isnan(), 0.0)


class CompletenessRatio(Metric):
    """Accuracy of the concept model divided by that of a black box on the same rows; 1 if the concepts are sufficient.

    Read leakage beside it: a model with an incomplete set of concepts can reach high accuracy only by leakage.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title, chance = "completeness ratio", None
    right: Tensor
    black_box_right: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("black_box_right", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, black_box: Tensor, target: Tensor) -> None:
        """Adds scores (B, C) of the concept model and of the black box, and classes (B,)."""
        self.right += (scores.argmax(1) == target).sum()
        self.black_box_right += (black_box.argmax(1) == target).sum()

    def compute(self) -> Tensor:
        """The ratio; infinite or NaN if the black box is never right."""
        return self.right / self.black_box_right


class ConceptCeiling(Pooled):
    """The highest accuracy of any classifier of the true concepts; see `concept_ceiling`."""

    higher_is_better, title = True, "ceiling of true concepts"

    def __init__(self) -> None:
        super().__init__("concepts", "target")

    def update(self, concepts: Tensor, target: Tensor) -> None:
        """Adds labels (B, k) in {0, 1, NaN} and classes (B,)."""
        check_concepts(concepts, "ConceptCeiling")
        self.keep(concepts=concepts, target=target)

    def compute(self) -> Tensor:
        """The ceiling, float64."""
        concepts, target = self.pooled()
        return concept_ceiling(concepts, target)


def concept_ceiling(concepts: Tensor, targets: Tensor) -> Tensor:
    """Accuracy of the best classifier of the true concepts, which predicts the most frequent class per combination.

    The classifier is evaluated on the rows that it is fitted on, so the ceiling is too high with few rows per
    combination, and 1 if every combination occurs once. Rows with an unknown concept are excluded.

    Args:
        concepts: (N, k) in {0, 1, NaN}.
        targets: (N,) classes, integers from 0.

    Returns:
        A float64 scalar in (0, 1].

    Raises:
        ValueError: targets that are not classes, or no row with all concepts known.
    """
    if targets.is_floating_point() or targets.shape != concepts.shape[:1]:
        raise ValueError(
            f"concept_ceiling() needs one class per row, integers ({len(concepts)},); got {targets.dtype} of shape "
            f"{tuple(targets.shape)}."
        )
    known = concepts.isfinite().all(1)
    if not bool(known.any()):
        raise ValueError("concept_ceiling() needs rows without unknown concepts; every row has one (NaN).")
    combination = torch.unique(concepts[known], dim=0, return_inverse=True)[1]
    classes = dense_codes(targets[known, None].double())[:, 0]
    cell, count = torch.unique(combination * (classes.max() + 1) + classes, return_counts=True)
    most = torch.zeros(len(count), dtype=torch.long, device=count.device)
    most.scatter_reduce_(0, cell // (classes.max() + 1), count, "amax")
    return most.sum().double() / known.sum()


@dataclass(frozen=True)
class LeakTest:
    """Whether the accuracy of a model exceeds the ceiling of the true concepts.

    Attributes:
        accuracy: of the model.
        ceiling: of a classifier of the true concepts.
        p_value: probability of at least this accuracy if the true accuracy is the ceiling.
        leaks: whether the p-value is below the level, so that concepts carry information beyond their labels.
    """

    accuracy: float
    ceiling: float
    p_value: float
    leaks: bool


def leak_test(predictions: Tensor, targets: Tensor, ceiling: float | Tensor, level: float = 0.01) -> LeakTest:
    """One-sided exact binomial test of accuracy against the ceiling of the true concepts.

    Args:
        predictions: (N,) classes that a model predicts from its soft concepts.
        targets: (N,) true classes.
        ceiling: a result of `concept_ceiling`, preferably from many other rows. From the same rows it is too high,
            and the test misses leakage.
        level: of significance.

    Raises:
        ValueError: different shapes, no rows, or a ceiling outside (0, 1].
    """
    ceiling = float(ceiling)
    if predictions.shape != targets.shape or targets.ndim != 1 or not len(targets):
        raise ValueError(
            f"leak_test() needs predicted and true classes of the same rows, (N,); got {tuple(predictions.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if not 0 < ceiling <= 1:
        raise ValueError(f"ceiling must be an accuracy in (0, 1]; got {ceiling}.")
    right, rows = int((predictions == targets).sum()), len(targets)
    p_value = float(binom.sf(right - 1, rows, ceiling))
    return LeakTest(right / rows, ceiling, p_value, p_value < level)
