"""The loss of removal-consistent training, for every model with supports."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.modes import asking_for_scores, evaluating
from zoo.training.removal.imputers import fills_for
from zoo.training.removal.options import Removal
from zoo.training.removal.regions import random_regions
from zoo.training.tasks import as_logits, task_loss

CLASSES = 8  # whose contributions are compared in one step: those of the labels, and random ones


class RemovalTerm:
    """Loss terms from inputs x' that equal x outside of a random region m, which an imputer fills.

        removal_label         task loss of f(x')
        removal_consistency   Σ (d - e)² / Σ (d² + e²)        d = z(x) - z(x'), e = Σ_u Z_u ρ_u(m)
        removal_compact       mean of the logarithm of the effective units, exp(-Σ p ln p), p_u = |Z_u| / Σ |Z|

    z are the scores minus their mean over classes, Z_u the contributions of unit u to them, and ρ_u the share of its
    support inside m; sums are over rows and some classes, drawn in each step. Regions and imputers are those of
    `zoo.training.removal`, never those by which explanations are measured. Everything runs in evaluation mode, in which
    a model has supports and explains.

    Args:
        options: see `Removal`.
        domain: of the model.
        additive: whether the model has contributions.
        name: of the model, for error messages.

    Raises:
        ValueError: contributions are needed, and the model has none; or an unknown imputer.
    """

    def __init__(self, options: Removal, domain: Domain, additive: bool, name: str) -> None:
        if options.explained and not additive:
            raise ValueError(f"{name} has no contributions; leave out removal.consistency and removal.compact.")
        self.options, self.domain, self.name = options, domain, name
        self.fills = fills_for(domain, options.imputers)

    def __call__(self, model: Any, batch: Batch, scores: Tensor) -> dict[str, Tensor]:
        """The weighted terms of a batch by name.

        Args:
            model: that trains.
            batch: of the step.
            scores: of the batch, not used.
        """
        options, rows = self.options, len(batch["input"])
        chosen = torch.randperm(rows, device=batch["input"].device)[: max(round(options.rows * rows), 1)]
        x, target = batch["input"][chosen], batch["target"][chosen]
        ramp = options.ramp(model.current_epoch / max(model.max_epochs - 1, 1)) if options.explained else 0.0
        terms: dict[str, Tensor] = {}
        if options.label == 0 and ramp == 0:
            return terms
        region = random_regions(x, self.domain, options.share)
        with evaluating(model):
            with asking_for_scores():
                left = model.step(self._without(x, region))[0]
            if options.label:
                weights = batch.get("weight")
                weights = None if weights is None else weights[chosen]
                logits = as_logits(left, getattr(model, "space", "logit"))
                loss = task_loss(logits, target, self.domain, batch.get("class_weights"), weights)
                terms["removal_label"] = options.label * loss
            if ramp:
                whole, evidence = model.step(x)
                parts = self._contributions(model, whole, evidence, target)
                if parts is not None:
                    classes, contributions = parts
                    change = _centred((whole - left).gather(1, classes))
                    terms |= self._explained(change, contributions, evidence.support, region, ramp)
        return terms

    def _without(self, x: Tensor, region: Tensor) -> Tensor:
        fill = self.fills[int(torch.randint(len(self.fills), ()))]
        return torch.where(region[:, None] if self.domain.modality == "image" else region, fill(x), x)

    def _contributions(self, model: Any, scores: Tensor, evidence: Any, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Some classes (B, c), the labels first, and the contributions to their centred scores (B, K, c).

        None in stages in which the units have no supports yet.

        Raises:
            ValueError: the units of a finished model have no supports.
        """
        if evidence.support is None and self.options.consistency:
            if model.in_last_stage:
                raise ValueError(
                    f"the units of {self.name} have no location in the input, so removal.consistency is not defined; "
                    "leave it out."
                )
            return None
        count = scores.shape[1]
        if self.domain.task == "classification" and count > CLASSES:
            others = torch.randperm(count, device=target.device)[: CLASSES - 1]
            classes = torch.cat([target[:, None], others.expand(len(target), -1)], 1)
        else:
            classes = torch.arange(count, device=target.device).expand(len(target), -1)
        with torch.autocast(scores.device.type, enabled=False):
            each = [model.attribute(evidence, c)[0] for c in classes.unbind(1)]
        return classes, _centred(torch.stack(each, 2))

    def _explained(
        self, change: Tensor, contributions: Tensor, support: Tensor | None, region: Tensor, ramp: float
    ) -> dict[str, Tensor]:
        terms = {}
        if self.options.consistency and support is not None:
            inside = covered(support.detach().float(), region)
            expected = torch.einsum("bk,bkc->bc", inside, contributions)
            size = (change.square().sum() + expected.square().sum()).clamp_min(1e-9)
            terms["removal_consistency"] = ramp * self.options.consistency * (change - expected).square().sum() / size
        if self.options.compact:
            terms["removal_compact"] = ramp * self.options.compact * entropy(contributions).mean()
        return terms


def covered(support: Tensor, region: Tensor) -> Tensor:
    """(B, K) the share of supports (B, K, *S) inside regions (B, *T) bool; 0 for an empty support."""
    grid, held = tuple(support.shape[2:]), region.float()
    if len(grid) < held.ndim - 1:  # a grid of time covers all variables
        held = held.flatten(1 + len(grid)).mean(-1)
    pool = F.adaptive_avg_pool1d if len(grid) == 1 else F.adaptive_avg_pool2d
    held = held if held.shape[1:] == grid else pool(held[:, None], grid)[:, 0]  # pyright: ignore[reportArgumentType]
    mass = support.flatten(2).sum(2).clamp_min(1e-9)
    return torch.einsum("bkg,bg->bk", support.flatten(2), held.flatten(1)) / mass


def entropy(contributions: Tensor) -> Tensor:
    """(B,) mean over classes of the entropy of the shares of |contributions| (B, K, C)."""
    size = contributions.abs()
    share = size / size.sum(1, keepdim=True).clamp_min(1e-9)
    return -torch.xlogy(share, share.clamp_min(1e-9)).sum(1).mean(1)


def _centred(values: Tensor) -> Tensor:
    """Values (..., C) minus their mean over classes, of more than one."""
    return values - values.mean(-1, keepdim=True) if values.shape[-1] > 1 else values
