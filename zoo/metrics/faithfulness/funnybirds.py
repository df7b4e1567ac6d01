"""The FunnyBirds protocol: the parts that an explanation names, compared with the effects of removing parts.

Hesse, Schaub-Meyer, Roth: "FunnyBirds", ICCV 2023, arXiv 2308.06248, section 4. Works with any synthetic benchmark
whose parts can be removed exactly. Differs from the published code:

- The importance threshold is chosen on validation rows; there, on the rows that are reported.
- Importance is positive evidence only, so its sum cannot be negative and make every part important.
- Drops are of the centred score, so adding a constant to all scores has no effect.
- In target sensitivity ties count one half; there, as failures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import spearman
from zoo.metrics.faithfulness.streams import integers
from zoo.metrics.faithfulness.subject import centred

THRESHOLDS = torch.linspace(0.01, 0.5, 80)
NAMES = ("accuracy", "BI", "CSDC", "PC", "DC", "D", "SD", "TS", "completeness", "mean")
RELEVANT = 0.05  # a removal matters if it lowers the score by this share


@dataclass(frozen=True)
class Reactions:
    """The explanations and the scores of a model on B inputs with P parts and M objects in the background.

    Attributes:
        label: (B,) the true class.
        importance: (B, P) share of the positive evidence for the predicted class on each part.
        object_importance: (B, M) the same on each object; NaN if the object is absent.
        subset_scores: (B, 2^P, C) float64 scores with every set of parts, see `PartBenchmark.subsets`.
        object_drop: (B, M) relative drop of the centred score without each object; NaN if the object is absent.
        rivals: (B, 2) two classes, each of which shares two other parts with the true class; -1 if there are none.
        rival_importance: (B, 2, P) share of the positive evidence for each rival on each part.
    """

    label: Tensor
    importance: Tensor
    object_importance: Tensor
    subset_scores: Tensor
    object_drop: Tensor
    rivals: Tensor
    rival_importance: Tensor


def scores_at(reactions: Reactions, threshold: float, sufficient: Sequence[list[tuple[int, ...]]]) -> dict[str, Tensor]:
    """The scores of each row at a threshold, (B,) float64; NaN if undefined.

        CSDC  the largest share of a minimal sufficient set of the class that is important, for correct predictions
        PC    whether the prediction stays if all unimportant parts are removed
        DC    whether it changes if the important parts are removed
        D     1 - share of the parts and objects without effect that are important

    Args:
        reactions: of the model, see `react`.
        threshold: share of the positive evidence above which a part is important.
        sufficient: the minimal sufficient sets of parts of each class.
    """
    count = reactions.importance.shape[1]
    bits = 1 << torch.arange(count, device=reactions.importance.device)
    full = 2**count - 1
    important = reactions.importance > threshold
    predicted = reactions.subset_scores.argmax(2)
    full_prediction = predicted[:, full]
    kept = (important * bits).sum(1)
    sets = [
        max(len(set(least) & named) / len(least) for least in sufficient[c]) if right else torch.nan
        for c, named, right in zip(
            reactions.label.tolist(), _members(important), (full_prediction == reactions.label).tolist(), strict=True
        )
    ]
    irrelevant = torch.cat([part_drops(reactions) < RELEVANT, reactions.object_drop < RELEVANT], 1)
    named = torch.cat([important, reactions.object_importance > threshold], 1)
    return {
        "CSDC": torch.tensor(sets, dtype=torch.float64, device=important.device),
        "PC": (predicted.gather(1, kept[:, None])[:, 0] == full_prediction).double(),
        "DC": (predicted.gather(1, (full - kept)[:, None])[:, 0] != full_prediction).double(),
        "D": 1 - (irrelevant & named).sum(1).double() / irrelevant.sum(1),
    }


def part_drops(reactions: Reactions) -> Tensor:
    """(B, P) float64 relative drop of the centred score of the predicted class without each part."""
    full = reactions.subset_scores.shape[1] - 1
    target = reactions.subset_scores[:, full].argmax(1)
    z = centred(reactions.subset_scores, target[:, None].expand(reactions.subset_scores.shape[:2]))
    without = z[:, [full - (1 << p) for p in range(reactions.importance.shape[1])]]
    return (z[:, full, None] - without) / z[:, full, None].abs().clamp_min(1e-12)


def distances(reactions: Reactions) -> Tensor:
    """(B,) SD: (1 + rank correlation of importances and drops) / 2; 0.5 is chance."""
    return 0.5 + 0.5 * spearman(reactions.importance, part_drops(reactions))


def target_sensitivity(reactions: Reactions, class_parts: Tensor) -> Tensor:
    """(B,) TS: whether the explanation of each rival names its shared parts more than that of the other rival does.

    0.5 is chance. NaN for rows without two rivals, and for rows where the model itself does not behave so: without the
    parts that the true class shares with a rival, the score of this rival must drop more than that of the other.
    """
    rows, count = torch.arange(len(reactions.label)), class_parts.shape[1]
    full = 2**count - 1
    value, reacts = torch.zeros(len(rows), dtype=torch.float64), (reactions.rivals >= 0).all(1).cpu()
    first = reactions.rivals.clamp_min(0)
    shared = class_parts[first.cpu()] == class_parts[reactions.label.cpu()][:, None]  # (B, 2, P)
    without = full - (shared * (1 << torch.arange(count))).sum(2)
    importance, scores = reactions.rival_importance.cpu().double(), reactions.subset_scores.cpu()
    for own, other in ((0, 1), (1, 0)):
        drop = scores[rows, full] - scores[rows, without[:, own]]  # (B, C)
        reacts &= drop[rows, first[:, own].cpu()] > drop[rows, first[:, other].cpu()]
        named = (importance * shared[:, own, None]).sum(2)
        value += 0.5 * (named[:, own] > named[:, other]) + 0.25 * (named[:, own] == named[:, other])
    return value.masked_fill(~reacts, torch.nan)


def background_independence(reactions: Reactions) -> Tensor:
    """(B,) BI: the share of background objects whose removal does not affect the score."""
    present = ~reactions.object_drop.isnan()
    return ((reactions.object_drop < RELEVANT) & present).sum(1).double() / present.sum(1)


def protocol(
    reactions: Reactions, validation: Reactions, class_parts: Tensor, sufficient: Sequence[list[tuple[int, ...]]]
) -> dict[str, float]:
    """All scores at the threshold that is best on validation rows.

    Returns:
        "accuracy", "BI", "CSDC", "PC", "DC", "D", "SD", "TS", "completeness" = ((CSDC + PC + DC) / 3 + D) / 2, "mean"
        of completeness, SD and TS, and "threshold".
    """
    best = best_threshold(validation, sufficient)
    values = summarised(rows_at(reactions, best, class_parts, sufficient))
    return dict(zip(NAMES, values.tolist(), strict=True)) | {"threshold": best}


def protocol_intervals(
    reactions: Reactions,
    validation: Reactions,
    class_parts: Tensor,
    sufficient: Sequence[list[tuple[int, ...]]],
    draws: int = 1000,
) -> dict[str, tuple[float, float, float]]:
    """The numbers of `protocol` with their 95 % intervals, by the percentile bootstrap over the rows of `reactions`."""
    best = best_threshold(validation, sufficient)
    rows = rows_at(reactions, best, class_parts, sufficient)
    drawn = integers(torch.arange(draws), len(rows), len(rows), 0, "bootstrap")
    each = summarised(rows[drawn])
    ends = each.nanquantile(torch.tensor([0.025, 0.975], dtype=each.dtype), dim=0)
    found = torch.cat([summarised(rows)[None], ends]).T.tolist()
    values = {name: (value, low, high) for name, (value, low, high) in zip(NAMES, found, strict=True)}
    return values | {"threshold": (best, best, best)}


def best_threshold(validation: Reactions, sufficient: Sequence[list[tuple[int, ...]]]) -> float:
    """The threshold of the highest completeness."""
    grades = []
    for threshold in THRESHOLDS.tolist():
        found = {name: v.nanmean().item() for name, v in scores_at(validation, threshold, sufficient).items()}
        grades.append((found["CSDC"] + found["PC"] + found["DC"]) / 3 + found["D"])
    return THRESHOLDS[int(torch.tensor(grades).nan_to_num(-torch.inf).argmax())].item()


def rows_at(
    reactions: Reactions, threshold: float, class_parts: Tensor, sufficient: Sequence[list[tuple[int, ...]]]
) -> Tensor:
    """(B, 8) float64 the values of each row: the first eight of `NAMES`."""
    columns = [
        (reactions.subset_scores[:, -1].argmax(1) == reactions.label).double(),
        background_independence(reactions),
        *scores_at(reactions, threshold, sufficient).values(),
        distances(reactions),
        target_sensitivity(reactions, class_parts),
    ]
    return torch.stack([column.double().cpu() for column in columns], 1)


def summarised(rows: Tensor) -> Tensor:
    """(..., 10) the means of rows (..., B, 8), completeness, and the mean of completeness, SD and TS."""
    means = rows.nanmean(-2)
    parts = dict(zip(NAMES, means.unbind(-1), strict=False))
    complete = ((parts["CSDC"] + parts["PC"] + parts["DC"]) / 3 + parts["D"]) / 2
    return torch.cat([means, torch.stack([complete, (complete + parts["SD"] + parts["TS"]) / 3], -1)], -1)


def _members(important: Tensor) -> list[set[int]]:
    return [{p for p, there in enumerate(row) if there} for row in important.tolist()]
