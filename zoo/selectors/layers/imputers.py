"""Replacements for what a model does not read, several for each mask.

An imputer is fitted on training inputs. In training each mask gets new draws; otherwise the draws are the same for
every input, so that answers are deterministic and do not depend on the batch.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.domain import Domain, TextDomain
from zoo.domain.text import PAD
from zoo.training.projection_set import ProjectionSet
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import ContractError

KINDS = ("constant", "marginal", "gaussian", "mixture")
LARGEST = 256  # numbers of an input whose covariance is inverted for each mask


@dataclass(frozen=True)
class ImputerOptions:
    """What takes the place of elements that are not selected. None: as the preset says."""

    kind: Literal["constant", "marginal", "gaussian", "mixture"] | None = None
    """"constant": the mean of the training set, as inputs are normalised, and padding in texts; "marginal": the same
    places of random training inputs, or random training words; "gaussian": the normal distribution given what is
    selected; "mixture": a mixture of independent normal distributions, likewise."""
    samples: int | None = None
    """Replacements for each mask, over which the prediction is averaged."""
    reference: int | None = None
    """Training inputs that are kept ("marginal") or fitted on."""
    components: int | None = None
    """Of the mixture."""

    def over(self, preset: "ImputerOptions") -> "ImputerOptions":
        """These options, with those that are None taken from `preset`.

        Raises:
            ValueError: an unknown kind, or a number below 1.
        """
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        whole = replace(preset, **given)
        check_choice(KINDS, kind=whole.kind or "")
        check_at_least(1, samples=whole.samples or 0, reference=whole.reference or 0, components=whole.components or 0)
        return whole


class Imputer(nn.Module):
    """Replacements that depend on nothing: zeros, or padding in texts."""

    def __init__(self, domain: Domain, options: ImputerOptions) -> None:
        super().__init__()
        self.domain, self.samples, self.shape = domain, options.samples or 1, tuple(domain.shape)
        self.size, self.reference = math.prod(self.shape), options.reference or 1

    def fit(self, projection_set: ProjectionSet) -> None:
        """Reads the training set; every rank does so by itself, and rank 0 decides."""

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        """Replacements (N, R, *shape) for the inputs x (N, *shape), of which `shown` (N, *shape) is known."""
        return torch.zeros_like(x[:, None].expand(-1, self.samples, *self.shape))

    def _first(self, projection_set: ProjectionSet) -> Tensor:
        """`reference` training inputs (M, *shape), evenly spread; each more than once if there are fewer."""
        step = torch.linspace(0, len(projection_set) - 1, self.reference).round().long().tolist()
        return torch.stack([projection_set.input(i) for i in step])


class Marginal(Imputer):
    """The same places of random training inputs; in texts random training words."""

    rows: Tensor

    def __init__(self, domain: Domain, options: ImputerOptions) -> None:
        super().__init__(domain, options)
        self.text = isinstance(domain, TextDomain)
        kind = torch.long if self.text else torch.float32
        self.register_buffer("rows", torch.zeros(self.reference, *self.shape, dtype=kind))

    def fit(self, projection_set: ProjectionSet) -> None:
        rows = self._first(projection_set)
        if self.text:
            words = rows[rows != PAD]
            rows = words[torch.arange(rows.numel(), device=rows.device) % max(len(words), 1)].view(rows.shape)
        self.rows.copy_(rows)

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        if self.training:
            drawn = torch.randint(self.reference, (x.shape[0], self.samples), device=x.device)
            return self.rows[drawn]
        spread = torch.linspace(0, self.reference - 1, self.samples, device=x.device).long()
        return self.rows[spread].expand(x.shape[0], -1, *self.shape)


class Drawn(Imputer):
    """The base of imputers that draw numbers; outside of training from normal noise that never changes.

    Raises:
        ValueError: texts.
    """

    noise: Tensor

    def __init__(self, domain: Domain, options: ImputerOptions) -> None:
        super().__init__(domain, options)
        if isinstance(domain, TextDomain):
            raise ValueError(
                f"imputer kind '{options.kind}' requires numbers; text tokens are discrete. Use 'marginal'."
            )
        noise = torch.randn(self.samples, self.size, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise)

    def normal(self, rows: int) -> Tensor:
        """Normal numbers (rows, R, D): new ones in training, otherwise the same for every row."""
        if self.training:
            return torch.randn(rows, self.samples, self.size, device=self.noise.device)
        return self.noise.expand(rows, -1, -1)


class Gaussian(Drawn):
    """Draws from the normal distribution of the hidden values given the others, fitted on training inputs.

    A draw z of the whole input is moved to fit what is known: z + Σ_hk Σ_kk⁻¹ (x_k - z_k), one system for each mask.

    Raises:
        ValueError: texts, or inputs of more than 256 numbers.
    """

    mean: Tensor
    covariance: Tensor
    factor: Tensor

    def __init__(self, domain: Domain, options: ImputerOptions) -> None:
        super().__init__(domain, options)
        if self.size > LARGEST:
            raise ValueError(
                f"imputer kind 'gaussian' inverts a covariance of all values of an input, at most {LARGEST}; these "
                f"inputs have {self.size}. Use 'mixture' or 'marginal'."
            )
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("covariance", torch.eye(self.size))
        self.register_buffer("factor", torch.eye(self.size))

    def fit(self, projection_set: ProjectionSet) -> None:
        rows = self._first(projection_set).flatten(1)
        self.mean.copy_(rows.mean(0))
        covariance = torch.cov(rows.T).reshape(self.size, self.size) if len(rows) > 1 else torch.eye(self.size)
        ridge = 1e-3 * float(covariance.diagonal().mean()) + 1e-6
        self.covariance.copy_(covariance + ridge * torch.eye(self.size, device=rows.device))
        self.factor.copy_(torch.linalg.cholesky(self.covariance))

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        known = shown.flatten(1).detach().to(self.mean.dtype)  # (N, D)
        whole = self.mean + self.normal(x.shape[0]) @ self.factor.T  # (N, R, D)
        gap = (x.detach().flatten(1)[:, None] - whole) * known[:, None]
        both = known[:, :, None] * known[:, None]
        system = self.covariance * both + torch.diag_embed(1 - known)
        moved = torch.linalg.solve(system, gap.mT).mT * known[:, None]
        return (whole + moved @ self.covariance).unflatten(2, self.shape)


class Mixture(Drawn):
    """Draws from a mixture of normal distributions with independent values, given what is known.

    Differs from the published code: normal instead of discretised logistic distributions, fitted by
    expectation-maximisation instead of gradients.
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    pick: Tensor

    def __init__(self, domain: Domain, options: ImputerOptions) -> None:
        super().__init__(domain, options)
        self.components = options.components or 1
        self.register_buffer("pick", (torch.arange(self.samples) + 0.5) / self.samples)
        self.register_buffer("mean", torch.zeros(self.components, self.size))
        self.register_buffer("deviation", torch.ones(self.components, self.size))
        self.register_buffer("weight", torch.full((self.components,), -math.log(self.components)))

    def fit(self, projection_set: ProjectionSet) -> None:
        rows = self._first(projection_set).flatten(1)
        floor = rows.std(0, correction=0).clamp_min(1e-3) / 10
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: self.components]
        self.mean.copy_(rows[chosen.to(rows.device)][torch.arange(self.components) % len(chosen)])
        self.deviation.copy_(rows.std(0, correction=0).clamp_min(1e-3).expand_as(self.deviation))
        for _ in range(30):
            share = self._log_share(rows, torch.ones_like(rows)).softmax(1)  # (M, K)
            mass = share.sum(0).clamp_min(1e-6)
            self.weight.copy_((mass / mass.sum()).log())
            self.mean.copy_(share.T @ rows / mass[:, None])
            second = share.T @ rows.square() / mass[:, None] - self.mean.square()
            self.deviation.copy_(second.clamp_min(0).sqrt().maximum(floor))

    def _log_share(self, x: Tensor, known: Tensor) -> Tensor:
        """Log of weight times density of the known values (N, K), up to a constant of the row."""
        precision = self.deviation.square().reciprocal()
        square = (known * x.square()) @ precision.T - 2 * (known * x) @ (self.mean * precision).T
        square = square + known @ (self.mean.square() * precision).T
        return self.weight - 0.5 * square - known @ self.deviation.log().T

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        known = shown.detach().flatten(1).to(self.mean.dtype)
        share = self._log_share(x.detach().flatten(1), known).softmax(1).cumsum(1)  # (N, K)
        if self.training:
            pick = torch.rand(x.shape[0], self.samples, device=x.device)
        else:
            pick = self.pick.expand(x.shape[0], -1)
        component = torch.searchsorted(share, pick.contiguous()).clamp_max(self.components - 1)  # (N, R)
        drawn = self.mean[component] + self.deviation[component] * self.normal(x.shape[0])
        return drawn.unflatten(2, self.shape)


def create_imputer(domain: Domain, options: ImputerOptions) -> Imputer:
    """Builds an imputer.

    Raises:
        ValueError: one that does not read these inputs.
    """
    made = {"constant": Imputer, "marginal": Marginal, "gaussian": Gaussian, "mixture": Mixture}.get(options.kind or "")
    if made is None:
        raise ContractError(f"no imputer of kind {options.kind!r}.")
    return made(domain, options)
