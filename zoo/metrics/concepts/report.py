"""All concept metrics of a model in one call."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.concepts.leakage import (
    CompletenessRatio,
    ConceptCeiling,
    ConceptTaskLeakage,
    InterConceptLeakage,
    leak_test,
)
from zoo.metrics.concepts.purity import NicheImpurity, OracleImpurity, oracle_impurity
from zoo.metrics.concepts.quality import ConceptAccuracy, ConceptAUC, ConceptCalibrationError, ConceptF1
from zoo.utils.progress import track


def concept_report(
    probability: Tensor,
    representation: Tensor | None,
    concepts: Tensor,
    targets: Tensor,
    scores: Tensor | None = None,
    black_box: Tensor | None = None,
    ceiling: float | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Every concept metric of a model, as plain data.

    Args:
        probability: (N, k) of each concept, for quality and leakage.
        representation: (N, k) or (N, k, m), the input of the head for each concept, for purity; None for the
            probabilities.
        concepts: (N, k) true labels in {0, 1, NaN}.
        targets: (N,) classes, or values of a regression.
        scores: (N, C) of the model, for the leak test.
        black_box: (N, C) scores of a model without a bottleneck, for the completeness ratio.
        ceiling: for the leak test, such as `concept_ceiling` of more rows; by default that of these rows.
        names: of the k concepts, to report the values of each.
        seed: of splits, networks and noise.
        progress: show a progress bar.

    Returns:
        By metric: "title", "value" (None if undefined), "chance" (None if that depends on the data),
        "higher_is_better" and, if names are given, "concepts" with a value for each. "nis_of_labels" is the NIS of the
        true labels, the reference for "nis". The ceiling, completeness and leak test exist for classes only; the value
        of the leak test is its p-value, beside the other fields of `LeakTest`. A single concept has no "icl".

    Raises:
        ValueError: a metric rejects shapes, labels or values, or the number of names is not k.
    """
    count = concepts.shape[1]
    if names and len(names) != count:
        raise ValueError(f"names must have one entry for each of the {count} concepts; got {len(names)}.")
    inner = probability if representation is None else representation
    seeded: dict[str, Any] = {"seed": seed, "average": False}
    jobs: dict[str, tuple[Metric, tuple[Tensor, ...]]] = {
        "concept_accuracy": (ConceptAccuracy(), (probability, concepts)),
        "concept_auc": (ConceptAUC(average=False), (probability, concepts)),
        "concept_f1": (ConceptF1(count, average=False), (probability, concepts)),
        "concept_ece": (ConceptCalibrationError(count, average=False), (probability, concepts)),
        "ctl": (ConceptTaskLeakage(**seeded), (probability, concepts, targets)),
        "icl": (InterConceptLeakage(**seeded, progress=progress), (probability, concepts)),
        "ois": (OracleImpurity(**seeded), (inner, concepts)),
        "nis": (NicheImpurity(**seeded), (inner, concepts)),
        "nis_of_labels": (NicheImpurity(**seeded), (concepts.nan_to_num(0.5), concepts)),
    }
    if count < 2:
        del jobs["icl"]
    if classes := not targets.is_floating_point():
        jobs["concept_ceiling"] = (ConceptCeiling(), (concepts, targets))
        if scores is not None and black_box is not None:
            jobs["completeness"] = (CompletenessRatio(), (scores, black_box, targets))
    report = {}
    for key, (metric, data) in (bar := track(jobs.items(), "concept metrics", shown=progress)):
        bar.set_postfix_str(str(metric.title))
        metric.to(concepts.device)
        metric.update(*data)
        if isinstance(metric, OracleImpurity):  # both variants from one training
            gaps = metric.gaps()
            for variant, diagonal in (("ois", True), ("ois_off_diagonal", False)):
                each = oracle_impurity(gaps, diagonal, average=False)
                report[variant] = described(metric, each, names, oracle_impurity(gaps, diagonal))
        else:
            values: Tensor = metric.compute()
            report[key] = described(metric, values, names)
    if classes and scores is not None:
        found = leak_test(scores.argmax(1), targets, report["concept_ceiling"]["value"] if ceiling is None else ceiling)
        report["leak_test"] = {"title": "leak test", "value": found.p_value, "chance": None, "higher_is_better": True}
        report["leak_test"] |= asdict(found)
    return report


def described(metric: Metric, values: Tensor, names: Sequence[str], mean: Tensor | None = None) -> dict[str, Any]:
    """The result of a metric, a scalar or (k,), as plain data with title, chance level and direction."""
    value = values.nanmean() if mean is None else mean
    about = {
        "title": metric.title,
        "value": plain(float(value)),
        "chance": metric.chance,
        "higher_is_better": metric.higher_is_better,
    }
    if names and values.ndim:
        about["concepts"] = dict(zip(names, map(plain, values.tolist()), strict=True))
    return about


def plain(value: float) -> float | None:
    """The number, or None for NaN and infinities, which JSON does not support."""
    return value if abs(value) < float("inf") else None
