"""All faithfulness metrics by name, and their computation in one pass over the data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from zoo.metrics.faithfulness.base import FaithfulnessMetric, Value
from zoo.metrics.faithfulness.compactness import Compactness
from zoo.metrics.faithfulness.completeness import CompletenessGap
from zoo.metrics.faithfulness.contrastivity import Contrastivity
from zoo.metrics.faithfulness.deletion import EvidenceDeletionGain
from zoo.metrics.faithfulness.encoding import EncodingGap, Evaluator
from zoo.metrics.faithfulness.error_control import ErrorControlledImportance, RemoveFactor
from zoo.metrics.faithfulness.extension import Extension
from zoo.metrics.faithfulness.imputers import Imputer, imputers_for
from zoo.metrics.faithfulness.locality import LocalityLeak
from zoo.metrics.faithfulness.mask_out import MaskOutAgreement
from zoo.metrics.faithfulness.perturbations import Perturbation, perturbations_for
from zoo.metrics.faithfulness.predictivity import Predictivity
from zoo.metrics.faithfulness.randomisation import ParameterRandomisation
from zoo.metrics.faithfulness.re_explanation import ReExplanation
from zoo.metrics.faithfulness.recovery import GroundTruthRecovery
from zoo.metrics.faithfulness.response import InterventionResponse
from zoo.metrics.faithfulness.stability import EvidenceStability
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.metrics.faithfulness.sufficiency import KeepOnlySufficiency
from zoo.metrics.faithfulness.unit_purity import UnitPurity
from zoo.utils.errors import did_you_mean
from zoo.utils.pieces import tensor_of_plain, tensor_to_plain
from zoo.utils.progress import track


@dataclass(frozen=True)
class Setting:
    """The arguments that metrics are constructed from.

    Attributes:
        subject: the subject to evaluate.
        reference: (M, *shape) training inputs.
        imputers: replacements for removed elements.
        perturbations: small changes of the input.
        seed: of all randomness.
        evaluator: a classifier of masked inputs, see `train_evaluator`.
        factors: names of the factors that a synthetic benchmark can remove.
        remove_factor: see `ErrorControlledImportance`.
    """

    subject: Subject
    reference: Tensor
    imputers: Sequence[Imputer]
    perturbations: Sequence[Perturbation] = ()
    seed: int = 0
    evaluator: Evaluator | None = None
    factors: Sequence[str] = ()
    remove_factor: RemoveFactor | None = None


METRICS: dict[str, tuple[type[FaithfulnessMetric], Callable[[Setting], FaithfulnessMetric]]] = {
    "M1": (CompletenessGap, lambda s: CompletenessGap()),
    "M2": (MaskOutAgreement, lambda s: MaskOutAgreement(s.imputers, seed=s.seed)),
    "M3": (EvidenceDeletionGain, lambda s: EvidenceDeletionGain(s.imputers, seed=s.seed)),
    "M4": (KeepOnlySufficiency, lambda s: KeepOnlySufficiency(s.imputers, seed=s.seed)),
    "M5": (LocalityLeak, lambda s: LocalityLeak(seed=s.seed)),
    "M6": (Compactness, lambda s: Compactness()),
    "M7": (EvidenceStability, lambda s: EvidenceStability(s.perturbations)),
    "M8": (Contrastivity, lambda s: Contrastivity(s.imputers)),
    "M9": (ParameterRandomisation, lambda s: ParameterRandomisation(s.subject, s.seed)),
    "M10": (EncodingGap, lambda s: EncodingGap(s.evaluator, seed=s.seed)),
    "M11": (GroundTruthRecovery, lambda s: GroundTruthRecovery()),
    "M12": (UnitPurity, lambda s: UnitPurity(seed=s.seed)),
    "M13": (InterventionResponse, lambda s: InterventionResponse(seed=s.seed)),
    "M14": (ErrorControlledImportance, lambda s: ErrorControlledImportance(s.remove_factor, s.factors)),
    "M15": (Predictivity, lambda s: Predictivity(s.imputers)),
    "M16": (ReExplanation, lambda s: ReExplanation(seed=s.seed)),
    "M17": (Extension, lambda s: Extension(s.subject, s.reference, seed=s.seed)),
}


@dataclass(frozen=True)
class Result:
    """The result of one metric.

    Attributes:
        title: of the metric.
        missing: the reason if the metric does not apply.
        values: by column, with intervals; empty if the metric does not apply.
        directions: by column; 1 if higher is better, -1 if lower is better, 0 if neither.
        undefined: number of samples without a value, by column.
        extra: numbers without an interval, by name.
    """

    title: str
    missing: str | None = None
    values: dict[str, Value] = field(default_factory=dict)
    directions: dict[str, int] = field(default_factory=dict)
    undefined: dict[str, int] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The keys of metrics given by key or title, in the order of `METRICS`; "all" selects every metric.

    Raises:
        ValueError: an unknown name; the message names the closest one.
    """
    titles = {metric.title: key for key, (metric, _) in METRICS.items()}
    chosen = set()
    for name in names:
        if name == "all":
            chosen |= METRICS.keys()
        elif name.upper() in METRICS:
            chosen.add(name.upper())
        elif (plain := name.replace("_", " ").replace("-", " ").lower()) in titles:
            chosen.add(titles[plain])
        elif name.lower() in titles:
            chosen.add(titles[name.lower()])
        else:
            raise ValueError(f"no faithfulness metric named '{name}'; {did_you_mean(name, [*METRICS, *titles])}")
    return tuple(key for key in METRICS if key in chosen)


class Measurement:
    """Metrics of a subject, computed batch by batch, in this process or in several.

    Args:
        subject: the subject to evaluate.
        reference: (M, *shape) training inputs, for imputers and for the blank input.
        names: metrics by key or title, or "all".
        imputers: by name; by default all imputers for the modality.
        seed: of all randomness.
        factors: of a synthetic benchmark, see `Setting`.
        remove_factor: of a synthetic benchmark, see `Setting`.
        evaluator: required by M10.

    Raises:
        ValueError: an unknown metric or imputer.
    """

    def __init__(
        self,
        subject: Subject,
        reference: Tensor,
        names: Sequence[str] = ("all",),
        imputers: Sequence[str] = (),
        seed: int = 0,
        factors: Sequence[str] = (),
        remove_factor: RemoveFactor | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        filled = imputers_for(subject.domain, reference, imputers, seed)
        changes = perturbations_for(subject.domain, reference, seed)
        setting = Setting(subject, reference, filled, changes, seed, evaluator, factors, remove_factor)
        self.subject = subject
        self.metrics = {key: METRICS[key][1](setting) for key in choose(names)}
        self.lacking: dict[str, str] = {}
        mean = reference.is_floating_point() and subject.domain.modality != "graph"  # graphs have none
        self.blank = reference.mean(0) if mean else None

    def update(self, batch: Mapping[str, Any]) -> None:
        """Adds a batch, see `measure`."""
        x = batch["input"].to(self.subject.model.device)
        moved = (batch[name].to(x.device) if name in batch else None for name in ("target", "regions", "concepts"))
        labels, regions, concepts = moved
        if self.subject.domain.task == "multilabel":  # regions and labels are of all tags, an explanation of one
            labels = regions = None
        case = Case(self.subject, x, batch["ids"].to(x.device), None, labels, regions, self.blank, concepts)
        for key, metric in self.metrics.items():
            if (lack := metric.lacking() or metric.missing(self.subject, *case.known)) is not None:
                self.lacking[key] = lack
            else:
                metric.update(case)

    def of_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What one batch adds, as plain data for `add`; nothing is kept here."""
        for metric in self.metrics.values():
            metric.reset()
        self.lacking = {}
        self.update(batch)
        states = {
            key: {name: tensor_to_plain(dim_zero_cat(rows)) for name, rows in metric.metric_state.items() if len(rows)}
            for key, metric in self.metrics.items()
            if key not in self.lacking
        }
        for metric in self.metrics.values():
            metric.reset()
        return {"lacking": self.lacking, "states": states}

    def add(self, made: Mapping[str, Any]) -> None:
        """Adds what `of_batch` returned, here or in another process."""
        self.lacking |= made["lacking"]
        for key, state in made["states"].items():
            metric = self.metrics[key]
            for name, plain in state.items():
                getattr(metric, name).append(tensor_of_plain(plain).to(metric.device))

    def results(self) -> dict[str, Result]:
        """The results by key of the metric."""
        return {key: _result(metric, self.lacking.get(key)) for key, metric in self.metrics.items()}


def measure(
    subject: Subject,
    batches: Iterable[dict[str, Tensor]],
    reference: Tensor,
    names: Sequence[str] = ("all",),
    imputers: Sequence[str] = (),
    seed: int = 0,
    progress: bool = False,
    factors: Sequence[str] = (),
    remove_factor: RemoveFactor | None = None,
    evaluator: Evaluator | None = None,
) -> dict[str, Result]:
    """Computes metrics of a subject.

    Args:
        subject: the subject to evaluate.
        batches: dicts with "input", "target", sample "ids" (B,) and, if known, "regions" and "concepts".
        reference: (M, *shape) training inputs, for imputers and for the blank input.
        names: metrics by key or title, or "all".
        imputers: by name; by default all imputers for the modality.
        seed: of all randomness.
        progress: show a progress bar.
        factors: of a synthetic benchmark, see `Setting`.
        remove_factor: of a synthetic benchmark, see `Setting`.
        evaluator: required by M10.

    Raises:
        ValueError: an unknown metric or imputer.
    """
    made = Measurement(subject, reference, names, imputers, seed, factors, remove_factor, evaluator)
    for batch in track(batches, "faithfulness", shown=progress):
        made.update(batch)
    return made.results()


def _result(metric: FaithfulnessMetric, missing: str | None) -> Result:
    if missing is not None:
        return Result(metric.title, missing)
    directions = {column.name: column.direction for column in metric.columns}
    extra: dict[str, Any] = {"units used": metric.units_used()} if isinstance(metric, Compactness) else {}
    return Result(metric.title, None, metric.intervals(), directions, metric.undefined(), extra)
