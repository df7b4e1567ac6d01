"""Metrics of the faithfulness of explanations, the same for every family of models.

A `Subject` is a model with its explanations, a `Case` a batch with its explanation. Each metric has `update(case)`,
`compute()`, and `intervals()`, which returns 95 % intervals over samples. Names are imported on first use.
"""

from typing import TYPE_CHECKING

from zoo.core.lazy import lazy_names, type_checking_imports

if TYPE_CHECKING:
    from zoo.metrics.circuits.edge_recovery import edge_recovery as edge_recovery
    from zoo.metrics.circuits.edge_recovery import pessimistic_area as pessimistic_area
    from zoo.metrics.faithfulness.base import Column as Column
    from zoo.metrics.faithfulness.base import FaithfulnessMetric as FaithfulnessMetric
    from zoo.metrics.faithfulness.base import Value as Value
    from zoo.metrics.faithfulness.compactness import Compactness as Compactness
    from zoo.metrics.faithfulness.completeness import CompletenessGap as CompletenessGap
    from zoo.metrics.faithfulness.contrastivity import Contrastivity as Contrastivity
    from zoo.metrics.faithfulness.controls import CONTROLS as CONTROLS
    from zoo.metrics.faithfulness.deletion import EvidenceDeletionGain as EvidenceDeletionGain
    from zoo.metrics.faithfulness.encoding import EncodingGap as EncodingGap
    from zoo.metrics.faithfulness.encoding import Evaluator as Evaluator
    from zoo.metrics.faithfulness.encoding import train_evaluator as train_evaluator
    from zoo.metrics.faithfulness.error_control import ErrorControlledImportance as ErrorControlledImportance
    from zoo.metrics.faithfulness.extension import Extension as Extension
    from zoo.metrics.faithfulness.imputers import imputers_for as imputers_for
    from zoo.metrics.faithfulness.locality import LocalityLeak as LocalityLeak
    from zoo.metrics.faithfulness.mask_out import MaskOutAgreement as MaskOutAgreement
    from zoo.metrics.faithfulness.perturbations import Perturbation as Perturbation
    from zoo.metrics.faithfulness.perturbations import perturbations_for as perturbations_for
    from zoo.metrics.faithfulness.predictivity import Predictivity as Predictivity
    from zoo.metrics.faithfulness.randomisation import ParameterRandomisation as ParameterRandomisation
    from zoo.metrics.faithfulness.randomisation import randomised as randomised
    from zoo.metrics.faithfulness.re_explanation import ReExplanation as ReExplanation
    from zoo.metrics.faithfulness.recovery import GroundTruthRecovery as GroundTruthRecovery
    from zoo.metrics.faithfulness.response import InterventionResponse as InterventionResponse
    from zoo.metrics.faithfulness.stability import EvidenceStability as EvidenceStability
    from zoo.metrics.faithfulness.subject import Case as Case
    from zoo.metrics.faithfulness.subject import Subject as Subject
    from zoo.metrics.faithfulness.sufficiency import KeepOnlySufficiency as KeepOnlySufficiency
    from zoo.metrics.faithfulness.unit_purity import UnitPurity as UnitPurity

__getattr__, __dir__ = lazy_names(__name__, lambda: type_checking_imports(__file__))
