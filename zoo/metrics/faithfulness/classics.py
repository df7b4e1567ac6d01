"""Classic metrics of explanations under their usual names, without the pitfalls of common implementations.

The metrics M1 to M17 answer most of these questions better; these are provided for comparison with the literature.
Functions of maps take values (B, N) over the elements of the input; functions of a `Case` also evaluate the model.
"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.deletion import order, removed
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.streams import normal, uniform
from zoo.metrics.faithfulness.subject import Case

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)


def deletion_insertion(case: Case, imputer: Imputer, steps: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(B,) areas under the probability of the target as elements are removed, or inserted into the blank input.

    Petsiuk, Das, Saenko: "RISE", BMVC 2018, arXiv 1806.07421, section 4.3. The most relevant elements come first, and
    the axis is the share of elements, so areas lie in [0, 1]; implementations that sum over steps of length 1 depend on
    the number of steps. Lower is better for deletion, higher for insertion. Both depend strongly on the imputer; the
    difference to the reverse order (M3) does not.
    """
    place = _most_relevant_first(case, seed)
    masks = removed(place, case.present, steps, last=False)
    start = case.explanation.scores.double().softmax(1).gather(1, case.target[:, None])
    blank = case.subject.scores(case.blank).double().softmax(1).expand(len(case), -1).gather(1, case.target[:, None])
    curves = []
    for first, scores in ((start, case.scores_without(masks, imputer)), (blank, case.scores_only(masks))):
        values = torch.cat([first, _probability(scores, case.target)], 1)
        curves.append(torch.trapezoid(values, dx=1 / steps, dim=1))
    return curves[0], curves[1]


def comprehensiveness_sufficiency(
    case: Case, imputer: Imputer, bins: tuple[float, ...] = BINS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """(B,) drops of the target's probability without the most relevant elements, and with only these (AOPC).

    DeYoung et al.: "ERASER", ACL 2020, arXiv 1911.03429, section 4.2: means over the most relevant 1, 5, 10, 20 and
    50 % of the elements, at least one. Higher is better for comprehensiveness, lower for sufficiency, which may be
    negative.
    """
    place, count = _most_relevant_first(case, seed), case.present.sum(1, keepdim=True)
    sizes = (torch.tensor(bins, device=place.device) * count).round().clamp_min(1)
    chosen = (place[:, None] < sizes[..., None]) & case.present[:, None]
    full = case.explanation.scores.double().softmax(1).gather(1, case.target[:, None])
    drops = [
        (full - _probability(case.scores_without(masks, imputer), case.target)).mean(1)
        for masks in (chosen, ~chosen & case.present[:, None])
    ]
    return drops[0], drops[1]


def faithfulness_correlation(
    case: Case, imputer: Imputer, subsets: int = 100, share: float = 0.2, seed: int = 0
) -> Tensor:
    """(B,) Pearson correlation of the sum of attributions in random subsets with the drop of the score without them.

    Bhatt, Weller, Moura: "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020, arXiv 2005.00631,
    section 3: over subsets of each sample, not over samples or growing prefixes. NaN if either is constant.
    """
    keys = uniform(case.ids, subsets * case.present.shape[1], seed, "subsets").view(len(case), subsets, -1)
    sizes = (share * case.present.sum(1)).round().clamp_min(1)
    chosen = keys.masked_fill(~case.present[:, None], 2).argsort(2).argsort(2) < sizes[:, None, None]
    sums = torch.einsum("bnk,bk->bn", chosen.double(), case.attribution.double())
    drops = case.drops(case.scores_without(chosen, imputer))
    a, b = sums - sums.mean(1, keepdim=True), drops - drops.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def infidelity(predicted: Tensor, measured: Tensor, rescale: bool = True) -> Tensor:
    """(B,) mean squared difference of predicted and measured effects of perturbations on the score; 0 is ideal.

    Yeh et al.: "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, arXiv 1901.09392, section 2. The
    raw form depends on the scale of the attributions; with `rescale` they are multiplied by the best factor.

    Args:
        predicted: (B, n) I · φ, the change that attributions φ predict for perturbations I.
        measured: (B, n) f(x) - f(x - I) for each perturbation.
        rescale: by E[predicted · measured] / E[predicted²].
    """
    if rescale:
        factor = (predicted * measured).sum(1) / predicted.square().sum(1).clamp_min(1e-300)
        predicted = predicted * factor[:, None]
    return (predicted - measured).square().mean(1)


@torch.no_grad()
def max_sensitivity(case: Case, radius: float = 0.02, draws: int = 10, seed: int = 0) -> Tensor:
    """(B,) the largest relative change of the attributions under noise uniform in [-radius, radius]; lower is better.

    Yeh et al., 2019, section 3. A constant explanation is perfect, so read this metric beside contrastivity (M8). The
    predicted class of the original input is explained throughout. NaN if all attributions are 0.
    """
    size, worst = case.attribution.norm(dim=1), torch.zeros(len(case), device=case.x.device)
    for draw in range(draws):
        noise = uniform(case.ids, case.x[0].numel(), seed, f"sensitivity {draw}").view_as(case.x)
        moved = case.x + radius * (2 * noise - 1).to(case.x)
        other = Case(case.subject, moved, case.ids, case.target).attribution
        worst = worst.maximum((other - case.attribution).norm(dim=1))
    return torch.where(size > 0, worst / size, torch.nan)


def pointing_game(values: Tensor, relevant: Tensor) -> Tensor:
    """(B,) 1 if the highest of values (B, N) is relevant (B, N) bool; with ties, the share of them that is.

    Zhang et al.: "Top-down Neural Attention by Excitation Backprop", ECCV 2016. Chance is the share of relevant
    elements.
    """
    top = values == values.amax(1, keepdim=True)
    return (top & relevant).sum(1).double() / top.sum(1)


def relevance_mass(values: Tensor, relevant: Tensor) -> Tensor:
    """(B,) the share of the positive values on relevant elements; negative values are set to 0.

    Arras, Osman, Samek: "CLEVR-XAI", Information Fusion 2022, arXiv 2003.07258, section 3.2. Chance is the share of
    relevant elements, which M11 subtracts.
    """
    positive = values.double().clamp_min(0)
    return (positive * relevant).sum(1) / positive.sum(1)


def relevance_rank(values: Tensor, relevant: Tensor) -> Tensor:
    """(B,) the share of relevant elements among the |relevant| highest values (Arras et al., as above)."""
    return top_intersection(values, relevant, relevant.sum(1))


def top_intersection(values: Tensor, relevant: Tensor, k: Tensor | int) -> Tensor:
    """(B,) the share of relevant elements among the k highest values; ties go to the lowest index."""
    k = torch.as_tensor(k, device=values.device).expand(len(values))
    rank = values.argsort(dim=1, descending=True, stable=True).argsort(1)
    return ((rank < k[:, None]) & relevant).sum(1).double() / k


def threshold_areas(values: Tensor, relevant: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) AUP and AUR: areas under precision and under recall as functions of the threshold on values in [0, 1].

    Queen et al. (TimeX), NeurIPS 2023, section 5. They depend on the calibration of the values: a perfect binary mask
    of two in five elements has an AUP of 0.7. The thresholds are the values themselves, as in scikit-learn >= 1.3,
    scaled to [0, 1] in each sample. NaN for constant values. Prefer the average precision of M11.
    """
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    ordered, rank = ((values - low) / (high - low)).double().nan_to_num(0.0).sort(dim=1)
    hits = relevant.gather(1, rank).double()
    first = torch.searchsorted(ordered.contiguous(), ordered.contiguous())  # the first of equal values
    kept = hits.flip(1).cumsum(1).flip(1).gather(1, first)  # relevant elements above each threshold
    chosen = values.shape[1] - first
    shares = (kept / chosen, kept / hits.sum(1, keepdim=True))
    aup, aur = (torch.trapezoid(share, ordered, dim=1).masked_fill((low == high)[:, 0], torch.nan) for share in shares)
    return aup, aur


def _most_relevant_first(case: Case, seed: int) -> Tensor:
    return order(case.attribution, case.present, normal(case.ids, case.present.shape[1], seed, "ties"))


def _probability(scores: Tensor, target: Tensor) -> Tensor:
    """(B, n) probability of the target from scores (B, n, C)."""
    return scores.softmax(2).gather(2, target[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
