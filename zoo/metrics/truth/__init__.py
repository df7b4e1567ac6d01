"""Are explanations true? Metrics for every family of models, on one footing.

A `Subject` is what is measured, a `Case` a batch of what it says; each metric has `update(case)`, `compute()`, and
`intervals()` with 95 % intervals over samples.
"""

from zoo.metrics.truth.base import TruthMetric, Value
from zoo.metrics.truth.circuits import edge_recovery, pessimistic_area
from zoo.metrics.truth.compactness import Compactness
from zoo.metrics.truth.completeness import CompletenessGap
from zoo.metrics.truth.contrastivity import Contrastivity
from zoo.metrics.truth.controls import CONTROLS
from zoo.metrics.truth.deletion import EvidenceDeletionGain
from zoo.metrics.truth.encoding import EncodingGap, Evaluator, train_evaluator
from zoo.metrics.truth.error_control import ErrorControlledImportance
from zoo.metrics.truth.imputers import imputers_for
from zoo.metrics.truth.locality import LocalityLeak
from zoo.metrics.truth.mask_out import MaskOutAgreement
from zoo.metrics.truth.perturbations import Perturbation, perturbations_for
from zoo.metrics.truth.randomisation import ParameterRandomisation, randomised
from zoo.metrics.truth.recovery import GroundTruthRecovery
from zoo.metrics.truth.response import InterventionResponse
from zoo.metrics.truth.stability import EvidenceStability
from zoo.metrics.truth.subject import Case, Subject
from zoo.metrics.truth.sufficiency import KeepOnlySufficiency
from zoo.metrics.truth.unit_purity import UnitPurity

__all__ = [
    "CONTROLS",
    "Case",
    "Compactness",
    "CompletenessGap",
    "Contrastivity",
    "EncodingGap",
    "ErrorControlledImportance",
    "Evaluator",
    "EvidenceDeletionGain",
    "EvidenceStability",
    "GroundTruthRecovery",
    "InterventionResponse",
    "KeepOnlySufficiency",
    "LocalityLeak",
    "MaskOutAgreement",
    "ParameterRandomisation",
    "Perturbation",
    "Subject",
    "TruthMetric",
    "UnitPurity",
    "Value",
    "edge_recovery",
    "imputers_for",
    "perturbations_for",
    "pessimistic_area",
    "randomised",
    "train_evaluator",
]
