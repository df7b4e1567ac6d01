"""Runs a model and its explanations on a synthetic benchmark whose parts can be removed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.metrics.faithfulness.funnybirds import Reactions
from zoo.metrics.faithfulness.subject import Case, Subject, centred
from zoo.utils.progress import track


class PartBenchmark(Protocol):
    """A data module that can render its inputs without some of their parts; `zoo.data.PartBirds` is one."""

    class_parts: Tensor

    def subsets(self, split: str, rows: Sequence[int]) -> Iterator[Tensor]:
        """For each row (2^P, *shape): the input with every set of parts; set i has part p if bit p of i is set."""
        ...

    def masks(self, split: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(n, P, *S) and (n, M, *S): the visible pixels of parts and of background objects."""
        ...

    def interventions(self, split: str, rows: Sequence[int], remove: Sequence[str]) -> Tensor:
        """(n, *shape) the inputs without some parts or objects."""
        ...

    def minimal_sufficient(self, c: int) -> list[tuple[int, ...]]:
        """The smallest sets of parts that distinguish class c from all others."""
        ...


@dataclass(frozen=True)
class Removals:
    """The scores of a model without parts and objects, which do not depend on an explanation; see `Reactions`."""

    subset_scores: Tensor
    object_drop: Tensor


@torch.no_grad()
def remove(
    subject: Subject, benchmark: PartBenchmark, split: str, batches: Iterable[dict[str, Tensor]], progress: bool = False
) -> Removals:
    """Scores inputs of a benchmark without each set of parts, and without each object.

    Args:
        subject: only its scores matter, so that one result serves all explanations of a model.
        benchmark: see `PartBenchmark`.
        split: of the benchmark.
        batches: "input" and "ids", the rows of the split.
        progress: show a progress bar.
    """
    scores, drops = [], []
    for batch in track(batches, "parts removed", shown=progress):
        x, rows = batch["input"].to(subject.model.device), batch["ids"].tolist()
        each = [subject.scores(drawn.to(x.device)).double() for drawn in benchmark.subsets(split, rows)]
        scores.append(torch.stack(each))
        drops.append(_object_drops(subject, x, benchmark, split, rows))
    return Removals(torch.cat(scores), torch.cat(drops))


@torch.no_grad()
def react(
    subject: Subject,
    benchmark: PartBenchmark,
    split: str,
    batches: Iterable[dict[str, Tensor]],
    progress: bool = False,
    removals: Removals | None = None,
    rivals: bool = True,
) -> Reactions:
    """Explains inputs of a benchmark, and records the scores of the model without each part and object.

    Args:
        subject: its units need a location in the input.
        benchmark: see `PartBenchmark`.
        split: of the benchmark.
        batches: "input", "target" and "ids", the rows of the split; iterated twice without `removals`.
        progress: show a progress bar.
        removals: of the same model and rows, if known.
        rivals: explain the two rival classes too; without them target sensitivity is undefined.

    Raises:
        ValueError: units without a location in the input.
    """
    if removals is None:
        removals = remove(subject, benchmark, split, batches, progress)
    pairs, collected = rivals_of(benchmark.class_parts), []
    if not rivals:
        pairs = torch.full_like(pairs, -1)
    for batch in track(batches, "parts explained", shown=progress):
        x, rows = batch["input"].to(subject.model.device), batch["ids"].tolist()
        case = Case(subject, x, batch["ids"])
        parts, objects = (mask.to(x.device) for mask in benchmark.masks(split, rows))
        pair = pairs[batch["target"]].to(x.device)
        named = [
            _shares(Case(subject, x, batch["ids"], pair[:, i].clamp_min(0)), parts)
            if rivals
            else parts.new_zeros(parts.shape[:2], dtype=torch.float64)
            for i in (0, 1)
        ]
        collected.append(
            {
                "label": batch["target"].to(x.device),
                "importance": _shares(case, parts),
                "object_importance": _shares(case, objects).masked_fill(~objects.flatten(2).any(2), torch.nan),
                "rivals": pair,
                "rival_importance": torch.stack(named, 1),
            }
        )
    joined = {name: torch.cat([one[name] for one in collected]) for name in collected[0]}
    return Reactions(subset_scores=removals.subset_scores, object_drop=removals.object_drop, **joined)


def rivals_of(class_parts: Tensor) -> Tensor:
    """(C, 2) for each class the first two classes that share exactly two parts with it, disjoint ones; -1 if none."""
    shared = class_parts[:, None] == class_parts  # (C, C, P)
    near = shared.sum(2) == 2
    found = torch.full((len(class_parts), 2), -1)
    for c in range(len(class_parts)):
        others = near[c].nonzero()[:, 0].tolist()
        pairs = ((a, b) for a in others for b in others if a < b and not bool((shared[c, a] & shared[c, b]).any()))
        if (pair := next(pairs, None)) is not None:
            found[c] = torch.tensor(pair)
    return found


def _shares(case: Case, masks: Tensor) -> Tensor:
    """(B, n) share of the positive evidence inside masks (B, n, *S), each slightly dilated."""
    wide = masks.float()
    if masks.ndim == 4 and masks.shape[1]:  # 5 pixels of 256, as published; at least 3
        reach = max(round(2 * masks.shape[-1] / 256), 1)
        wide = F.max_pool2d(wide, 2 * reach + 1, 1, reach)
    held = torch.einsum("bn,bpn->bp", case.evidence_map, wide.flatten(2))
    return (held / case.evidence_map.sum(1, keepdim=True).clamp_min(1e-12)).double()


def _object_drops(subject: Subject, x: Tensor, benchmark: PartBenchmark, split: str, rows: list[int]) -> Tensor:
    """(B, M) relative drop of the centred score without each object; NaN if the object is not visible."""
    objects = benchmark.masks(split, rows)[1]
    scores = subject.scores(x).double()
    target = scores.argmax(1)
    before = centred(scores, target)
    drops = torch.full(objects.shape[:2], torch.nan, dtype=torch.float64, device=x.device)
    for i in range(objects.shape[1]):
        visible = objects[:, i].flatten(1).any(1).nonzero()[:, 0].tolist()
        if visible:
            drawn = benchmark.interventions(split, [rows[j] for j in visible], [f"background {i + 1}"])
            z = centred(subject.scores(drawn.to(x.device)).double(), target[visible])
            drops[visible, i] = (before[visible] - z) / before[visible].abs().clamp_min(1e-12)
    return drops
