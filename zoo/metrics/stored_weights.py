"""What rounded weights change: answers, their metric, and contributions, row by row."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.storage import Effect


class _Rows(NamedTuple):
    """Some rows, explained with both weights.

    Attributes:
        truth: (B, ...).
        scores: (B, C) in float32.
        rounded: (B, C) with rounded weights.
        change: (B,) largest change of a contribution, or of the score.
        size: (B,) largest |contribution|, or |score|.
        gap: (B,) of completeness with rounded weights; NaN if the model is not additive.
    """

    truth: Tensor
    scores: Tensor
    rounded: Tensor
    change: Tensor
    size: Tensor
    gap: Tensor


def storage_effect(
    model: SelfInterpretable, rounded: SelfInterpretable, batches: Iterable[dict[str, Any]], split: str = "val"
) -> Effect:
    """Measures what rounded weights change on rows.

    Contributions are those to the score, in both models of the class that the first predicts.

    Args:
        model: with weights in float32.
        rounded: the same with rounded weights, see `zoo.checkpoints.rounding.rounded_model`.
        batches: dicts with "input" and "target".
        split: which rows these are, "val" or "test".

    Raises:
        ArithmeticError: contributions of the rounded model do not add up to its scores.
        ValueError: there are no rows.
    """
    found = [_rows(model, rounded, batch) for batch in batches]
    if not found:
        raise ValueError("what rounded weights change cannot be measured without rows; the data have none.")
    rows = _Rows(*(torch.cat(part) for part in zip(*found, strict=True)))
    task = model.domain.task
    metric, before, after = _metrics(rows, task)
    same = {
        "classification": rows.scores.argmax(1) == rows.rounded.argmax(1),
        "multilabel": ((rows.scores > 0) == (rows.rounded > 0)).all(1),
    }.get(task)
    return Effect(
        rows=len(rows.scores),
        split=split,
        metric=metric,
        before=before,
        after=after,
        answers=None if same is None else float(same.double().mean()),
        change=float(rows.change.max()),
        typical=float(rows.size.median()),
        gap=float(rows.gap.max()) if model.additive else None,
    )


@torch.no_grad()
def _rows(model: SelfInterpretable, rounded: SelfInterpretable, batch: dict[str, Any]) -> _Rows:
    x = batch["input"].to(model.device)
    told = model.explain(x, reference="zero")
    other = rounded.explain(x, told.target, reference="zero")
    if told.contributions is None or other.contributions is None:
        change, size = (told.score - other.score).abs(), told.score.abs()
        gap = torch.full_like(change, torch.nan)
    else:
        change = (told.contributions - other.contributions).abs().amax(1)
        size, gap = told.contributions.abs().amax(1), _gap(other)
    parts = (batch["target"], told.scores, other.scores, change, size, gap)
    return _Rows(*(part.double().cpu() for part in parts))


def _gap(told: Explanation) -> Tensor:
    return told.check().gap()


def _metrics(rows: _Rows, task: str) -> tuple[str, float, float]:
    """Name of the metric, and its values with both weights."""
    pair = (rows.scores, rows.rounded)
    if task == "regression":
        truth = rows.truth.view_as(rows.scores)
        spread = (truth - truth.mean(0)).square().sum().clamp_min(torch.finfo(torch.double).tiny)
        before, after = (1 - (scores - truth).square().sum() / spread for scores in pair)
        return "r2", float(before), float(after)
    if task == "multilabel":
        known = rows.truth.isfinite() & (rows.truth >= 0)
        before, after = (((scores > 0) == (rows.truth > 0.5))[known].double().mean() for scores in pair)
        return "accuracy of tags", float(before), float(after)
    before, after = ((scores.argmax(1) == rows.truth).double().mean() for scores in pair)
    return "accuracy", float(before), float(after)
