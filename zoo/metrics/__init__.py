"""Metrics of concepts, prototypes, circuits and explanations, built on torchmetrics.

Metrics have a `title`, `higher_is_better`, and `chance`: the value of an uninformative prediction, such as the AUC of a
guess or the leakage of the true labels (None if that depends on the data). Names are imported on first use.
"""

from typing import TYPE_CHECKING

from zoo.core.lazy import lazy_names, type_checking_imports

if TYPE_CHECKING:
    from zoo.metrics.circuits.clusters import spectral_clusterability as spectral_clusterability
    from zoo.metrics.circuits.clusters import spectral_clusters as spectral_clusters
    from zoo.metrics.concepts.atoms import atom_stability as atom_stability
    from zoo.metrics.concepts.atoms import matched_cosines as matched_cosines
    from zoo.metrics.concepts.information import mutual_information as mutual_information
    from zoo.metrics.concepts.leakage import CompletenessRatio as CompletenessRatio
    from zoo.metrics.concepts.leakage import ConceptCeiling as ConceptCeiling
    from zoo.metrics.concepts.leakage import ConceptTaskLeakage as ConceptTaskLeakage
    from zoo.metrics.concepts.leakage import InterConceptLeakage as InterConceptLeakage
    from zoo.metrics.concepts.leakage import LeakTest as LeakTest
    from zoo.metrics.concepts.leakage import concept_ceiling as concept_ceiling
    from zoo.metrics.concepts.leakage import leak_test as leak_test
    from zoo.metrics.concepts.purity import NicheImpurity as NicheImpurity
    from zoo.metrics.concepts.purity import OracleImpurity as OracleImpurity
    from zoo.metrics.concepts.quality import ConceptAccuracy as ConceptAccuracy
    from zoo.metrics.concepts.quality import ConceptAUC as ConceptAUC
    from zoo.metrics.concepts.quality import ConceptCalibrationError as ConceptCalibrationError
    from zoo.metrics.concepts.quality import ConceptF1 as ConceptF1
    from zoo.metrics.concepts.report import concept_report as concept_report
    from zoo.metrics.concepts.sparsity import accuracy_at_levels as accuracy_at_levels
    from zoo.metrics.concepts.sparsity import covering_concepts as covering_concepts
    from zoo.metrics.concepts.sparsity import effective_concepts as effective_concepts
    from zoo.metrics.concepts.sparsity import sparsity_report as sparsity_report
    from zoo.metrics.policy_returns import policy_report as policy_report
    from zoo.metrics.prototypes.explanation_size import ExplanationSize as ExplanationSize
    from zoo.metrics.prototypes.misalignment import SpatialMisalignment as SpatialMisalignment
    from zoo.metrics.prototypes.part_prototypes import PartConsistency as PartConsistency
    from zoo.metrics.prototypes.part_prototypes import PartPurity as PartPurity
    from zoo.metrics.prototypes.part_prototypes import PartStability as PartStability
    from zoo.metrics.prototypes.relevance_in_object import RelevanceInObject as RelevanceInObject
    from zoo.metrics.regions.agreement import AttributionAgreement as AttributionAgreement
    from zoo.metrics.regions.agreement import RegionAgreement as RegionAgreement
    from zoo.metrics.selection.graphs import graph_selection_report as graph_selection_report
    from zoo.metrics.selection.report import SelectionReport as SelectionReport
    from zoo.metrics.selection.report import selection_report as selection_report
    from zoo.metrics.stored_weights import storage_effect as storage_effect

__getattr__, __dir__ = lazy_names(__name__, lambda: type_checking_imports(__file__))
