"""Runs a model and its explanations on a synthetic benchmark whose parts can be removed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
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


@torch.no_grad()
def react(
    subject: Subject, benchmark: PartBenchmark, split: str, batches: Iterable[dict[str, Tensor]], progress: bool = False
) -> Reactions:
    """Explains inputs of a benchmark, and records the scores of the model without each part and object.

    Args:
        subject: its units need a location in the input.
        benchmark: see `PartBenchmark`.
        split: of the benchmark.
        batches: "input", "target" and "ids", the rows of the split.
        progress: show a progress bar.

    Raises:
        ValueError: units without a location in the input.
    """
    pairs, collected = rivals_of(benchmark.class_parts), []
    for batch in track(batches, "parts removed", shown=progress):
        x, rows = batch["input"].to(subject.model.device), batch["ids"].tolist()
        case = Case(subject, x, batch["ids"])
        parts, objects = (mask.to(x.device) for mask in benchmark.masks(split, rows))
        rivals = pairs[batch["target"]].to(x.device)
        subset_scores = [subject.scores(drawn.to(x.device)).double() for drawn in benchmark.subsets(split, rows)]
        rival_cases = [Case(subject, x, batch["ids"], rivals[:, i].clamp_min(0)) for i in (0, 1)]
        collected.append(
            Reactions(
                label=batch["target"].to(x.device),
                importance=_shares(case, parts),
                object_importance=_shares(case, objects).masked_fill(~objects.flatten(2).any(2), torch.nan),
                subset_scores=torch.stack(subset_scores),
                object_drop=_object_drops(case, benchmark, split, rows, objects),
                rivals=rivals,
                rival_importance=torch.stack([_shares(rival, parts) for rival in rival_cases], 1),
            )
        )
    return Reactions(**{f.name: torch.cat([getattr(one, f.name) for one in collected]) for f in fields(Reactions)})


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


def _object_drops(case: Case, benchmark: PartBenchmark, split: str, rows: list[int], objects: Tensor) -> Tensor:
    """(B, M) relative drop of the centred score without each object; NaN if the object is not visible."""
    drops = torch.full(objects.shape[:2], torch.nan, dtype=torch.float64, device=case.x.device)
    for i in range(objects.shape[1]):
        visible = objects[:, i].flatten(1).any(1).nonzero()[:, 0].tolist()
        if visible:
            drawn = benchmark.interventions(split, [rows[j] for j in visible], [f"background {i + 1}"])
            z = centred(case.subject.scores(drawn.to(case.x.device)).double(), case.target[visible])
            drops[visible, i] = (case.score[visible] - z) / case.score[visible].abs().clamp_min(1e-12)
    return drops
