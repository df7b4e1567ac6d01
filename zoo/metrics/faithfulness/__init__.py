"""Are explanations true? Metrics for every family of models, on one footing.

A `Subject` is what is measured, a `Case` a batch of what it says; each metric has `update(case)`, `compute()`, and
`intervals()` with 95 % intervals over samples.
"""

from zoo.metrics.circuits.edge_recovery import edge_recovery, pessimistic_area
from zoo.metrics.faithfulness.base import FaithfulnessMetric, Value
from zoo.metrics.faithfulness.compactness import Compactness
from zoo.metrics.faithfulness.completeness import CompletenessGap
from zoo.metrics.faithfulness.contrastivity import Contrastivity
from zoo.metrics.faithfulness.controls import CONTROLS
from zoo.metrics.faithfulness.deletion import EvidenceDeletionGain
from zoo.metrics.faithfulness.encoding import EncodingGap, Evaluator, train_evaluator
from zoo.metrics.faithfulness.error_control import ErrorControlledImportance
from zoo.metrics.faithfulness.imputers import imputers_for
from zoo.metrics.faithfulness.locality import LocalityLeak
from zoo.metrics.faithfulness.mask_out import MaskOutAgreement
from zoo.metrics.faithfulness.perturbations import Perturbation, perturbations_for
from zoo.metrics.faithfulness.randomisation import ParameterRandomisation, randomised
from zoo.metrics.faithfulness.recovery import GroundTruthRecovery
from zoo.metrics.faithfulness.response import InterventionResponse
from zoo.metrics.faithfulness.stability import EvidenceStability
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.metrics.faithfulness.sufficiency import KeepOnlySufficiency
from zoo.metrics.faithfulness.unit_purity import UnitPurity

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
    "FaithfulnessMetric",
    "GroundTruthRecovery",
    "InterventionResponse",
    "KeepOnlySufficiency",
    "LocalityLeak",
    "MaskOutAgreement",
    "ParameterRandomisation",
    "Perturbation",
    "Subject",
    "UnitPurity",
    "Value",
    "edge_recovery",
    "imputers_for",
    "perturbations_for",
    "pessimistic_area",
    "randomised",
    "train_evaluator",
]
