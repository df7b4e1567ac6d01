"""Metrics of concepts and of explanations, as torchmetrics.

Each has a `title` for people, `higher_is_better`, and `chance`: its value where there is nothing to find, such as the
AUC of a guess or the leakage of the true labels (None where that depends on the data).
"""

from zoo.metrics.circuits.clusters import spectral_clusterability, spectral_clusters
from zoo.metrics.concepts.information import mutual_information
from zoo.metrics.concepts.leakage import (
    CompletenessRatio,
    ConceptCeiling,
    ConceptTaskLeakage,
    InterConceptLeakage,
    LeakTest,
    concept_ceiling,
    leak_test,
)
from zoo.metrics.concepts.purity import NicheImpurity, OracleImpurity
from zoo.metrics.concepts.quality import ConceptAccuracy, ConceptAUC, ConceptCalibrationError, ConceptF1
from zoo.metrics.concepts.report import concept_report
from zoo.metrics.concepts.sparsity import accuracy_at_levels, covering_concepts, effective_concepts, sparsity_report
from zoo.metrics.prototypes.misalignment import ExplanationSize, RelevanceInObject, SpatialMisalignment
from zoo.metrics.prototypes.part_prototypes import PartConsistency, PartPurity, PartStability
from zoo.metrics.regions.agreement import AttributionAgreement, RegionAgreement

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
    "concept_ceiling",
    "concept_report",
    "covering_concepts",
    "effective_concepts",
    "leak_test",
    "mutual_information",
    "sparsity_report",
    "spectral_clusterability",
    "spectral_clusters",
]
