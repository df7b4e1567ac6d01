"""The numbers of a conversion: the converted model beside its black box, on test data."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.conversion.assess import Comparison, compare
from zoo.conversion.budget import Search
from zoo.conversion.source import BlackBoxRun
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness import Subject
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.metrics.faithfulness.suite import measure
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating
from zoo.utils.json_text import without_nan

EXPLAINED, REMOVED, TIMED = 256, 32, 8  # rows that are explained, from which regions are removed, and of each timing
REPEATS = 5
FAITHFUL = (  # key, column, name in the report
    ("M2", "rank correlation", "mask-out rank correlation"),
    ("M3", "gain", "deletion gain"),
)


@dataclass(frozen=True)
class Conversion:
    """A model and what it was converted from.

    Attributes:
        model: trained.
        black_box: its teacher.
        data: of both.
        metrics: of the test of the model, by name.
        seconds: that the training took.
        search: the sizes that were tried for a budget.
        size_title: what a size counts.
    """

    model: SelfInterpretable
    black_box: BlackBoxRun
    data: DataModule
    metrics: Mapping[str, float | None]
    seconds: float
    search: Search | None = None
    size_title: str = ""


def report(conversion: Conversion) -> dict[str, Any]:
    """Measures a converted model on test data, as plain data."""
    model, black_box, data = conversion.model.eval(), conversion.black_box, conversion.data
    data.prepare_data()
    data.setup("test")
    found = compare(model, black_box.network, data.test_dataloader())
    record: dict[str, Any] = {
        "model": registry.name_of(type(model)),
        "head": getattr(model, "head_kind", None),
        "black box": {"run": str(black_box.run), "backbone": black_box.backbone, "layer": black_box.layer},
        "cells": black_box.cells,
        "units": len(model.units()),
        "test rows": found.rows,
        "task": model.domain.task,
        **qualities(found, model.domain.classes),
        "agreement": {name: found.agreement(name) for name in found.differs if name != "black box"},
        "largest difference of scores": found.difference,
        "largest score": found.scale,
        "features R2": found.features_r2,
        "code": {key: conversion.metrics.get(key) for key in ("active", "active_total", "dead")},
        **(shown := explained(model, data)),
        **(removed(model, data) if shown.get("placed") else {}),
        "fit seconds": round(conversion.seconds, 1),
        **timed(model, black_box, data),
    }
    if conversion.search is not None:
        record["budget"] = {
            "what": conversion.size_title,
            "of": "R²" if found.values else "accuracy",
            "may be lost": conversion.search.budget,
            "chosen": conversion.search.chosen,
            "within": conversion.search.within,
            "tried": [trial._asdict() for trial in conversion.search.trials],
        }
    return without_nan(record)


def qualities(found: Comparison, targets: Sequence[str]) -> dict[str, Any]:
    """Accuracy by what predicts; of values R² and the root mean squared error of each target."""
    quality = {name: found.quality(name) for name in found.misses}
    if not found.values:
        return {"accuracy": quality}
    return {"R2": quality, "RMSE": {name: dict(zip(targets, found.rmse(name), strict=True)) for name in found.misses}}


def explained(model: SelfInterpretable, data: DataModule) -> dict[str, Any]:
    """How many units hold an explanation, and the share of the residual, as means; whether units have a place."""
    residual = [k for k, unit in enumerate(model.units()) if unit.kind == "residual"]
    needed: list[Tensor] = []
    shares: list[Tensor] = []
    placed = False
    for batch in NumberedBatches(data.test_dataset(), EXPLAINED, data.batch_size):
        explanation = model.explain(batch["input"].to(model.device))
        if explanation.contributions is None:
            return {}
        placed = explanation.support is not None
        size = explanation.contributions.double().abs()
        ordered = size.sort(1, descending=True).values.cumsum(1)
        needed.append((ordered < 0.9 * ordered[:, -1:]).sum(1) + 1)
        shares.append(size[:, residual].sum(1) / size.sum(1).clamp_min(1e-300))
    found: dict[str, Any] = {"placed": placed, "reference": model.reference, "units for 90 %": mean_of(needed)}
    return found | ({"residual share": mean_of(shares)} if residual else {})


def removed(model: SelfInterpretable, data: DataModule) -> dict[str, Any]:
    """What removing regions does to the score, by few rows; {} unless inputs are images."""
    if not model.additive or model.domain.modality != "image":
        return {}
    batches = NumberedBatches(data.test_dataset(), REMOVED, min(data.batch_size, REMOVED))
    reference = reference_inputs(data.projection_dataset())
    with evaluating(model):
        results = measure(Subject(model), batches, reference, [key for key, _, _ in FAITHFUL], ("mean", "blur"))
    values = {
        name: results[key].values[column].value
        for key, column, name in FAITHFUL
        if key in results and column in results[key].values
    }
    return {"faithfulness": values, "faithfulness rows": len(batches.rows)} if values else {}


@torch.no_grad()
def timed(model: SelfInterpretable, black_box: BlackBoxRun, data: DataModule) -> dict[str, float]:
    """Milliseconds of an explanation and of a forward pass of the black box, for each row."""
    batch = next(batches_of(data))
    x = batch["input"].to(model.device)
    return {
        "explain ms": milliseconds(lambda: model.explain(x)) / len(x),
        "black box ms": milliseconds(lambda: black_box.network(x)) / len(x),
    }


def batches_of(data: DataModule) -> Iterator[Any]:
    """Small batches of the test data."""
    return map(as_batch, NumberedBatches(data.test_dataset(), TIMED, TIMED))


def milliseconds(call: Callable[[], object]) -> float:
    """The shortest time of some calls, after one that is not timed."""
    call()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def mean_of(parts: list[Tensor]) -> float:
    """The mean of all values."""
    return torch.cat(parts).double().mean().item()
