"""Imputers: what stands in for the elements that are removed. None is without an argument, so use several.

Each is called with inputs (B, n, *shape) of which n differ in their mask, masks (B, n, N) bool, and the ids (B,) of the
samples, and returns the inputs with the masked elements replaced. Random ones follow from (seed, id).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain
from zoo.metrics.faithfulness.elements import TOKENS, over_input
from zoo.metrics.faithfulness.streams import normal_like, uniform, whole
from zoo.utils.errors import did_you_mean


class Imputer(Protocol):
    """What stands in for removed elements."""

    name: str

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Inputs (B, n, *shape) for x (B, *shape) and masks (B, n, N)."""
        ...


class Mean:
    """The mean of each channel of images, of each feature or each variable of others, over reference inputs."""

    name = "mean"

    def __init__(self, reference: Tensor, domain: Domain) -> None:
        over = (0, 2, 3) if domain.modality == "image" else (0, 1) if domain.modality == "series" else (0,)
        self.domain, self.value = domain, reference.mean(over, keepdim=True)[0]

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        return torch.where(over_input(mask, self.domain), self.value.to(x), x[:, None])


class Blur:
    """The image under a Gaussian blur, whose sigma is a share of the shorter side."""

    name = "blur"

    def __init__(self, domain: Domain, share: float = 0.05) -> None:
        self.domain, sigma = domain, share * min(domain.shape[-2:])
        reach = max(int(3 * sigma + 0.5), 1)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
        self.reach, self.kernel = reach, kernel / kernel.sum()

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        kernel, smooth = self.kernel.to(x), x
        for axis in (2, 3):
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            padding = [self.reach, self.reach, 0, 0] if axis == 3 else [0, 0, self.reach, self.reach]
            mode = "reflect" if self.reach < x.shape[axis] else "replicate"
            padded = F.pad(smooth, padding, mode=mode)
            smooth = F.conv2d(padded, kernel.view(shape).expand(x.shape[1], 1, *shape[2:]), groups=x.shape[1])
        return torch.where(over_input(mask, self.domain), smooth[:, None], x[:, None])


class NoisyLinear:
    """Each removed pixel is a weighted mean of its neighbours, jointly solved, plus Gaussian noise.

    Weights are 1/6 for the four nearest neighbours and 1/12 for the diagonal ones; removed neighbours count with what
    what they are imputed by. Rong et al.: "A Consistent and Efficient Evaluation Strategy for Attribution Methods"
    (ROAD), ICML 2022, arXiv 2202.00449, section 4. The linear system is solved by sweeps over all images at once, from
    coarse to fine, instead of one sparse solve an image; what is left of it, a hundredth of the contrast on average,
    is smaller than the imputer's own arbitrariness.

    Args:
        domain: of the images.
        noise: standard deviation, in units of the input.
        seed: of the noise.
        sweeps: at each of the scales.
    """

    name = "noisy linear"

    def __init__(self, domain: Domain, noise: float = 0.01, seed: int = 0, sweeps: int = 4) -> None:
        self.domain, self.noise, self.seed, self.sweeps = domain, noise, seed, sweeps

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        hole = over_input(mask, self.domain).to(x)
        filled = self.solve(x[:, None].expand(*mask.shape[:2], *x.shape[1:]).flatten(0, 1), hole.flatten(0, 1))
        noise = self.noise * normal_like(x, ids, self.seed, "noisy linear")
        return torch.where(hole.bool(), filled.unflatten(0, mask.shape[:2]) + noise[:, None], x[:, None])

    def solve(self, x: Tensor, hole: Tensor) -> Tensor:
        """Images (M, C, H, W) with holes (M, 1, H, W) in {0, 1} filled by the means of their neighbours."""
        known = 1 - hole
        if min(x.shape[2:]) >= 4:  # a start from half the size: means over what is known of each 2 x 2 pixels
            weight = F.avg_pool2d(known, 2, ceil_mode=True)
            coarse = F.avg_pool2d(x * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
            coarse = self.solve(coarse, (weight == 0).to(x))
            start = F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)
        else:
            start = (x * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
        base, inside = x * known, hole / _around(torch.ones_like(hole[:1]))  # at the border fewer neighbours count
        filled = base + start * hole
        for _ in range(self.sweeps):
            filled = torch.addcmul(base, inside, _around(filled))
        return filled


def _around(x: Tensor) -> Tensor:
    """Sums of the eight neighbours by their weights, 0 beyond the border: (1, 2, 1) along each axis less the middle."""
    wide = F.pad(x, (1, 1, 1, 1))
    rows = wide[..., :-2] + wide[..., 2:] + 2 * wide[..., 1:-1]
    return (rows[..., :-2, :] + rows[..., 2:, :] + 2 * rows[..., 1:-1, :] - 4 * x) / 12


class Marginal:
    """The same elements of a reference input drawn at random, one for each mask."""

    name = "marginal"

    def __init__(self, reference: Tensor, domain: Domain, seed: int = 0) -> None:
        self.reference, self.domain, self.seed = reference, domain, seed

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        rows = whole(ids, mask.shape[1], len(self.reference), self.seed, "marginal")
        drawn = self.reference[rows.to(self.reference.device)].to(x)
        return torch.where(over_input(mask, self.domain), drawn, x[:, None])


class ConditionalGaussian:
    """A draw from the normal distribution of the removed elements given the others, fitted on reference inputs.

    Solves for each mask a system of as many equations as there are elements, so it is for tables and short series.

    Args:
        reference: (M, *shape).
        domain: of the inputs.
        seed: of the draws.
        ridge: added to the variances, as a share of their mean.

    Raises:
        ValueError: more than `most` elements.
    """

    name = "conditional Gaussian"
    most = 512

    def __init__(self, reference: Tensor, domain: Domain, seed: int = 0, ridge: float = 1e-3) -> None:
        flat = reference.flatten(1).double()
        if flat.shape[1] > self.most:
            raise ValueError(
                f"the conditional Gaussian imputer is for at most {self.most} elements; these inputs have "
                f"{flat.shape[1]}. Use another imputer."
            )
        self.domain, self.seed, self.mean = domain, seed, flat.mean(0)
        covariance = flat.T.cov() if flat.shape[1] > 1 else flat.var(0)[:, None]
        self.covariance = covariance + ridge * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        flat, out = x.flatten(1).double(), mask.double()
        covariance, mean = self.covariance.to(flat), self.mean.to(flat)
        # A draw of everything, corrected by what the kept elements differ from it: Matheron's rule.
        noise = normal_like(flat[:, None].expand(mask.shape), ids, self.seed, "conditional")
        drawn = mean + noise @ torch.linalg.cholesky(covariance).T
        kept = 1 - out
        known = kept[..., None] * covariance * kept[..., None, :] + torch.diag_embed(out)
        miss = kept * (flat[:, None] - drawn)
        filled = drawn + torch.linalg.solve(known, miss) @ covariance
        return torch.where(mask, filled, flat[:, None]).unflatten(2, x.shape[1:]).to(x.dtype)


class MaskToken:
    """The token for words that are not known, or any other number of a token."""

    name = "mask token"

    def __init__(self, domain: Domain, token: int = 1) -> None:
        self.domain, self.token = domain, token

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        return torch.where(mask, self.token, x[:, None])


class CorpusTokens:
    """Tokens of the reference texts, each drawn at random by how often it is there."""

    name = "tokens of the corpus"

    def __init__(self, reference: Tensor, domain: Domain, seed: int = 0) -> None:
        self.tokens, self.domain, self.seed = reference[reference != 0], domain, seed

    def __call__(self, x: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        place = uniform(ids, mask.shape[1] * mask.shape[2], self.seed, "corpus").view(mask.shape)
        return torch.where(mask, self.tokens.to(x.device)[(place * len(self.tokens)).long()], x[:, None])


NAMES = {
    "image": ("mean", "blur", "noisy linear"),
    "table": ("marginal", "conditional Gaussian", "mean"),
    "series": ("marginal", "conditional Gaussian", "mean"),
    "text": ("mask token", "tokens of the corpus"),
    "code": ("tokens of the corpus",),  # code has no token for the unknown
}


def imputers_for(domain: Domain, reference: Tensor, names: Sequence[str] = (), seed: int = 0) -> list[Imputer]:
    """The imputers that suit a modality, by default all of them.

    Args:
        domain: of the inputs.
        reference: (M, *shape) training inputs: where means, draws and covariances come from.
        names: of those wanted.
        seed: of the random ones.

    Raises:
        ValueError: a name that does not suit the modality.
    """
    suited = NAMES[domain.modality]
    for name in names:
        if name not in suited:
            raise ValueError(
                f"no imputer '{name}' for inputs of modality {domain.modality}; {did_you_mean(name, suited)}"
            )
    small = domain.modality in TOKENS or reference[0].numel() <= ConditionalGaussian.most
    wanted = names or [name for name in suited if small or name != "conditional Gaussian"]
    makers = {
        "mean": lambda: Mean(reference, domain),
        "blur": lambda: Blur(domain),
        "noisy linear": lambda: NoisyLinear(domain, seed=seed),
        "marginal": lambda: Marginal(reference, domain, seed),
        "conditional Gaussian": lambda: ConditionalGaussian(reference, domain, seed),
        "mask token": lambda: MaskToken(domain),
        "tokens of the corpus": lambda: CorpusTokens(reference, domain, seed),
    }
    return [makers[name]() for name in wanted]
