"""Laws of random masks, and draws from them through which gradients can pass."""

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.checks import check_above, check_at_least, check_choice

LAWS = ("bernoulli", "subset", "concretes")
ESTIMATORS = ("pathwise", "reinforce", "rebar")
BASELINES = ("none", "others", "network")


@dataclass(frozen=True)
class MaskOptions:
    """How masks are drawn in training, and how the selector learns through them. None: as the preset says."""

    law: Literal["bernoulli", "subset", "concretes"] | None = None
    """"bernoulli": each element by itself; "subset": `size` elements without replacement; "concretes": the maximum of
    `size` relaxed one-hot draws, which is soft (L2X)."""
    size: float | None = None
    """Elements to select, for the laws "subset" and "concretes"; below 1 the share of the elements."""
    estimator: Literal["pathwise", "reinforce", "rebar"] | None = None
    """Gradient of the selector: through a relaxed mask that is rounded ("pathwise", straight-through), by the score
    function ("reinforce"), or by the score function with relaxed masks as control variate ("rebar")."""
    baseline: Literal["none", "others", "network"] | None = None
    """What "reinforce" subtracts: nothing, the value without this mask ("others", as VIMCO), or the likelihood of a
    network on the complete input ("network", as INVASE)."""
    samples: int | None = None
    """Masks drawn for each input in training."""
    temperature: float | None = None
    """Of relaxed masks."""
    start: float | None = None
    """Chance in (0, 1) of an element to be selected before training. High: the predictor first learns on nearly
    complete inputs, which helps where single elements tell little, such as words. None: as the selector is initialised,
    about one half."""

    def over(self, preset: "MaskOptions") -> "MaskOptions":
        """These options, with those that are None taken from `preset`.

        Raises:
            ValueError: options that do not fit together.
        """
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        whole = replace(preset, **given)
        check_choice(LAWS, law=whole.law or "")
        check_choice(ESTIMATORS, estimator=whole.estimator or "")
        check_choice(BASELINES, baseline=whole.baseline or "")
        check_at_least(1, samples=whole.samples or 0)
        check_above(0, temperature=whole.temperature or 0.0, size=whole.size or 0.0)
        if whole.start is not None and not 0 < whole.start < 1:
            raise ValueError(f"start must be in (0, 1); got {whole.start}.")
        if whole.estimator == "rebar" and whole.law != "bernoulli":
            raise ValueError(f"estimator='rebar' is for the law 'bernoulli'; got law='{whole.law}'. Use 'pathwise'.")
        if whole.law == "concretes" and whole.estimator != "pathwise":
            raise ValueError(f"law='concretes' is soft, so its estimator is 'pathwise'; got '{whole.estimator}'.")
        if whole.baseline == "others" and whole.estimator == "reinforce" and (whole.samples or 0) < 2:
            raise ValueError("baseline='others' compares the masks of one input; give samples of at least 2.")
        return whole

    def count(self, elements: int) -> int:
        """Number of elements to select of `elements`, at least 1.

        Raises:
            ValueError: more than there are.
        """
        size = self.size or 0.0
        count = max(round(size * elements), 1) if size < 1 else round(size)
        if count > elements:
            raise ValueError(f"size must be at most the number of elements, {elements}; got {size}.")
        return count


@dataclass
class Draw:
    """Masks (B, S, L) of one draw.

    Attributes:
        mask: as the predictor gets it, differentiable where the estimator is pathwise.
        log_probability: (B, S), of each mask under the law; None for pathwise draws.
        relaxed: soft masks of the same noise, for REBAR.
        conditional: soft masks drawn anew given `mask`, for REBAR.
    """

    mask: Tensor
    log_probability: Tensor | None = None
    relaxed: Tensor | None = None
    conditional: Tensor | None = None


def draw(logits: Tensor, options: MaskOptions) -> Draw:
    """Draws masks (B, S, L) from logits (B, L); elements whose logit is -inf are never selected.

    Bernoulli: Jang et al., Maddison et al. (ICLR 2017); REBAR: Tucker et al. (NeurIPS 2017), equations 7 to 9; subsets:
    Gumbel top-k, relaxed as in Xie and Ermon (IJCAI 2019).
    """
    samples, temperature = options.samples or 1, options.temperature or 1.0
    wide = logits[:, None].expand(-1, samples, -1)
    if options.law == "bernoulli":
        return _bernoulli(wide, options.estimator or "pathwise", temperature)
    size = options.count(logits.shape[1])
    if options.law == "concretes":
        noisy = wide[..., None, :] + _gumbel(wide[..., None, :].expand(*wide.shape[:2], size, -1))
        return Draw((noisy / temperature).softmax(-1).amax(-2))
    noisy = wide + _gumbel(wide)
    hard = largest(noisy, size)
    if options.estimator == "reinforce":
        return Draw(hard, _ordered_log_probability(wide, noisy, size))
    return Draw(_straight_through(hard, _relaxed_subset(noisy, size, temperature)))


def largest(scores: Tensor, size: int) -> Tensor:
    """Masks in {0, 1} of the `size` largest finite scores (..., L); of equal ones the first."""
    order = scores.argsort(dim=-1, descending=True, stable=True)[..., :size]
    return torch.zeros_like(scores).scatter(-1, order, 1.0) * scores.isfinite()


def _bernoulli(logits: Tensor, estimator: str, temperature: float) -> Draw:
    u = _uniform(logits)
    noisy = logits + u.log() - (-u).log1p()
    hard = (noisy > 0).to(logits.dtype)
    if estimator == "pathwise":
        return Draw(_straight_through(hard, (noisy / temperature).sigmoid()))
    log_probability = -_masked_bce(logits, hard)
    if estimator == "reinforce":
        return Draw(hard, log_probability)
    # Noise v of the same masks: u is uniform on (0, 1 - p) where z = 0 and on (1 - p, 1) where z = 1.
    p, v = logits.sigmoid(), _uniform(logits)
    again = torch.where(hard > 0, 1 - p + v * p, v * (1 - p)).clamp(1e-6, 1 - 1e-6)
    conditional = ((logits + again.log() - (-again).log1p()) / temperature).sigmoid()
    return Draw(hard, log_probability, (noisy / temperature).sigmoid(), conditional)


def _masked_bce(logits: Tensor, mask: Tensor) -> Tensor:
    """-log P(mask) (B, S) of independent elements; those that cannot be selected count 0."""
    known = logits.isfinite()
    each = F.binary_cross_entropy_with_logits(logits.where(known, 0), mask.detach(), reduction="none")
    return (each * known).sum(-1)


def _relaxed_subset(noisy: Tensor, size: int, temperature: float) -> Tensor:
    """Sum of `size` rounds of a softmax, each of which leaves out what the earlier ones took."""
    keys, total, taken = noisy, torch.zeros_like(noisy), torch.zeros_like(noisy)
    for _ in range(size):
        keys = keys + (1 - taken).clamp_min(1e-20).log()
        taken = (keys / temperature).softmax(-1)
        total = total + taken
    return total


def _ordered_log_probability(logits: Tensor, noisy: Tensor, size: int) -> Tensor:
    """Log probability (B, S) of drawing the elements in this order, without replacement (Plackett and Luce)."""
    order = noisy.detach().argsort(dim=-1, descending=True)
    sorted_logits = logits.gather(-1, order)
    rest = sorted_logits.flip(-1).logcumsumexp(-1).flip(-1)
    terms = (sorted_logits - rest)[..., :size]
    return terms.where(terms.isfinite(), 0).sum(-1)


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    return hard + (soft - soft.detach())  # in this order, the values are exactly those of the mask


def _uniform(like: Tensor) -> Tensor:
    return torch.rand(like.shape, device=like.device, dtype=like.dtype).clamp(1e-6, 1 - 1e-6)


def _gumbel(like: Tensor) -> Tensor:
    return -_uniform(like).log().neg().log()
