"""Metrics of concepts and of explanations, as torchmetrics.

Each has a `title` for people, `higher_is_better`, and `chance`: its value where there is nothing to find, such as the
AUC of a guess or the leakage of the true labels (None where that depends on the data).
"""

from zoo.metrics.clusters import spectral_clusterability, spectral_clusters
from zoo.metrics.concept_quality import ConceptAccuracy, ConceptAUC, ConceptCalibrationError, ConceptF1
from zoo.metrics.extent import ExplanationSize, RelevanceInObject, covering
from zoo.metrics.information import mutual_information
from zoo.metrics.leakage import (
    CompletenessRatio,
    ConceptCeiling,
    ConceptTaskLeakage,
    InterConceptLeakage,
    LeakTest,
    concept_ceiling,
    leak_test,
)
from zoo.metrics.misalignment import SpatialMisalignment, attack_outside, noise_outside, outside_box
from zoo.metrics.prototype_parts import PartConsistency, PartPurity, PartStability, peaks
from zoo.metrics.purity import NicheImpurity, OracleImpurity
from zoo.metrics.regions import AttributionAgreement, RegionAgreement
from zoo.metrics.report import concept_report
from zoo.metrics.sparsity import accuracy_at_levels, covering_concepts, effective_concepts, sparsity_report

__all__ = [
    "AttributionAgreement",
    "CompletenessRatio",
    "ConceptAUC",
    "ConceptAccuracy",
    "ConceptCalibrationError",
    "ConceptCeiling",
    "ConceptF1",
    "ConceptTaskLeakage",
    "ExplanationSize",
    "InterConceptLeakage",
    "LeakTest",
    "NicheImpurity",
    "OracleImpurity",
    "PartConsistency",
    "PartPurity",
    "PartStability",
    "RegionAgreement",
    "RelevanceInObject",
    "SpatialMisalignment",
    "accuracy_at_levels",
    "attack_outside",
    "concept_ceiling",
    "concept_report",
    "covering",
    "covering_concepts",
    "effective_concepts",
    "leak_test",
    "mutual_information",
    "noise_outside",
    "outside_box",
    "peaks",
    "sparsity_report",
    "spectral_clusterability",
    "spectral_clusters",
]
