"""The FunnyBirds protocol: what parts an explanation names, against what happens when parts are really removed.

Hesse, Schaub-Meyer, Roth: "FunnyBirds", ICCV 2023, arXiv 2308.06248, section 4. For any world whose parts can be
removed exactly. How this differs from the official code:

- The threshold of what counts as important is chosen on validation rows; there, on the rows that are reported.
- Importance is the positive evidence alone, so its sum cannot be negative and make every part important.
- Drops are of the centred score, so that adding a constant to all scores changes nothing.
- In target sensitivity equal importances count half; there, as failures.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from zoo.metrics.faithfulness.base import spearman
from zoo.metrics.faithfulness.subject import Case, Subject, centred

THRESHOLDS = torch.linspace(0.01, 0.5, 80)
RELEVANT = 0.05  # a removal matters if it lowers the score by this share


class PartWorld(Protocol):
    """A data module whose inputs can be drawn again without parts; `zoo.data.PartBirds` is one."""

    class_parts: Tensor

    def subsets(self, split: str, rows: Sequence[int]) -> Iterator[Tensor]:
        """For each row (2^P, *shape): with every set of parts; set i has part p if bit p of i is set."""
        ...

    def masks(self, split: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(n, P, *S) and (n, M, *S): where parts and objects of the background are seen."""
        ...

    def interventions(self, split: str, rows: Sequence[int], remove: Sequence[str]) -> Tensor:
        """(n, *shape) without parts or objects."""
        ...

    def minimal_sufficient(self, c: int) -> list[tuple[int, ...]]:
        """The smallest sets of parts that tell class c from all others."""
        ...


@dataclass(frozen=True)
class Reactions:
    """What a model says and does, for B inputs with P parts and M objects in the background.

    Attributes:
        label: (B,) the true class.
        importance: (B, P) share of the positive evidence for the predicted class on each part.
        object_importance: (B, M) on each object; NaN where there is none.
        subset_scores: (B, 2^P, C) float64 with every set of parts, see `PartWorld.subsets`.
        object_drop: (B, M) by what share of it the centred score drops without each object; NaN where there is none.
        rivals: (B, 2) two classes that share two parts each with the true class, and none of these both; -1 if none.
        rival_importance: (B, 2, P) share of the positive evidence for each rival on each part.
    """

    label: Tensor
    importance: Tensor
    object_importance: Tensor
    subset_scores: Tensor
    object_drop: Tensor
    rivals: Tensor
    rival_importance: Tensor


def scores_at(told: Reactions, threshold: float, sufficient: Sequence[list[tuple[int, ...]]]) -> dict[str, Tensor]:
    """Each score per row at a threshold: (B,) float64, NaN where it is not defined.

        CSDC  the largest share of a minimal sufficient set of the class that is important; of rows predicted right
        PC    whether the prediction stays when all parts that are not important are removed
        DC    whether it changes when the important parts are removed
        D     1 - share of the parts and objects without effect that are important

    Args:
        told: what the model says and does.
        threshold: share of the positive evidence above which a part is important.
        sufficient: for each class its minimal sufficient sets of parts.
    """
    count = told.importance.shape[1]
    bits = 1 << torch.arange(count, device=told.importance.device)
    full = 2**count - 1
    important = told.importance > threshold
    predicted = told.subset_scores.argmax(2)
    whole = predicted[:, full]
    kept = (important * bits).sum(1)
    sets = [
        max(len(set(least) & named) / len(least) for least in sufficient[c]) if right else torch.nan
        for c, named, right in zip(
            told.label.tolist(), _members(important), (whole == told.label).tolist(), strict=True
        )
    ]
    irrelevant = torch.cat([part_drops(told) < RELEVANT, told.object_drop < RELEVANT], 1)
    named = torch.cat([important, told.object_importance > threshold], 1)
    return {
        "CSDC": torch.tensor(sets, dtype=torch.float64, device=important.device),
        "PC": (predicted.gather(1, kept[:, None])[:, 0] == whole).double(),
        "DC": (predicted.gather(1, (full - kept)[:, None])[:, 0] != whole).double(),
        "D": 1 - (irrelevant & named).sum(1).double() / irrelevant.sum(1),
    }


def part_drops(told: Reactions) -> Tensor:
    """(B, P) float64: by what share of it the centred score of the predicted class drops without each part."""
    full = told.subset_scores.shape[1] - 1
    target = told.subset_scores[:, full].argmax(1)
    z = centred(told.subset_scores, target[:, None].expand(told.subset_scores.shape[:2]))
    without = z[:, [full - (1 << p) for p in range(told.importance.shape[1])]]
    return (z[:, full, None] - without) / z[:, full, None].abs().clamp_min(1e-12)


def distances(told: Reactions) -> Tensor:
    """(B,) SD: (1 + Spearman's of importances and drops) / 2; 0.5 is chance."""
    return 0.5 + 0.5 * spearman(told.importance, part_drops(told))


def target_sensitivity(told: Reactions, class_parts: Tensor) -> Tensor:
    """(B,) TS: whether each rival's explanation names the parts it shares more than the other's does; 0.5 is chance.

    Of rows that have two rivals and whose model reacts so itself: without the parts that the true class shares with a
    rival, this rival's score drops more than the other's. NaN for all others.
    """
    rows, count = torch.arange(len(told.label)), class_parts.shape[1]
    full = 2**count - 1
    value, reacts = torch.zeros(len(rows), dtype=torch.float64), (told.rivals >= 0).all(1).cpu()
    first = told.rivals.clamp_min(0)
    shared = class_parts[first.cpu()] == class_parts[told.label.cpu()][:, None]  # (B, 2, P)
    without = full - (shared * (1 << torch.arange(count))).sum(2)
    importance, scores = told.rival_importance.cpu().double(), told.subset_scores.cpu()
    for own, other in ((0, 1), (1, 0)):
        drop = scores[rows, full] - scores[rows, without[:, own]]  # (B, C)
        reacts &= drop[rows, first[:, own].cpu()] > drop[rows, first[:, other].cpu()]
        named = (importance * shared[:, own, None]).sum(2)
        value += 0.5 * (named[:, own] > named[:, other]) + 0.25 * (named[:, own] == named[:, other])
    return value.masked_fill(~reacts, torch.nan)


def background_independence(told: Reactions) -> Tensor:
    """(B,) BI: the share of the objects in the background whose removal does not matter to the score."""
    there = ~told.object_drop.isnan()
    return ((told.object_drop < RELEVANT) & there).sum(1).double() / there.sum(1)


def protocol(
    told: Reactions, validation: Reactions, class_parts: Tensor, sufficient: Sequence[list[tuple[int, ...]]]
) -> dict[str, float]:
    """All scores, with the threshold that is best on validation rows.

    Returns:
        accuracy, BI, CSDC, PC, DC, D, SD, TS, and their summaries: completeness ((CSDC + PC + DC) / 3 + D) / 2,
        correctness SD, contrastivity TS, and "mean" of these three; "threshold".
    """
    grades = []
    for threshold in THRESHOLDS.tolist():
        found = {name: v.nanmean().item() for name, v in scores_at(validation, threshold, sufficient).items()}
        grades.append((found["CSDC"] + found["PC"] + found["DC"]) / 3 + found["D"])
    best = THRESHOLDS[int(torch.tensor(grades).nan_to_num(-torch.inf).argmax())].item()
    values = {name: v.nanmean().item() for name, v in scores_at(told, best, sufficient).items()}
    complete = ((values["CSDC"] + values["PC"] + values["DC"]) / 3 + values["D"]) / 2
    right = (told.subset_scores[:, -1].argmax(1) == told.label).double().mean().item()
    sd, ts = distances(told).nanmean().item(), target_sensitivity(told, class_parts).nanmean().item()
    extra = {"SD": sd, "TS": ts, "completeness": complete, "mean": (complete + sd + ts) / 3, "threshold": best}
    return {"accuracy": right, "BI": background_independence(told).nanmean().item(), **values, **extra}


def rivals_of(class_parts: Tensor) -> Tensor:
    """(C, 2) for each class the first two that share just two parts with it, and not the same ones; -1 if none."""
    alike = class_parts[:, None] == class_parts  # (C, C, P)
    near = alike.sum(2) == 2
    found = torch.full((len(class_parts), 2), -1)
    for c in range(len(class_parts)):
        others = near[c].nonzero()[:, 0].tolist()
        pairs = ((a, b) for a in others for b in others if a < b and not bool((alike[c, a] & alike[c, b]).any()))
        if (pair := next(pairs, None)) is not None:
            found[c] = torch.tensor(pair)
    return found


@torch.no_grad()
def react(
    subject: Subject, world: PartWorld, split: str, batches: Iterable[dict[str, Tensor]], progress: bool = False
) -> Reactions:
    """Watches a subject explain inputs of a world, and what it does when parts and objects are removed.

    Args:
        subject: what is measured; its units need a place in the input.
        world: see `PartWorld`.
        split: of the world.
        batches: "input", "target" and "ids", the rows of the split.
        progress: show a bar.

    Raises:
        ValueError: units without a place in the input.
    """
    pairs, collected = rivals_of(world.class_parts), []
    for batch in tqdm(batches, "parts removed", disable=not progress, leave=False):
        x, rows = batch["input"].to(subject.model.device), batch["ids"].tolist()
        case = Case(subject, x, batch["ids"])
        parts, objects = (mask.to(x.device) for mask in world.masks(split, rows))
        rivals = pairs[batch["target"]].to(x.device)
        collected.append(
            Reactions(
                label=batch["target"].to(x.device),
                importance=_shares(case, parts),
                object_importance=_shares(case, objects).masked_fill(~objects.flatten(2).any(2), torch.nan),
                subset_scores=torch.stack(
                    [subject.scores(drawn.to(x.device)).double() for drawn in world.subsets(split, rows)]
                ),
                object_drop=_object_drops(case, world, split, rows, objects),
                rivals=rivals,
                rival_importance=torch.stack(
                    [_shares(Case(subject, x, batch["ids"], rivals[:, i].clamp_min(0)), parts) for i in (0, 1)], 1
                ),
            )
        )
    return Reactions(**{f.name: torch.cat([getattr(one, f.name) for one in collected]) for f in fields(Reactions)})


def _shares(case: Case, masks: Tensor) -> Tensor:
    """(B, n) share of the positive evidence within masks (B, n, *S), each a little wider than what is seen."""
    wide = masks.float()
    if masks.ndim == 4 and masks.shape[1]:  # 5 pixels of 256, as published; at least 3
        reach = max(round(2 * masks.shape[-1] / 256), 1)
        wide = F.max_pool2d(wide, 2 * reach + 1, 1, reach)
    held = torch.einsum("bn,bpn->bp", case.evidence_map, wide.flatten(2))
    return (held / case.evidence_map.sum(1, keepdim=True).clamp_min(1e-12)).double()


def _object_drops(case: Case, world: PartWorld, split: str, rows: list[int], objects: Tensor) -> Tensor:
    """(B, M) by what share of it the centred score drops without each object; NaN where none is seen."""
    drops = torch.full(objects.shape[:2], torch.nan, dtype=torch.float64, device=case.x.device)
    for i in range(objects.shape[1]):
        seen = objects[:, i].flatten(1).any(1).nonzero()[:, 0].tolist()
        if seen:
            drawn = world.interventions(split, [rows[j] for j in seen], [f"background {i + 1}"])
            z = centred(case.subject.scores(drawn.to(case.x.device)).double(), case.target[seen])
            drops[seen, i] = (case.score[seen] - z) / case.score[seen].abs().clamp_min(1e-12)
    return drops


def _members(important: Tensor) -> list[set[int]]:
    return [{p for p, there in enumerate(row) if there} for row in important.tolist()]
